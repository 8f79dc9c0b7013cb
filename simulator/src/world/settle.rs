//! How a round is settled: one write, and a sync at once or beside the rounds that follow; what is shown and told is noted.

use std::sync::Arc;

use escrow_store::{Arrival, Durability, Error, ErrorKind, SyncJob};

use super::node::{Edge, Up};
use super::traffic::{Answer, Reply};
use super::{Event, World, note};
use crate::model::{Fate, HalfId, Item, QueueKey, topic_of};
use crate::seen::Seen;

impl World {
    /// Writes, shows, answers what waits for no sync, and has the rest synced.
    pub(super) fn settle(&mut self, up: &mut Up) {
        let now = self.clock(up.born_ms);
        let is_sync_due = up.upkeep.sync_due(now.mono_ms, &up.store);
        let mut edge = self.edge();
        let written = up.waiting.write(&mut up.store, is_sync_due, &mut edge);
        if self.disk.is_dead() {
            return;
        }
        let (job, error) = match written {
            Ok(job) => (job, None),
            Err(error) => (None, Some(error)),
        };
        self.is_settled(up, edge, error);
        if let Some(job) = job {
            up.upkeep.synced(now.mono_ms);
            self.sync_begins(up, job);
        }
        if up.store.is_far_ahead() && !self.disk.is_dead() {
            self.sync_is_over(up);
        }
    }

    /// A sync is waited for, or runs beside the rounds until it is over. The disk is told of it now: what is written later is
    /// not its concern.
    fn sync_begins(&mut self, up: &mut Up, job: SyncJob) {
        let most_ms = if self.faults_are_over {
            self.plan.sync_ms_max.min(20)
        } else {
            self.plan.sync_ms_max
        };
        let is_beside = most_ms > 0 && !self.dice.one_in(4);
        let done = self.disk.begin_syncs(|| job.run());
        if self.disk.is_dead() {
            return;
        }
        up.syncing = Some(done);
        up.rounds_beside = 0;
        if !is_beside {
            return self.sync_is_over(up);
        }
        let takes = self.dice.between(1, most_ms);
        up.syncs += 1;
        note!(self, "sync {} is on its way for {takes} ms", up.syncs);
        let event = Event::SyncIsOver(self.boot, up.syncs);
        self.agenda.at(self.now_ms + takes, event);
    }

    /// The sync thread tells that a sync is over, unless somebody has waited for it meanwhile.
    pub(super) fn sync_ends(&mut self, boot: u64, number: u64) {
        if let Some(up) = self.up.as_mut().filter(|_| boot == self.boot)
            && up.syncs == number
            && up.syncing.is_some()
        {
            up.is_sync_over = true;
            self.round_at(self.now_ms);
        }
    }

    /// The sync that is on its way is over, now that it is or because nothing can be done before.
    pub(super) fn sync_is_over(&mut self, up: &mut Up) {
        up.is_sync_over = false;
        let Some(done) = up.syncing.take() else {
            return;
        };
        if up.rounds_beside > 0 {
            self.tally.add("sync beside later rounds");
        }
        self.disk.end_syncs();
        note!(self, "sync is over, {} rounds later", up.rounds_beside);
        let mut edge = self.edge();
        let synced = up.waiting.synced(&mut up.store, done, &mut edge);
        if synced.is_err() && up.rounds_beside > 0 {
            self.tally.add("failed sync beside later rounds");
        }
        self.is_settled(up, edge, synced.err());
    }

    fn edge(&self) -> Edge {
        let segment_bytes = self.plan.store.segment_bytes;
        // Segments below the log's start have left.
        let from = self.model.floor.max(self.model.log_start);
        Edge::new(Arc::clone(&self.disk), segment_bytes, from)
    }

    fn is_settled(&mut self, up: &mut Up, edge: Edge, error: Option<Error>) {
        if let Some(error) = error {
            note!(self, "round failed: {error}");
            up.has_failed = true;
            self.count_disk_faults();
            self.see(&Seen::Refused(&error));
            // A disk that is full has failed as well for a store that could not write.
            self.model.disk_failed |= error.kind() == ErrorKind::Stop;
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
        let durable = up.store.durable().0;
        self.model.floor = self.model.floor.max(durable);
        up.stated(durable, &mut self.model.stated);
    }

    fn shown(&mut self, arrival: &Arrival, durable: u64) {
        let Some(topic) = topic_of(&arrival.topic) else {
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
            Reply::PlainStored { .. } | Reply::Delivered(_) => self.plan.plain,
            Reply::TopicIs(..) | Reply::TopicIsGone(_) => Durability::Synced,
            _ => self.plan.transaction,
        };
        match &answer.reply {
            Reply::HalfStored { handle, seq, key } => {
                if let Some(id) = self.model.named(*handle, *seq, key) {
                    self.model.half_mut(id).promise.raise(need);
                }
            }
            Reply::Decided(id) => self.fate_is_told(*id, need),
            Reply::PlainStored { queue, offset } => {
                let queue = self.model.queues.get_mut(queue);
                if let Some(slot) = queue.and_then(|queue| queue.slots.get_mut(offset)) {
                    slot.promise.raise(need);
                }
            }
            Reply::Delivered(level) => up.level(*level).is_done(),
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

    fn fate_is_told(&mut self, id: HalfId, need: Durability) {
        let half = self.model.half_mut(id);
        half.fate_promise.raise(need);
        if let Fate::Committed { queue, offset, .. } = half.fate {
            let queue = self.model.queues.get_mut(&queue);
            let slot = queue.and_then(|queue| queue.slots.get_mut(&offset));
            if let Some(slot) = slot.filter(|slot| slot.item == Item::Half(id)) {
                slot.promise.raise(need);
            }
        }
    }
}
