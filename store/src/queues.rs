//! All topic queues. Readers find a queue here; the writer gives out queue offsets and decides what becomes visible.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::consume_queue::{Queue, QueueEntry};
use crate::hash::queue_hash;
use crate::{PhysicalOffset, QueueOffset};

/// A gap in a queue's offsets that is larger than this is not filled with damaged entries: the queue begins anew behind it.
const GAP_MAX: u64 = 1 << 20;

type Topics = HashMap<Arc<str>, BTreeMap<i32, Arc<Queue>>>;

/// The readers' side: queues by topic and id.
#[derive(Debug, Default)]
pub(crate) struct QueueMap {
    topics: RwLock<Topics>,
}

impl QueueMap {
    pub(crate) fn get(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.topics.read().get(topic)?.get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.topics
            .read()
            .values()
            .flat_map(|queues| queues.values().cloned())
            .collect()
    }
}

/// What must have happened to a record before its message is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is written: it survives the process.
    Written,
    /// It is synced: it survives the machine.
    Synced,
}

/// When an entry may be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// At once: replay of what is durable.
    Nothing,
    /// When the log is written or synced up to this offset.
    Until(Durability, u64),
}

/// Queue ids of a topic that are looked for when it ends.
const QUEUES_MAX: i32 = 1024;

/// A message that has become visible: wakes who waits for its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue_id: i32,
    /// The queue's new end: this message's offset plus one.
    pub visible_end: QueueOffset,
    /// Hash of the message's tags, 0 if it has none.
    pub tags: i32,
    /// When it was stored or committed, ms.
    pub store_timestamp: i64,
}

#[derive(Debug)]
struct Writer {
    queue: Arc<Queue>,
    hash: u64,
    next: u64,
    visible: u64,
    /// One for each entry from `visible` to `next`.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    need: Durability,
    until: u64,
    tags: i32,
    store_timestamp: i64,
}

/// A place in a queue that a damaged record held whose topic is not known (only the hash of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) hash: u64,
    pub(crate) offset: u64,
    pub(crate) physical: u64,
    pub(crate) store_timestamp: i64,
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct Queues {
    map: Arc<QueueMap>,
    /// Slots are never reused: an index stays good for ever.
    writers: Vec<Option<Writer>>,
    by_topic: HashMap<Arc<str>, BTreeMap<i32, usize>>,
    by_hash: HashMap<u64, usize>,
    /// Slots with waiting entries.
    waiting: Vec<usize>,
    lost: Vec<Lost>,
    next_number: u32,
    /// True while nothing has ever left the log: then every queue begins at 0.
    is_whole: bool,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    index: usize,
    pub(crate) hash: u64,
    pub(crate) next: u64,
}

impl Queues {
    pub(crate) fn new(map: Arc<QueueMap>) -> Self {
        Queues {
            map,
            writers: Vec::new(),
            by_topic: HashMap::new(),
            by_hash: HashMap::new(),
            waiting: Vec::new(),
            lost: Vec::new(),
            next_number: 0,
            is_whole: true,
        }
    }

    pub(crate) fn set_whole(&mut self, is_whole: bool) {
        self.is_whole = is_whole;
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.next_number
    }

    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Takes over numbering and losses from a checkpoint.
    pub(crate) fn restore(&mut self, next_number: u32, lost: Vec<Lost>) {
        self.next_number = next_number;
        self.lost = lost;
    }

    /// Takes over a queue from a checkpoint.
    pub(crate) fn adopt(&mut self, queue: Queue) {
        let (_, end) = queue.extent();
        self.add(Arc::new(queue), end);
    }

    fn add(&mut self, queue: Arc<Queue>, next: u64) -> usize {
        let index = self.writers.len();
        let hash = queue_hash(&queue.topic, queue.id);
        self.by_topic
            .entry(queue.topic.clone())
            .or_default()
            .insert(queue.id, index);
        self.by_hash.insert(hash, index);
        let mut topics = self.map.topics.write();
        topics
            .entry(queue.topic.clone())
            .or_default()
            .insert(queue.id, queue.clone());
        self.writers.push(Some(Writer {
            queue,
            hash,
            next,
            visible: next,
            waiting: VecDeque::new(),
        }));
        index
    }

    /// The queue that a message appended now goes to, made if it is new.
    pub(crate) fn slot(&mut self, topic: &str, id: i32) -> Slot {
        self.slot_from(topic, id, 0)
    }

    fn slot_from(&mut self, topic: &str, id: i32, first_seen: u64) -> Slot {
        let known = self
            .by_topic
            .get(topic)
            .and_then(|queues| queues.get(&id))
            .copied();
        let index = known.unwrap_or_else(|| self.create(topic, id, first_seen));
        let writer = self.writers.get(index).and_then(Option::as_ref);
        let (hash, next) = writer.map_or((0, 0), |writer| (writer.hash, writer.next));
        Slot { index, hash, next }
    }

    /// A new queue begins at 0, unless the log has lost its beginning: then where it is first seen.
    fn create(&mut self, topic: &str, id: i32, first_seen: u64) -> usize {
        let hash = queue_hash(topic, id);
        let lost: Vec<Lost> = self.lost.extract_if(.., |lost| lost.hash == hash).collect();
        let first_lost = lost.iter().map(|lost| lost.offset).min();
        let start = if self.is_whole {
            0
        } else {
            first_seen.min(first_lost.unwrap_or(first_seen))
        };
        let topic: Arc<str> = match self.by_topic.get_key_value(topic) {
            Some((topic, _)) => topic.clone(),
            None => topic.into(),
        };
        let queue = Arc::new(Queue::new(topic, id, self.next_number, start));
        self.next_number += 1;
        let index = self.add(queue, start);
        for lost in lost {
            self.fill(
                index,
                lost.offset.saturating_add(1),
                PhysicalOffset(lost.physical),
                lost.store_timestamp,
            );
        }
        index
    }

    /// Fills up to `end` with damaged entries: offsets that something held, and that nobody else may ever get.
    fn fill(&mut self, index: usize, end: u64, physical: PhysicalOffset, store_timestamp: i64) {
        let Some(writer) = self.writers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if end <= writer.next {
            return;
        }
        if end - writer.next > GAP_MAX {
            writer.queue.restart(end);
            writer.next = end;
        }
        let store_timestamp = store_timestamp.max(writer.queue.last_timestamp());
        while writer.next < end {
            writer.queue.push(QueueEntry {
                physical,
                size: 0,
                tags: 0,
                store_timestamp,
                damaged: true,
            });
            writer.next += 1;
        }
        writer.visible = writer.next;
        writer.waiting.clear();
        writer.queue.show(writer.visible);
    }

    /// The one function that adds an entry, for append and replay alike. An offset that the queue has already is a record that
    /// was applied before; one beyond its end follows records that damage took.
    pub(crate) fn apply(
        &mut self,
        topic: &str,
        id: i32,
        offset: u64,
        entry: QueueEntry,
        need: Need,
    ) {
        let slot = self.slot_from(topic, id, offset);
        if offset < slot.next {
            return;
        }
        self.fill(slot.index, offset, entry.physical, entry.store_timestamp);
        self.push(slot.index, entry, need);
    }

    /// As [`Queues::apply`], for the slot that [`Queues::slot`] just gave.
    pub(crate) fn apply_at(&mut self, slot: Slot, entry: QueueEntry, need: Need) {
        self.push(slot.index, entry, need);
    }

    fn push(&mut self, index: usize, entry: QueueEntry, need: Need) {
        let Some(writer) = self.writers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        writer.queue.push(entry);
        writer.next += 1;
        match need {
            Need::Nothing => {
                writer.visible = writer.next;
                writer.queue.show(writer.next);
            }
            Need::Until(need, until) => {
                if writer.waiting.is_empty() {
                    self.waiting.push(index);
                }
                let QueueEntry {
                    tags,
                    store_timestamp,
                    ..
                } = entry;
                writer.waiting.push_back(Waiting {
                    need,
                    until,
                    tags,
                    store_timestamp,
                });
            }
        }
    }

    /// A damaged record of which only the head is known held `lost.offset`.
    pub(crate) fn apply_lost(&mut self, lost: Lost) {
        match self.by_hash.get(&lost.hash) {
            Some(index) => {
                let end = lost.offset.saturating_add(1);
                self.fill(
                    *index,
                    end,
                    PhysicalOffset(lost.physical),
                    lost.store_timestamp,
                );
            }
            None => self.lost.push(lost),
        }
    }

    /// A queue whose messages have all left the log goes on at `next`.
    pub(crate) fn apply_tail(&mut self, topic: &str, id: i32, next: u64) {
        let was_whole = std::mem::replace(&mut self.is_whole, false);
        let slot = self.slot_from(topic, id, next);
        self.is_whole = was_whole;
        if let Some(writer) = self
            .writers
            .get_mut(slot.index)
            .and_then(Option::as_mut)
            .filter(|_| slot.next < next)
        {
            writer.queue.restart(next);
            writer.next = next;
            writer.visible = next;
            writer.waiting.clear();
        }
    }

    /// Ends a topic's queues; offsets begin at 0 if it comes back.
    pub(crate) fn apply_drop(&mut self, topic: &str) {
        self.map.topics.write().remove(topic);
        for index in self
            .by_topic
            .remove(topic)
            .into_iter()
            .flat_map(BTreeMap::into_values)
        {
            if let Some(writer) = self.writers.get_mut(index).and_then(Option::take) {
                self.by_hash.remove(&writer.hash);
            }
        }
        // What damage took of queues that nothing else is known of.
        let is_of = |hash| (0..QUEUES_MAX).any(|id| queue_hash(topic, id) == hash);
        self.lost.retain(|lost| !is_of(lost.hash));
    }

    /// The topic whose hash this is, among those that have queues.
    pub(crate) fn topic_by_hash(&self, hash: u64) -> Option<Arc<str>> {
        self.by_topic
            .keys()
            .find(|topic| crate::hash::topic_hash(topic) == hash)
            .cloned()
    }

    /// Shows, queue by queue and in order, all entries whose need is met. An entry that must wait holds up those behind it in
    /// its own queue, and nobody else.
    pub(crate) fn publish(&mut self, written: u64, durable: u64) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let mut still = Vec::new();
        for index in std::mem::take(&mut self.waiting) {
            let Some(writer) = self.writers.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            let before = writer.visible;
            while let Some(first) = writer.waiting.front() {
                let reached = match first.need {
                    Durability::Written => written,
                    Durability::Synced => durable,
                };
                if first.until > reached {
                    break;
                }
                writer.visible += 1;
                arrivals.push(Arrival {
                    topic: writer.queue.topic.clone(),
                    queue_id: writer.queue.id,
                    visible_end: QueueOffset(writer.visible),
                    tags: first.tags,
                    store_timestamp: first.store_timestamp,
                });
                writer.waiting.pop_front();
            }
            if writer.visible > before {
                writer.queue.show(writer.visible);
            }
            if !writer.waiting.is_empty() {
                still.push(index);
            }
        }
        self.waiting = still;
        arrivals
    }
}
