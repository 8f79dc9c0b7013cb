//! Consumers, and those who look a message up.

use std::collections::BTreeMap;

use escrow_store::{Error, ErrorKind, PhysicalOffset, QueueOffset, Reader};

use super::{Event, World, note};
use crate::model::{HalfId, Item, QueueKey};
use crate::seen::{ReadEntry, Seen};

const PULL_MAX: usize = 32;

/// How far a consumer has come in each queue.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    next: BTreeMap<QueueKey, u64>,
}

impl World {
    fn all_queues(&self) -> Vec<QueueKey> {
        let topics = (0..).zip(&self.plan.topics);
        let queues = topics.flat_map(|(topic, queues)| {
            (0..*queues).map(move |queue| QueueKey {
                topic,
                queue_id: i32::try_from(queue).unwrap_or(0),
            })
        });
        queues.collect()
    }

    pub(super) fn pulls(&mut self) {
        let next = self.now_ms + self.dice.between(200, 5_000);
        self.agenda.at(next, Event::Pulls);
        let Some(reader) = self.up.as_ref().map(|up| up.store.reader()) else {
            return;
        };
        for queue in self.all_queues() {
            let from = self.consumer.next.get(&queue).copied().unwrap_or(0);
            let next = self.pull(&reader, queue, from);
            self.consumer.next.insert(queue, next);
        }
        self.looks_up(&reader);
    }

    /// Reads from an offset on, or from the next one that is kept; answers where to go on.
    fn pull(&mut self, reader: &Reader, queue: QueueKey, from: u64) -> u64 {
        let name = queue.topic_name();
        let (min, max) = reader.queue_range(&name, queue.queue_id);
        // A topic that ended and came back begins anew; so does what a crash took back.
        let from = from.clamp(min.0, max.0);
        let entries = reader.entries(&name, queue.queue_id, QueueOffset(from), PULL_MAX);
        let read: Result<Vec<ReadEntry>, Error> = entries.map(|entries| {
            let numbered = (from..).zip(entries);
            numbered
                .map(|(offset, entry)| {
                    let at = QueueOffset(offset);
                    let image = reader.delivered(&name, queue.queue_id, at, &entry);
                    (offset, entry.store_timestamp, image)
                })
                .collect()
        });
        self.count_disk_faults();
        self.minimum(queue, min.0);
        self.see(&Seen::Pulled {
            queue,
            range: (min.0, max.0),
            from,
            read: &read,
        });
        let Ok(entries) = read else {
            return from;
        };
        for (offset, _, image) in &entries {
            if image.is_ok() {
                self.was_read(queue, *offset);
            }
        }
        // As the broker does it: damage is passed by, what could not be read this time is asked for again.
        let is_to_come = |(_, _, image): &ReadEntry| {
            let error = image.as_ref().err();
            error.is_some_and(|error| error.kind() == ErrorKind::Stop)
        };
        let first = entries.iter().position(is_to_come);
        from + first.unwrap_or(entries.len()) as u64
    }

    /// A queue begins later than before: what has left must have been over.
    fn minimum(&mut self, key: QueueKey, min: u64) {
        let Some(queue) = self.model.queues.get(&key) else {
            return;
        };
        let left = queue.slots.range(queue.min..min.max(queue.min));
        let cleans = self.plan.store.free_bytes_clean > 0;
        let early = left
            .filter(|(_, slot)| !cleans && !self.model.is_expired(slot.stored_wall_ms))
            .map(|(offset, _)| *offset)
            .next();
        if let Some(offset) = early {
            self.breaks(
                "G3 delivered iff committed",
                &format!("{key:?} at {offset} left before its time"),
            );
        }
        if let Some(queue) = self.model.queues.get_mut(&key) {
            queue.min = queue.min.max(min);
        }
    }

    fn was_read(&mut self, key: QueueKey, offset: u64) {
        let queue = self.model.queues.get_mut(&key);
        let Some(slot) = queue.and_then(|queue| queue.slots.get_mut(&offset)) else {
            return;
        };
        slot.told = true;
        if let Item::Half(id) = slot.item {
            let half = self.model.half_mut(id);
            half.delivered = true;
            half.fate_told = true;
        }
    }

    /// Somebody looks a half up by its handle and by its key.
    fn looks_up(&mut self, reader: &Reader) {
        let some = self.dice.below(8);
        for _ in 0..some {
            if self.model.halfs.is_empty() {
                return;
            }
            let id = HalfId(self.dice.index(self.model.halfs.len()));
            let half = self.model.half(id).clone();
            if self.model.named(half.handle, half.seq, &half.key) == Some(id) {
                let found = reader.by_offset(PhysicalOffset(half.handle));
                self.count_disk_faults();
                self.see(&Seen::Looked {
                    half: id,
                    found: &found,
                });
            }
            let topic = QueueKey {
                topic: half.topic,
                queue_id: 0,
            };
            let found = reader.by_key(&topic.topic_name(), &half.key, 0, i64::MAX, 8);
            self.see(&Seen::ByKey { found: &found });
        }
    }

    pub(super) fn audit_and_again(&mut self) {
        let pause = 20_000.max(self.plan.safety_ms / 40);
        let next = self.now_ms + self.dice.between(pause / 2, pause);
        self.agenda.at(next, Event::Audit);
        self.audit();
    }

    /// Everything is looked over: all queues from their beginning, all halfs.
    pub(super) fn audit(&mut self) {
        let Some(up) = self.up.take() else {
            return;
        };
        self.disk.watch(true);
        let reader = up.store.reader();
        for queue in self.all_queues() {
            let mut from = 0;
            loop {
                let next = self.pull(&reader, queue, from);
                if next <= from || self.violation.is_some() {
                    break;
                }
                from = next;
            }
        }
        self.see(&Seen::Audit {
            store: &up.store,
            coordinator: &up.coordinator,
        });
        self.disk.watch(false);
        self.up = Some(up);
        note!(self, "audited");
    }
}
