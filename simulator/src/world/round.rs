//! One round of the process: what has arrived, what is due, one write, one sync, answers, checks, chores. As the log thread
//! does it, with the same parts.

use std::sync::Arc;

use escrow_coordinator::{CheckRequest, ConnectionId};
use escrow_protocol::message;
use escrow_store::{Arrival, Durability};

use super::node::{Edge, Up};
use super::traffic::{Answer, From, Reply, Request};
use super::{Event, World, note};
use crate::disk::Crash;
use crate::model::{Fate, HalfId, Item, QueueKey, What};
use crate::seen::Seen;

impl World {
    /// Says something to the process, over the network.
    pub(super) fn say(&mut self, from: From, request: Request) {
        let faults = self.plan.faults.clone();
        if !self.faults_are_over && self.dice.permille(faults.lost) {
            self.tally.add("request lost");
            return;
        }
        let mut delay = self.dice.below(3);
        if !self.faults_are_over && self.dice.permille(faults.late) {
            self.tally.add("request late");
            delay = self.dice.below(20_000);
        }
        if !self.faults_are_over && self.dice.permille(faults.doubled) {
            self.tally.add("request doubled");
            let again = self.now_ms + delay + self.dice.below(9_000);
            let event = Event::Arrives(self.boot, from, request.clone());
            self.agenda.at(again, event);
        }
        self.agenda.at(
            self.now_ms + delay,
            Event::Arrives(self.boot, from, request),
        );
    }

    /// Says something that reaches the process for sure, if there is one.
    pub(super) fn say_at_once(&mut self, from: From, request: Request) {
        self.agenda
            .at(self.now_ms, Event::Arrives(self.boot, from, request));
    }

    pub(super) fn arrives(&mut self, boot: u64, from: From, request: Request) {
        if boot != self.boot {
            return;
        }
        if let Some(up) = &mut self.up {
            up.inbox.push((from, request));
            // What comes together is taken together.
            let at = self.now_ms + self.dice.below(2);
            self.round_at(at);
        }
    }

    fn round_at(&mut self, at_ms: u64) {
        if self.round_at.is_none_or(|known| at_ms < known) {
            self.round_at = Some(at_ms);
            self.agenda.at(at_ms, Event::Round);
        }
    }

    /// Puts the next round on the agenda for when something is due.
    pub(super) fn wake_for_round(&mut self) {
        if let Some(up) = &self.up {
            let at = up.next_wake().max(self.now_ms + 1);
            self.round_at(at);
        }
    }

    pub(super) fn round_is_due(&mut self) {
        // An earlier round may have been put on the agenda after this one.
        if self.round_at != Some(self.now_ms) {
            return;
        }
        self.round_at = None;
        let Some(mut up) = self.up.take() else {
            return;
        };
        self.round(&mut up);
        self.count_disk_faults();
        if self.disk.is_dead() {
            return self.ends(Some(up), None);
        }
        let has_failed = up.has_failed;
        self.up = Some(up);
        if has_failed && (self.faults_are_over || self.dice.one_in(20)) {
            return self.end_now(Crash::Kill);
        }
        self.wake_for_round();
    }

    /// Ends the process between two rounds.
    pub(super) fn end_now(&mut self, crash: Crash) {
        if let Some(up) = self.up.take() {
            self.ends(Some(up), Some(crash));
        }
    }

    fn round(&mut self, up: &mut Up) {
        let (end, durable) = (up.store.end(), up.store.durable());
        for (from, request) in std::mem::take(&mut up.inbox) {
            self.apply(up, from, request);
        }
        let now = self.clock(up.born_ms);
        if up
            .coordinator
            .next_due()
            .is_some_and(|due| due <= now.mono_ms)
        {
            up.due = up.coordinator.due(&mut up.store, now);
        }
        self.settle(up);
        if self.disk.is_dead() {
            return;
        }
        let checks = std::mem::take(&mut up.due);
        if !checks.is_empty() {
            self.see(&Seen::Checks(&checks));
            self.send_checks(up, &checks);
        }
        self.upkeep(up);
        let _ = up.coordinator.take_notices();
        let is_stated = up.store.end() > end && up.store.durable() == up.store.end();
        if is_stated && !self.disk.is_dead() {
            self.model.stated = self.model.stated.max(durable.0);
        }
    }

    fn settle(&mut self, up: &mut Up) {
        let now = self.clock(up.born_ms);
        let is_sync_due = up.upkeep.sync_due(now.mono_ms, &up.store);
        if is_sync_due || up.waiting.last_need() == Durability::Synced {
            up.upkeep.synced(now.mono_ms);
        }
        let segment_bytes = self.plan.store.segment_bytes;
        let mut edge = Edge::new(Arc::clone(&self.disk), segment_bytes, self.model.floor);
        let settled = up.waiting.settle(&mut up.store, is_sync_due, &mut edge);
        if self.disk.is_dead() {
            return;
        }
        if let Err(error) = settled {
            note!(self, "round failed: {error}");
            up.has_failed = true;
            self.count_disk_faults();
            self.see(&Seen::Refused(&error));
        }
        for (arrival, durable) in &edge.shown {
            self.shown(arrival, *durable);
        }
        for (answer, durable) in edge.told {
            match durable {
                Some(durable) => self.tell(up, answer, durable),
                None => note!(self, "not told: {:?}", answer.what),
            }
        }
        if !up.has_failed {
            self.model.floor = self.model.floor.max(up.store.durable().0);
        }
    }

    fn shown(&mut self, arrival: &Arrival, durable: u64) {
        let topic = arrival
            .topic
            .strip_prefix("topic-")
            .and_then(|n| n.parse().ok());
        let Some(topic) = topic else {
            return;
        };
        let queue = QueueKey {
            topic,
            queue_id: arrival.queue_id,
        };
        // Messages of a topic that was dropped in the same round are shown to nobody.
        if self.model.queues.contains_key(&queue) {
            self.see(&Seen::Shown {
                queue,
                offset: arrival.visible_end.0 - 1,
                durable,
            });
        }
    }

    /// Somebody is told: from now on it is a promise.
    fn tell(&mut self, up: &mut Up, answer: Answer, durable: u64) {
        note!(self, "told {:?}", answer.reply);
        let need = match &answer.reply {
            Reply::PlainStored { .. } => self.plan.plain,
            Reply::TopicIs(..) | Reply::TopicIsGone(_) => Durability::Synced,
            _ => self.plan.transaction,
        };
        match &answer.reply {
            Reply::HalfStored { handle, seq, key } => {
                if let Some(id) = self.model.named(*handle, *seq, key) {
                    self.model.half_mut(id).told = true;
                }
            }
            Reply::Decided(id) => self.fate_is_told(*id),
            Reply::PlainStored { queue, offset } => {
                let queue = self.model.queues.get_mut(queue);
                if let Some(slot) = queue.and_then(|queue| queue.slots.get_mut(offset)) {
                    slot.told = true;
                }
            }
            Reply::TopicIs(topic, queues) => {
                up.topics.insert(*topic, *queues);
            }
            Reply::TopicIsGone(topic) => self.model.drop_told(*topic),
            Reply::Check { .. } => {}
        }
        self.see(&Seen::Told {
            what: &answer.what,
            end: answer.end,
            need,
            durable,
        });
        self.hear_later(answer.to, answer.reply);
    }

    pub(super) fn fate_is_told(&mut self, id: HalfId) {
        let half = self.model.half_mut(id);
        half.fate_told = true;
        if let Fate::Committed { queue, offset, .. } = half.fate {
            let queue = self.model.queues.get_mut(&queue);
            let slot = queue.and_then(|queue| queue.slots.get_mut(&offset));
            if let Some(slot) = slot.filter(|slot| slot.item == Item::Half(id)) {
                slot.told = true;
            }
        }
    }

    /// A reply travels to its client.
    fn hear_later(&mut self, to: From, reply: Reply) {
        if to.client >= self.clients.len() {
            return;
        }
        if !self.faults_are_over && self.dice.permille(self.plan.faults.lost) {
            self.tally.add("reply lost");
            return;
        }
        let mut delay = self.dice.below(3);
        if !self.faults_are_over && self.dice.permille(self.plan.faults.late) {
            self.tally.add("reply late");
            delay = self.dice.below(12_000);
        }
        self.agenda.at(self.now_ms + delay, Event::Hears(to, reply));
    }

    /// Checks go to the connections that they name, as far as those are there and the halfs can be read.
    fn send_checks(&mut self, up: &Up, checks: &[CheckRequest]) {
        let reader = up.store.reader();
        for check in checks {
            let client = self.client_of(check.connection);
            let image = reader.half_image(check.seq);
            let key = image.ok().and_then(|image| {
                let half = message::decode(&image).ok()?;
                half.properties().get("UNIQ_KEY").map(str::to_owned)
            });
            note!(self, "check {check:?}");
            if let (Some(client), Some(key)) = (client, key) {
                let to = From {
                    client,
                    connection: check.connection.0,
                };
                let (handle, seq) = (check.handle.0, check.seq.0);
                self.hear_later(to, Reply::Check { handle, seq, key });
            } else {
                self.say_at_once(super::start::ADMIN, Request::NotSent { seq: check.seq.0 });
            }
        }
    }

    fn client_of(&self, connection: ConnectionId) -> Option<usize> {
        let mut clients = self.clients.iter();
        clients.position(|client| client.connection == Some(connection.0))
    }

    fn upkeep(&mut self, up: &mut Up) {
        let now = self.clock(up.born_ms);
        let start = up.store.end().0;
        let undecided: Vec<HalfId> = self.model.undecided().map(|(id, _)| id).collect();
        let upkept = up.upkeep.step(now.mono_ms, now.wall_ms, &mut up.store);
        self.count_disk_faults();
        for (what, error) in &upkept.failures {
            note!(self, "{what} failed: {error}");
        }
        let end = up.store.end().0;
        self.model.spans.add(start, end, What::Carried(undecided));
        if upkept.retention.relocated > 0 || upkept.retention.removed.is_some() {
            note!(self, "retention {:?}", upkept.retention);
        }
        self.model.log_start = self.model.log_start.max(up.store.reader().log_range().0.0);
        if self.disk.is_dead() {
            return;
        }
        self.see(&Seen::Retained(&upkept.retention));
        if let Some(job) = upkept.checkpoint {
            up.job = Some(job);
            let at = self.now_ms + self.dice.below(400);
            self.agenda.at(at, Event::CheckpointWritten(self.boot));
        }
        let stepped = up.preallocator.step();
        if let Err(error) = stepped {
            note!(self, "no spare segment: {error}");
        }
    }

    /// The maintenance thread has written a checkpoint, or was stopped in the middle of it.
    pub(super) fn checkpoint_written(&mut self, boot: u64) {
        if boot != self.boot {
            return;
        }
        let Some(mut up) = self.up.take() else {
            return;
        };
        if let Some(job) = up.job.take() {
            let done = job.run();
            self.count_disk_faults();
            if self.disk.is_dead() {
                return self.ends(Some(up), None);
            }
            match up.store.finish_checkpoint(done) {
                Ok(()) => note!(self, "checkpoint"),
                Err(error) => note!(self, "checkpoint failed: {error}"),
            }
        }
        self.up = Some(up);
        self.wake_for_round();
    }
}
