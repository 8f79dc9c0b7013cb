//! Queues as the ledger knows them: what stands at each offset.

use std::collections::BTreeMap;

use super::HalfId;

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
    format!("topic-{topic}")
}

/// What stands at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Plain { key: String, body: Vec<u8> },
    Half(HalfId),
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) item: Item,
    /// Where the log record ends that put it there.
    pub(crate) end: u64,
    pub(crate) stored_wall_ms: i64,
    /// Its sender was told, or a consumer has read it.
    pub(crate) told: bool,
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
