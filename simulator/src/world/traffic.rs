//! What clients say to the broker and the broker to them.

use bytes::Bytes;
use escrow_protocol::transaction::Resolution;

use crate::model::{Decision, HalfId, QueueKey, Waited, What};

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) key: String,
    pub(crate) queue: QueueKey,
    pub(crate) body: Vec<u8>,
    pub(crate) immunity_s: Option<u64>,
    /// Delayed by a level.
    pub(crate) level: Option<u32>,
}

/// How an END_TRANSACTION is made wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Group,
    HalfOffset,
    Id,
    Handle,
}

#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) key: String,
    pub(crate) handle: u64,
    pub(crate) seq: u64,
    pub(crate) resolution: Resolution,
    pub(crate) from_check: bool,
    pub(crate) wrong: Option<Wrong>,
}

/// What reaches the broker.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Half(Outgoing),
    Plain(Outgoing),
    /// Whoever delivers delayed messages hands one over that is due.
    Deliver(Waited, Bytes),
    End(End),
    Join {
        capable: bool,
    },
    Left,
    NotSent {
        seq: u64,
    },
    Operate {
        half: HalfId,
        decision: Decision,
    },
    Resume(HalfId),
    CheckNow(HalfId),
    CreateTopic {
        topic: u64,
        queues: u32,
    },
    DropTopic {
        topic: u64,
    },
}

/// Who says it: a client over one of its connections, or the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct From {
    pub(crate) client: usize,
    pub(crate) connection: u64,
}

/// What waits to be told.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) to: From,
    pub(crate) what: What,
    /// Where what it tells of ends in the log; 0 if nothing need be durable.
    pub(crate) end: u64,
    pub(crate) reply: Reply,
}

/// What clients hear.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    HalfStored {
        key: String,
        handle: u64,
        seq: u64,
    },
    PlainStored {
        queue: QueueKey,
        offset: u64,
    },
    /// A delayed message of this level is delivered, or was before.
    Delivered(u32),
    /// The half is decided so.
    Decided(HalfId),
    TopicIs(u64, u32),
    TopicIsGone(u64),
    Check {
        handle: u64,
        seq: u64,
        key: String,
    },
}
