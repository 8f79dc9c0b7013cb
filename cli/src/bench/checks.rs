//! Answers to the checks that a broker may send while it is under load.

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{CheckTransactionState, EndTransaction};
use escrow_protocol::transaction::Resolution;

/// The COMMIT that answers `check`: the generator commits whatever it sent.
pub(super) fn answer(check: &Frame, group: &str) -> anyhow::Result<Frame> {
    let asked = CheckTransactionState::decode(&check.ext)?;
    let id = asked
        .transaction_id
        .or(asked.message_id)
        .unwrap_or_default();
    let mut end = Frame::request(request::END_TRANSACTION);
    EndTransaction {
        topic: asked.topic,
        producer_group: group,
        half_queue_offset: asked.half_queue_offset,
        commit_log_offset: asked.commit_log_offset,
        commit_or_rollback: Resolution::Commit.to_wire(),
        from_check: true,
        message_id: id,
        transaction_id: Some(id),
        broker_name: asked.broker_name,
    }
    .encode(&mut end.ext);
    Ok(end.oneway())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_the_check_named() {
        let mut check = Frame::request(request::CHECK_TRANSACTION_STATE);
        CheckTransactionState {
            topic: Some("RMQ_SYS_TRANS_HALF_TOPIC"),
            half_queue_offset: 7,
            commit_log_offset: 4096,
            message_id: Some("K"),
            transaction_id: Some("K"),
            offset_message_id: None,
            broker_name: Some("broker-a"),
            stored_at_ms: None,
        }
        .encode(&mut check.ext);
        let end = answer(&check, "group").unwrap();
        let header = EndTransaction::decode(&end.ext).unwrap();
        assert!(end.is_oneway() && header.from_check);
        assert_eq!(header.resolution(), Some(Resolution::Commit));
        assert_eq!(
            (header.half_queue_offset, header.commit_log_offset),
            (7, 4096)
        );
        assert_eq!((header.producer_group, header.message_id), ("group", "K"));
    }
}
