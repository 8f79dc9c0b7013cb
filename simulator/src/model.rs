//! What must hold, kept in the plainest way: every half, every queue, and what was promised about them. It knows nothing of how
//! the store or the coordinator come to what they do; it is told what was asked, what was answered and who was told.

mod delayed;
mod half;
mod promise;
mod queue;
mod restart;
mod spans;

use std::collections::BTreeMap;

use escrow_store::{Durability, Error};

pub(crate) use delayed::{Delivery, Waited, level_queue};
pub(crate) use half::{Decision, Fate, Half, HalfId};
pub(crate) use promise::Promise;
pub(crate) use queue::{Item, QueueKey, SCHEDULE, Slot, TopicQueue, topic_name, topic_of};
pub(crate) use restart::Reopened;
pub(crate) use spans::{Spans, What};

use crate::plan::Plan;

/// A topic's deletion that nobody was told of yet.
#[derive(Debug)]
pub(crate) struct Drop {
    pub(crate) topic: u64,
    queues: Vec<(QueueKey, TopicQueue)>,
}

/// The ledger.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) plan: Plan,
    pub(crate) halfs: Vec<Half>,
    /// Halfs by their sequence: the latest, for one that was lost unpromised gives its sequence free.
    by_seq: BTreeMap<u64, HalfId>,
    pub(crate) queues: BTreeMap<QueueKey, TopicQueue>,
    pub(crate) drops: Vec<Drop>,
    /// Deliveries of delayed messages.
    pub(crate) deliveries: BTreeMap<Waited, Delivery>,
    pub(crate) spans: Spans,
    /// Everything in the log below this was promised to survive a power loss.
    pub(crate) floor: u64,
    /// A durable record says that the log is durable up to here, so that damage below is told from a torn tail.
    pub(crate) stated: u64,
    /// The log begins here.
    pub(crate) log_start: u64,
    /// Bits were turned over in derived files since they were last rebuilt.
    pub(crate) derived_flipped: bool,
    /// Bits were turned over in the log, ever: file, byte and log offset.
    pub(crate) flips: Vec<(String, u64, u64)>,
    /// The running process has met a failing disk.
    pub(crate) disk_failed: bool,
    /// It has met reads that failed.
    pub(crate) reads_failed: bool,
    pub(crate) mono_ms: u64,
    /// The latest that the wall clock has ever shown.
    pub(crate) wall_ms: i64,
}

impl Model {
    pub(crate) fn new(plan: Plan) -> Model {
        Model {
            plan,
            halfs: Vec::new(),
            by_seq: BTreeMap::new(),
            queues: BTreeMap::new(),
            drops: Vec::new(),
            deliveries: BTreeMap::new(),
            spans: Spans::default(),
            floor: 0,
            stated: 0,
            log_start: 0,
            derived_flipped: false,
            flips: Vec::new(),
            disk_failed: false,
            reads_failed: false,
            mono_ms: 0,
            wall_ms: 0,
        }
    }

    pub(crate) fn half(&self, id: HalfId) -> &Half {
        &self.halfs[id.0]
    }

    pub(crate) fn half_mut(&mut self, id: HalfId) -> &mut Half {
        &mut self.halfs[id.0]
    }

    pub(crate) fn by_seq(&self, seq: u64) -> Option<HalfId> {
        self.by_seq.get(&seq).copied()
    }

    /// The half that a handle and a key name, if it is not gone.
    pub(crate) fn named(&self, handle: u64, seq: u64, key: &str) -> Option<HalfId> {
        let id = self.by_seq(seq)?;
        let half = self.half(id);
        (half.handle == handle && half.key == key).then_some(id)
    }

    /// Halfs that are there, decided or not.
    pub(crate) fn present(&self) -> impl Iterator<Item = (HalfId, &Half)> {
        self.by_seq.values().map(|id| (*id, self.half(*id)))
    }

    pub(crate) fn undecided(&self) -> impl Iterator<Item = (HalfId, &Half)> {
        self.present()
            .filter(|(_, half)| matches!(half.fate, Fate::Undecided))
    }

    /// The broker has stored a half.
    pub(crate) fn stored(&mut self, half: Half) -> HalfId {
        let id = HalfId(self.halfs.len());
        self.by_seq.insert(half.seq, id);
        self.halfs.push(half);
        id
    }

    /// The broker has put something into a queue.
    pub(crate) fn placed(&mut self, key: QueueKey, offset: u64, slot: Slot) {
        let queue = self.queues.entry(key).or_default();
        queue.end = queue.end.max(offset + 1);
        queue.slots.insert(offset, slot);
    }

    /// A topic's queues are gone, unless a crash undoes it.
    pub(crate) fn dropped(&mut self, topic: u64) {
        let keys: Vec<QueueKey> = self
            .queues
            .keys()
            .filter(|key| key.topic == topic)
            .copied()
            .collect();
        let queues = keys
            .into_iter()
            .filter_map(|key| Some((key, self.queues.remove(&key)?)))
            .collect();
        self.drops.push(Drop { topic, queues });
    }

    /// Somebody was told that a topic is gone: now it is for good.
    pub(crate) fn drop_told(&mut self, topic: u64) {
        self.drops.retain(|drop| drop.topic != topic);
    }

    /// Whether an error says no more than that a read failed, as some did.
    pub(crate) fn is_failed_read(&self, error: &Error) -> bool {
        let is_read = matches!(
            error,
            Error::Disk {
                action: "read" | "open" | "size" | "list",
                ..
            }
        );
        is_read && self.reads_failed
    }

    /// How durable a message in a queue must be before anybody sees it.
    pub(crate) fn need(&self, item: &Item) -> Durability {
        match item {
            Item::Plain { .. } | Item::Delayed { .. } | Item::Delivered { .. } => self.plan.plain,
            Item::Half(_) => self.plan.transaction,
        }
    }

    /// The latest that a time of the past may have been looked at by retention and be over.
    pub(crate) fn is_expired(&self, store_timestamp: i64) -> bool {
        let reserved = i64::try_from(self.plan.store.file_reserved.as_millis()).unwrap_or(i64::MAX);
        store_timestamp.saturating_add(reserved) < self.wall_ms
    }
}
