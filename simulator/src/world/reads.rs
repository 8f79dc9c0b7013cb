//! Consumers, and those who look a message up.

use std::collections::BTreeMap;

use escrow_store::{Error, ErrorKind, PhysicalOffset, QueueOffset, Reader};

use super::node::Up;
use super::{Event, World, note};
use crate::model::{HalfId, Item, QueueKey, level_queue};
use crate::seen::{ReadEntry, Seen};

/// What an onlooker reads at once.
const PULL_MAX: usize = 32;

/// How far a consumer has come in each queue. Offsets that are stored belong to the broker; here each consumer keeps its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumer {
    next: BTreeMap<QueueKey, u64>,
    /// Where it goes on after it was restarted.
    stored: BTreeMap<QueueKey, u64>,
}

impl World {
    /// The queues of all topics.
    fn topic_queues(&self) -> impl Iterator<Item = QueueKey> + use<> {
        let topics = (0..).zip(self.plan.topics.clone());
        topics.flat_map(|(topic, queues)| {
            (0..queues).map(move |queue| QueueKey {
                topic,
                queue_id: queue.cast_signed(),
            })
        })
    }

    pub(super) fn pulls(&mut self, number: usize) {
        let pause = if self.faults_are_over {
            5_000
        } else {
            // A long history need not be read every moment.
            let pause = self.plan.consumers[number].pause_ms;
            pause.max(self.plan.safety_ms / 2_000)
        };
        let next = self.now_ms + self.dice.between(pause / 20, pause);
        self.agenda.at(next, Event::Pulls(number));
        let Some(up) = self.up.take() else {
            return;
        };
        let reader = up.store.reader();
        self.consumes(&up, &reader, number);
        if number == 0 {
            self.looks_up(&reader);
        }
        self.up = Some(up);
    }

    /// A process is up: as the broker does it, whoever had read what a crash took back goes on at the queue's end.
    pub(super) fn consumers_go_on(&mut self, reader: &Reader) {
        for consumer in &mut self.consumers {
            for places in [&mut consumer.next, &mut consumer.stored] {
                for (queue, place) in places {
                    let (_, end) = reader.queue_range(&queue.topic_name(), queue.queue_id);
                    *place = (*place).min(end.0);
                }
            }
        }
    }

    /// A topic has ended: where consumers were in it is forgotten.
    pub(super) fn consumers_leave(&mut self, topic: u64) {
        for consumer in &mut self.consumers {
            consumer.next.retain(|queue, _| queue.topic != topic);
            consumer.stored.retain(|queue, _| queue.topic != topic);
        }
    }

    /// In the middle of a round, when something is staged and not yet written, consumers read all the same.
    pub(super) fn reads_meanwhile(&mut self, up: &Up) {
        if self.disk.is_dead() {
            // The crash has struck within the round: whoever reads now reads nothing.
            return;
        }
        if self.dice.one_in(6) {
            let number = self.dice.index(self.plan.consumers.len());
            let reader = up.store.reader();
            self.consumes(up, &reader, number);
            if self.dice.one_in(4) {
                self.looks_up(&reader);
            }
        }
    }

    /// A consumer pulls from all queues of the topics that it has subscribed to.
    fn consumes(&mut self, up: &Up, reader: &Reader, number: usize) {
        let plan = self.plan.consumers[number].clone();
        if !self.faults_are_over && self.dice.one_in(40) {
            self.tally.add("consumer restarted");
            let consumer = &mut self.consumers[number];
            consumer.next = consumer.stored.clone();
        }
        for queue in self.topic_queues().filter(|queue| plan.reads(queue.topic)) {
            let from = self.consumers[number].next.get(&queue).copied();
            let from = from.unwrap_or(0);
            let next = self.pull(up, reader, queue, from, Some(number));
            self.consumers[number].next.insert(queue, next);
        }
        if self.dice.one_in(3) {
            let consumer = &mut self.consumers[number];
            consumer.stored = consumer.next.clone();
        }
    }

    /// Reads from an offset on, or from the next one that is kept; answers where to go on.
    fn pull(
        &mut self,
        up: &Up,
        reader: &Reader,
        queue: QueueKey,
        from: u64,
        consumer: Option<usize>,
    ) -> u64 {
        let most = match consumer {
            Some(number) if !self.faults_are_over => self.plan.consumers[number].batch,
            _ => PULL_MAX,
        };
        let name = queue.topic_name();
        let (min, max) = reader.queue_range(&name, queue.queue_id);
        // A topic that ended and came back begins anew; so does what a crash took back.
        let from = from.clamp(min.0, max.0);
        let entries = reader.entries(&name, queue.queue_id, QueueOffset(from), most);
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
        let is_empty = read.as_ref().is_ok_and(Vec::is_empty);
        self.see(&Seen::Pulled {
            queue,
            range: (min.0, max.0),
            from,
            read: &read,
            written: up.store.written().0,
            durable: if is_empty { 0 } else { self.on_platter() },
        });
        let Ok(entries) = read else {
            return from;
        };
        for (offset, _, image) in &entries {
            if image.is_ok() {
                self.was_read(queue, *offset, consumer);
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

    fn on_platter(&self) -> u64 {
        let segment_bytes = self.plan.store.segment_bytes;
        self.disk
            .look(|image| image.log_durable(segment_bytes, self.model.floor))
    }

    /// A queue begins later than before: what has left must have been over.
    pub(super) fn minimum(&mut self, key: QueueKey, min: u64) {
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

    fn was_read(&mut self, key: QueueKey, offset: u64, consumer: Option<usize>) {
        let slots = self.model.queues.get(&key).map(|queue| &queue.slots);
        let Some(slot) = slots.and_then(|slots| slots.get(&offset)) else {
            return;
        };
        let (need, item) = (self.model.need(&slot.item), slot.item.clone());
        let queue = self.model.queues.get_mut(&key);
        if let Some(slot) = queue.and_then(|queue| queue.slots.get_mut(&offset)) {
            slot.promise.raise(need);
        }
        if let Item::Half(id) = item {
            let half = self.model.half_mut(id);
            half.delivered.extend(consumer);
            half.fate_promise.raise(need);
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
        let levels = (0..).zip(self.plan.levels.clone());
        let levels = levels.map(|(level, _)| level_queue(level));
        for queue in self.topic_queues().chain(levels) {
            let mut from = 0;
            loop {
                let next = self.pull(&up, &reader, queue, from, None);
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
