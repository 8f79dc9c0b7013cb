//! Queues as the ledger knows them: what stands at each offset.

use std::collections::BTreeMap;

use escrow_protocol::names::SCHEDULE_TOPIC;

use super::{HalfId, Promise, Waited};

/// The topic in which delayed messages wait, in one queue for each level.
pub(crate) const SCHEDULE: u64 = u64::MAX;

/// A queue of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) topic: u64,
    pub(crate) queue_id: i32,
}

impl QueueKey {
    pub(crate) fn topic_name(self) -> String {
        topic_name(self.topic)
    }
}

pub(crate) fn topic_name(topic: u64) -> String {
    match topic {
        SCHEDULE => SCHEDULE_TOPIC.to_owned(),
        _ => format!("topic-{topic}"),
    }
}

pub(crate) fn topic_of(name: &str) -> Option<u64> {
    match name {
        SCHEDULE_TOPIC => Some(SCHEDULE),
        _ => name.strip_prefix("topic-")?.parse().ok(),
    }
}

/// What stands at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Plain {
        key: String,
        body: Vec<u8>,
    },
    Half(HalfId),
    /// It waits for its delivery to a queue.
    Delayed {
        key: String,
        body: Vec<u8>,
        target: QueueKey,
    },
    /// It waited there.
    Delivered {
        key: String,
        body: Vec<u8>,
        from: Waited,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) item: Item,
    /// Where the log record ends that put it there.
    pub(crate) end: u64,
    pub(crate) stored_wall_ms: i64,
    /// To its sender, or to a consumer that has read it.
    pub(crate) promise: Promise,
    /// A bit was turned over in a record of it.
    pub(crate) touched: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TopicQueue {
    /// The first offset that consumers were ever refused since it left.
    pub(crate) min: u64,
    pub(crate) end: u64,
    pub(crate) slots: BTreeMap<u64, Slot>,
}
