//! END_TRANSACTION: a producer's decision, or its answer to a check.

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header;

use super::answer::{Refusal, ReplyTo};
use super::dispatch::Batch;
use super::peer::Peer;
use crate::log_thread::{Asking, EndTransaction};

/// Takes an END_TRANSACTION from its frame into the batch for the log thread.
pub(crate) fn prepare(peer: &Peer, request: &Frame, batch: &mut Batch) {
    let reply = ReplyTo::of(request, batch.arrived_ms);
    match decode(request) {
        Ok(end) => batch.push(Asking::End(Box::new(end)), reply),
        Err(refusal) => {
            tracing::warn!(peer = %peer.address, remark = %refusal.remark, "END_TRANSACTION refused");
            peer.answer(reply, reply.head.refuse(refusal));
        }
    }
}

fn decode(request: &Frame) -> Result<EndTransaction, Refusal> {
    let header = header::EndTransaction::decode(&request.ext)
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
    let resolution = header.resolution().ok_or_else(|| {
        let remark = "commitOrRollback is none of 0 (unknown), 8 (commit) and 12 (rollback)";
        Refusal::new(response::SYSTEM_ERROR, remark)
    })?;
    Ok(EndTransaction {
        group: header.producer_group.to_owned(),
        commit_log_offset: header.commit_log_offset,
        half_offset: header.half_queue_offset,
        resolution,
        from_check: header.from_check,
        message_id: header.message_id.to_owned(),
        transaction_id: header.transaction_id.unwrap_or_default().to_owned(),
        remark: request.remark.clone().unwrap_or_default(),
    })
}
