//! Delayed messages as the ledger knows them: each waits at a place of its level's queue and is delivered once.

use super::{Model, QueueKey, SCHEDULE};

/// Of a delayed message: its level's queue, and its place there.
pub(crate) type Waited = (u32, u64);

/// A delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Where it went.
    pub(crate) queue: QueueKey,
    pub(crate) offset: u64,
    /// Where its log record ends.
    pub(crate) end: u64,
    /// A bit was turned over in its record.
    pub(crate) touched: bool,
}

/// The queue in which the messages of a level wait.
pub(crate) fn level_queue(level: u32) -> QueueKey {
    QueueKey {
        topic: SCHEDULE,
        queue_id: level.cast_signed(),
    }
}

impl Model {
    /// Delayed messages that are there and were not delivered, but for those that rot may have taken.
    pub(crate) fn undelivered(&self) -> impl Iterator<Item = Waited> {
        let levels = (0..).zip(&self.plan.levels).map(|(level, _)| level);
        levels.flat_map(|level| {
            let queue = self.queues.get(&level_queue(level));
            let kept = queue
                .into_iter()
                .flat_map(|queue| queue.slots.range(queue.min..));
            let waits = kept.filter(|(_, slot)| !slot.touched);
            waits
                .map(move |(place, _)| (level, *place))
                .filter(|waited| !self.deliveries.contains_key(waited))
        })
    }

    /// The place of a level's queue that is to be delivered next, by what was delivered.
    pub(crate) fn progress(&self, level: u32) -> u64 {
        let mut known = self.deliveries.range((level, 0)..(level + 1, 0));
        known.next_back().map_or(0, |((_, place), _)| place + 1)
    }
}
