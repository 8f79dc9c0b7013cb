//! END_TRANSACTION, CHECK_TRANSACTION_STATE and RESUME_CHECK_HALF_MESSAGE.

use super::field::header;
use crate::transaction::Resolution;

header! {
    /// END_TRANSACTION (37): what became of the local transaction behind a half message.
    EndTransaction<'a> {
        /// The half message's topic; Go clients leave it out.
        optional topic: &'a str = "topic",
        /// Producer group of the half message.
        required producer_group: &'a str = "producerGroup",
        /// Queue offset from the half's send response.
        required half_queue_offset: i64 = "tranStateTableOffset",
        /// Physical offset from the message id of the half's send response.
        required commit_log_offset: i64 = "commitLogOffset",
        /// The decision as it is on the wire, see [`EndTransaction::resolution`].
        required commit_or_rollback: i32 = "commitOrRollback",
        /// True for an answer to a check, false for the producer's own decision.
        default(false) from_check: bool = "fromTransactionCheck",
        /// `UNIQ_KEY`, or the message id of the half's send response.
        required message_id: &'a str = "msgId",
        /// `UNIQ_KEY`.
        optional transaction_id: &'a str = "transactionId",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

impl EndTransaction<'_> {
    /// The decision; `None` for a value that RocketMQ does not define.
    pub fn resolution(&self) -> Option<Resolution> {
        Resolution::from_wire(self.commit_or_rollback)
    }
}

header! {
    /// CHECK_TRANSACTION_STATE (39): the broker asks a producer; the frame's body is the half message.
    CheckTransactionState<'a> {
        /// Topic; Apache names the half topic here.
        optional topic: &'a str = "topic",
        /// Queue offset from the half's send response.
        required half_queue_offset: i64 = "tranStateTableOffset",
        /// Physical offset from the half's send response.
        required commit_log_offset: i64 = "commitLogOffset",
        /// `UNIQ_KEY`.
        optional message_id: &'a str = "msgId",
        /// `UNIQ_KEY`.
        optional transaction_id: &'a str = "transactionId",
        /// Message id from the half's send response.
        optional offset_message_id: &'a str = "offsetMsgId",
        /// Broker that asks; the client repeats it in its answer.
        optional broker_name: &'a str = "bname",
        /// When the half was first stored, in ms. Unknown to Apache, which renews the store time at each check.
        optional stored_at_ms: i64 = "escrowStoredAt",
    }
}

header! {
    /// RESUME_CHECK_HALF_MESSAGE (323): check a parked half message again.
    ResumeCheck<'a> {
        /// Topic.
        optional topic: &'a str = "topic",
        /// Message id from the half's send response.
        optional message_id: &'a str = "msgId",
    }
}
