//! Delayed messages. Each level looks for what is due in its queue and hands that to the log thread, as the broker's levels do;
//! what was delivered before is left out there, by what the log says.

use bytes::Bytes;
use escrow_protocol::message::{self, Message};
use escrow_protocol::properties::name;
use escrow_store::{Durability, ErrorKind, QueueOffset, ScheduleSource};

use super::node::Up;
use super::start::ADMIN;
use super::traffic::{Answer, Reply, Request};
use super::{Event, World, note};
use crate::model::{Delivery, Item, QueueKey, Waited, What, level_queue, topic_of};

/// What one look hands over at most.
const BATCH: usize = 8;

impl World {
    pub(super) fn levels_look(&mut self) {
        let pause = if self.faults_are_over {
            5_000
        } else {
            1_500.max(self.plan.safety_ms / 1_000)
        };
        let next = self.now_ms + self.dice.between(20, pause);
        self.agenda.at(next, Event::LevelsLook);
        let Some(mut up) = self.up.take() else {
            return;
        };
        for (level, delay_ms) in (0..).zip(self.plan.levels.clone()) {
            self.level_looks(&mut up, level, delay_ms);
        }
        let has_work = !up.inbox.is_empty();
        self.up = Some(up);
        if has_work {
            self.round_at(self.now_ms);
        }
    }

    fn level_looks(&mut self, up: &mut Up, level: u32, delay_ms: u64) {
        let queue = level_queue(level);
        let name = queue.topic_name();
        let reader = up.store.reader();
        let (min, _) = reader.queue_range(&name, queue.queue_id);
        self.minimum(queue, min.0);
        let progress = up.store.schedule_progress(level).0;
        let Some(from) = up.level(level).begins(progress, min.0) else {
            return;
        };
        let entries = reader.entries(&name, queue.queue_id, QueueOffset(from), BATCH);
        let wall = self.wall();
        let mut until = from;
        let mut due = Vec::new();
        for entry in entries.unwrap_or_default() {
            if entry.store_timestamp.saturating_add_unsigned(delay_ms) > wall {
                break;
            }
            let at = QueueOffset(until);
            match reader.delivered(&name, queue.queue_id, at, &entry) {
                Ok(image) => due.push((until, image)),
                Err(error) if error.kind() == ErrorKind::Stop => break,
                // Lost to damage.
                Err(_) => {}
            }
            until += 1;
        }
        self.count_disk_faults();
        for (place, image) in due {
            // Whoever is not sure whether a delivery was made makes it again.
            let times = if self.dice.one_in(8) { 2 } else { 1 };
            if times > 1 {
                self.tally.add("delayed message handed over twice");
            }
            for _ in 0..times {
                let image = image.clone();
                let request = Request::Deliver((level, place), image);
                up.level(level).hands_over();
                up.inbox.push((ADMIN, request));
            }
        }
        up.level(level).ends_at(until);
    }

    /// Delivers a due message unless that was done before: the log says how far a level is.
    pub(super) fn deliver(&mut self, up: &mut Up, waited: Waited, image: &Bytes) {
        let (level, place) = waited;
        // Behind one that was refused nothing of the level may go on, for what is passed by is never delivered.
        if up.level(level).was_refused() {
            return up.level(level).is_done();
        }
        let is_done = up.store.schedule_progress(level).0 > place;
        if is_done != (self.model.progress(level) > place) {
            let text = format!("{waited:?} is delivered: {is_done}");
            return self.breaks("G3 delivered iff committed", &text);
        }
        let waits = self.model.queues.get(&level_queue(level));
        let slot = waits.and_then(|waits| waits.slots.get(&place));
        let Some(Item::Delayed { key, body, target }) = slot.map(|slot| slot.item.clone()) else {
            let text = format!("{waited:?} is due and nothing waits there");
            return self.breaks("G3 delivered iff committed", &text);
        };
        let waited_message = message::decode(image).ok();
        let Some(message) = waited_message.filter(|m| target_of(m) == Some(target)) else {
            let text = format!("{key} waits for {target:?} and would go elsewhere");
            return self.breaks("G3 delivered iff committed", &text);
        };
        let mut answer = Answer {
            to: ADMIN,
            what: What::Delivery(waited),
            end: 0,
            reply: Reply::Delivered(level),
        };
        let queues = up.topics.get(&target.topic).copied();
        let Some(queues) = queues.filter(|_| !is_done) else {
            if !is_done {
                // The broker would make the topic's queue; here the level waits for the topic.
                up.level(level).is_refused();
            }
            let need = Durability::Written;
            return up.waiting.push(need, answer);
        };
        let queue = QueueKey {
            queue_id: target.queue_id % i32::try_from(queues).unwrap_or(1),
            ..target
        };
        let need = self.plan.plain;
        let start = up.store.end().0;
        let topic = queue.topic_name();
        let message = Message {
            topic: &topic,
            queue_id: queue.queue_id,
            ..message
        };
        let from = ScheduleSource {
            level_queue: level,
            queue_offset: place,
        };
        let placed = up.store.append_delivery(self.wall(), &message, from, need);
        let placed = match placed {
            Ok(placed) => placed,
            Err(error) => {
                self.refused(up, &error);
                up.level(level).is_refused();
                return up.level(level).is_done();
            }
        };
        note!(self, "delivery of {waited:?} {placed:?}");
        let (offset, end) = (placed.queue_offset.0, placed.end.0);
        let what = What::Delivery(waited);
        self.model.spans.add(start, up.store.end().0, what);
        let delivery = Delivery {
            queue,
            offset,
            end,
            touched: false,
        };
        self.model.deliveries.insert(waited, delivery);
        self.tally.delayed += 1;
        let item = Item::Delivered {
            key,
            body,
            from: waited,
        };
        self.place(queue, offset, item, end, placed.store_timestamp);
        answer.end = end;
        up.waiting.push(need, answer);
    }
}

/// Where a delayed message says that it is to go.
fn target_of(message: &Message<'_>) -> Option<QueueKey> {
    let properties = message.properties();
    Some(QueueKey {
        topic: topic_of(properties.get(name::REAL_TOPIC)?)?,
        queue_id: properties.get(name::REAL_QID)?.parse().ok()?,
    })
}
