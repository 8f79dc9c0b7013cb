//! What the remoting edge counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use escrow_protocol::names;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::histogram::Histogram;

/// A peer chooses its codes, so only this many of them are told apart.
const CODES_MAX: usize = 256;

/// Peers choose topics and groups too; of further ones only the sum is kept.
const PAIRS_MAX: usize = 10_000;

/// Apache's buckets of message sizes, in bytes.
const SIZE_BOUNDS: [u64; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Apache's buckets of the time that making a topic or group takes, in milliseconds.
const CREATION_BOUNDS_MS: [u64; 5] = [10, 100, 1_000, 3_000, 5_000];

/// The name under which the others are counted.
const OTHERS: &str = "(others)";

/// What kind of message it is, as RocketMQ tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MessageKind {
    Normal,
    /// It has a sharding key.
    Fifo,
    Delay,
    Transaction,
}

impl MessageKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageKind::Normal => "normal",
            MessageKind::Fifo => "fifo",
            MessageKind::Delay => "delay",
            MessageKind::Transaction => "transaction",
        }
    }
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Count {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }
}

/// Messages of one topic and kind that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inflow {
    pub(crate) count: Count,
    /// Of one message each.
    pub(crate) sizes: Histogram,
}

impl Default for Inflow {
    fn default() -> Inflow {
        Inflow {
            count: Count::default(),
            sizes: Histogram::new(&SIZE_BOUNDS),
        }
    }
}

/// How long it took to make something, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Creations(pub(crate) Histogram);

impl Default for Creations {
    fn default() -> Creations {
        Creations(Histogram::new(&CREATION_BOUNDS_MS))
    }
}

/// A topic that was made, or was to be, as RocketMQ tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Creation {
    pub(crate) succeeded: bool,
    pub(crate) is_system: bool,
}

/// All traffic since the start. Retry and dead-letter topics are not in it, as in Apache.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// By topic and kind.
    pub(crate) into: BTreeMap<(String, MessageKind), Inflow>,
    /// By topic and consumer group.
    pub(crate) out: BTreeMap<(String, String), Count>,
    /// Messages by consumer group.
    pub(crate) dead_letters: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    unsupported: Mutex<BTreeMap<i32, u64>>,
    into: Mutex<HashMap<String, BTreeMap<MessageKind, Inflow>>>,
    out: Mutex<HashMap<String, HashMap<String, Count>>>,
    dead_letters: Mutex<HashMap<String, u64>>,
    topics_made: Mutex<BTreeMap<Creation, Creations>>,
    groups_made: Mutex<BTreeMap<bool, Creations>>,
    /// Sends refused with SYSTEM_BUSY because the log thread's queue stayed full.
    pub(crate) sends_shed: AtomicU64,
    /// Pulls that were sent past a damaged record.
    pub(crate) damaged: AtomicU64,
}

impl Counters {
    pub(crate) fn unsupported(&self, code: i32) {
        let mut by_code = self.unsupported.lock();
        if by_code.len() < CODES_MAX || by_code.contains_key(&code) {
            *by_code.entry(code).or_default() += 1;
        }
    }

    pub(crate) fn damaged_skipped(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// How often each unsupported request code came.
    pub(crate) fn unsupported_by_code(&self) -> BTreeMap<i32, u64> {
        self.unsupported.lock().clone()
    }

    /// Messages of producers were handed to the log thread.
    pub(crate) fn messages_in(
        &self,
        topic: &str,
        kind: MessageKind,
        messages: usize,
        bytes: usize,
    ) {
        if is_special(topic) {
            return;
        }
        let (messages, bytes) = (wide(messages), wide(bytes));
        let mut into = self.into.lock();
        let inflow = slot(&mut into, topic).entry(kind).or_default();
        inflow.count.add(messages, bytes);
        inflow.sizes.add(bytes / messages.max(1), messages);
    }

    /// A tool had a topic made or changed, or was refused that.
    pub(crate) fn topic_made(&self, creation: Creation, took: Duration) {
        made(&mut self.topics_made.lock(), creation, took);
    }

    /// A consumer group was made, or was to be.
    pub(crate) fn group_made(&self, succeeded: bool, took: Duration) {
        made(&mut self.groups_made.lock(), succeeded, took);
    }

    /// How long topics took to be made.
    pub(crate) fn topics_made(&self) -> BTreeMap<Creation, Creations> {
        self.topics_made.lock().clone()
    }

    /// How long consumer groups took to be made, by whether they were.
    pub(crate) fn groups_made(&self) -> BTreeMap<bool, Creations> {
        self.groups_made.lock().clone()
    }

    /// Messages were handed to a consumer.
    pub(crate) fn messages_out(&self, topic: &str, group: &str, messages: u64, bytes: usize) {
        if messages == 0 || is_special(topic) {
            return;
        }
        let mut out = self.out.lock();
        slot(slot(&mut out, topic), group).add(messages, wide(bytes));
    }

    /// A message of this consumer group went to the dead letters.
    pub(crate) fn dead_letter(&self, group: &str) {
        *slot(&mut self.dead_letters.lock(), group) += 1;
    }

    /// What was counted so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for (topic, kinds) in self.into.lock().iter() {
            traffic.into.extend(
                kinds
                    .iter()
                    .map(|(kind, inflow)| ((topic.clone(), *kind), inflow.clone())),
            );
        }
        for (topic, groups) in self.out.lock().iter() {
            traffic.out.extend(
                groups
                    .iter()
                    .map(|(group, count)| ((topic.clone(), group.clone()), *count)),
            );
        }
        traffic
            .dead_letters
            .extend(self.dead_letters.lock().clone());
        traffic
    }
}

fn made<K: Ord>(table: &mut BTreeMap<K, Creations>, creation: K, took: Duration) {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    table.entry(creation).or_default().0.add(ms, 1);
}

/// The place under a name, or that of the others once there are too many names.
fn slot<'a, V: Default>(table: &'a mut HashMap<String, V>, name: &str) -> &'a mut V {
    let name = if table.len() < PAIRS_MAX || table.contains_key(name) {
        name
    } else {
        OTHERS
    };
    // Allocates for a new name only.
    table.entry_ref(name).or_default()
}

fn is_special(topic: &str) -> bool {
    names::retry_group(topic)
        .or(names::dlq_group(topic))
        .is_some()
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_told_apart_by_topic_kind_and_group() {
        let counters = Counters::default();
        counters.messages_in("t", MessageKind::Normal, 2, 20);
        counters.messages_in("t", MessageKind::Normal, 1, 5);
        counters.messages_in("t", MessageKind::Transaction, 1, 7);
        counters.messages_in("%RETRY%g", MessageKind::Normal, 1, 7);
        counters.messages_out("t", "g", 3, 30);
        counters.messages_out("t", "g", 0, 0);
        counters.messages_out("%RETRY%g", "g", 1, 30);
        counters.dead_letter("g");
        let traffic = counters.traffic();
        let count = |messages, bytes| Count { messages, bytes };
        let into = [
            (("t".into(), MessageKind::Normal), count(3, 25)),
            (("t".into(), MessageKind::Transaction), count(1, 7)),
        ];
        let counts = traffic.into.iter();
        let counts = counts.map(|(of, inflow)| (of.clone(), inflow.count));
        assert_eq!(counts.collect::<BTreeMap<_, _>>(), BTreeMap::from(into));
        assert_eq!(
            traffic.out,
            BTreeMap::from([(("t".into(), "g".into()), count(3, 30))])
        );
        assert_eq!(traffic.dead_letters, BTreeMap::from([("g".into(), 1)]));
    }

    #[test]
    fn names_without_end_take_bounded_memory() {
        let counters = Counters::default();
        for n in 0..PAIRS_MAX + 10 {
            counters.dead_letter(&n.to_string());
        }
        let dead_letters = counters.traffic().dead_letters;
        assert_eq!(dead_letters.len(), PAIRS_MAX + 1);
        assert_eq!(dead_letters[OTHERS], 10);
    }
}
