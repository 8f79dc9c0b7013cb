//! RESUME_CHECK_HALF_MESSAGE: a parked half goes back into the check schedule. Nothing else does:
//! the stock broker would make a half of any message.

use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::ResumeCheck;
use escrow_protocol::ids::decode_offset_message_id;
use escrow_store::PhysicalOffset;

use super::answer::{Refusal, RequestHead};
use super::peer::Peer;
use crate::log_thread::Operator;
use crate::shared::Shared;

pub(crate) async fn handle(shared: &Arc<Shared>, peer: &Peer, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match resume(shared, peer, request).await {
        Ok(()) => head.answer(response::SUCCESS),
        Err(remark) => head.refuse(Refusal::new(response::SYSTEM_ERROR, remark)),
    }
}

async fn resume(shared: &Arc<Shared>, peer: &Peer, request: &Frame) -> Result<(), String> {
    let header = ResumeCheck::decode(&request.ext).map_err(|error| error.to_string())?;
    let id = header.message_id.ok_or("header field msgId is missing")?;
    let (_, offset) = decode_offset_message_id(id).map_err(|error| error.to_string())?;
    let handle = u64::try_from(offset).map_err(|_| "the message id has a negative offset")?;
    let operator = Operator {
        name: peer.client_id().to_string(),
        address: peer.address_text.to_string(),
        reason: "RESUME_CHECK_HALF_MESSAGE".to_owned(),
    };
    let resumed = shared.log.resume(PhysicalOffset(handle), operator).await;
    match resumed {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(refused)) => Err(refused.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
