//! How consumers work.

use std::time::{Duration, SystemTime};

/// Where a group begins on a queue that it has no offset for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message.
    First,
    /// At the end: only what comes from now on. A queue that appears later is new as a whole.
    Last,
    /// At the first message stored at this time or later.
    At(SystemTime),
}

/// Settings of a push consumer; the defaults are those of the Java client.
#[derive(Debug, Clone)]
pub struct PushSettings {
    /// Where a new group begins. Default: at the oldest message (Java: at the end).
    pub start: Start,
    /// Messages handled at the same time, over all queues. Default 20.
    pub parallel_max: usize,
    /// Messages asked for in one pull at most. Default 32.
    pub batch_max: i32,
    /// How long a broker may hold a pull while there is nothing. Default 15 s.
    pub poll: Duration,
    /// Messages of one queue that are pulled and not done; with as many no more are pulled. Default 1000.
    pub cached_messages_max: usize,
    /// Bytes of their bodies, in the same way. Default 100 MiB.
    pub cached_bytes_max: usize,
    /// Distance between the oldest that is not done and the next to be pulled, in the same way: what is beyond comes
    /// again after a crash. Default 2000.
    pub cached_span_max: i64,
    /// Failures of one message before it becomes a dead letter. Default: as the broker says for a concurrent consumer
    /// (16 as shipped); no limit for an orderly one.
    pub retries_max: Option<i32>,
    /// How long an orderly queue rests after a failure. Default 1 s.
    pub suspend: Duration,
    /// Pause between two looks at the members of the group and the queues, when nobody tells of a change.
    /// Default 20 s.
    pub rebalance_interval: Duration,
    /// Pause between two writes of offsets. Default 5 s.
    pub persist_interval: Duration,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            start: Start::First,
            parallel_max: 20,
            batch_max: 32,
            poll: Duration::from_secs(15),
            cached_messages_max: 1000,
            cached_bytes_max: 100 << 20,
            cached_span_max: 2000,
            retries_max: None,
            suspend: Duration::from_secs(1),
            rebalance_interval: Duration::from_secs(20),
            persist_interval: Duration::from_secs(5),
        }
    }
}

/// Settings of a pull consumer.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// Where a group without offset begins. Default: at the oldest message.
    pub start: Start,
    /// Messages in one batch at most. Default 32, as the Java client.
    pub batch_max: i32,
    /// How long a broker may hold a pull while there is nothing. Default 15 s.
    pub poll: Duration,
    /// Batches pulled ahead of the application at most. Default 8.
    pub ahead_max: usize,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            start: Start::First,
            batch_max: 32,
            poll: Duration::from_secs(15),
            ahead_max: 8,
        }
    }
}
