//! The second phase: nothing goes wrong any more, and everything must settle.

use escrow_store::PhysicalOffset;

use super::start::ADMIN;
use super::traffic::{From, Request};
use super::{Event, World, note};
use crate::disk::Crash;
use crate::model::{Decision, HalfId, topic_name};
use crate::seen::Seen;

/// After so long every half must be decided: the longest pause of a parked half, and much more.
const SETTLED_AFTER_MS: u64 = 4 * 3_600_000;
const STEP_MS: u64 = 60_000;

impl World {
    pub(super) fn settle_everything(&mut self) {
        note!(self, "faults are over");
        self.faults_are_over = true;
        self.disk.calm();
        self.databases_speak();
        // The clock is right again: what is delayed by it need not wait for as long as it had gone back.
        let behind = self.model.wall_ms - self.wall();
        self.wall_ms += behind.max(0);
        let now = self.now_ms;
        // Whoever is up with a broken store, or none, is started again.
        match &self.up {
            Some(up) if up.has_failed => self.end_now(Crash::Kill),
            Some(_) => {}
            None => self.agenda.at(now, Event::Starts),
        }
        for client in 0..self.clients.len() {
            if let Some(connection) = self.clients[client].connection {
                let from = From { client, connection };
                self.say_at_once(from, Request::Join { capable: true });
            }
            self.clients[client].away_until = now;
            self.agenda.at(now + 500, Event::Connects(client));
            self.agenda.at(now + 6_000, Event::Connects(client));
        }
        for topic in 0..self.plan.topics.len() as u64 {
            self.agenda.at(now + 1_000, Event::TopicBack(topic));
            self.agenda.at(now + 8_000, Event::TopicBack(topic));
        }
        while self.violation.is_none() && self.now_ms < now + SETTLED_AFTER_MS {
            self.run_until(self.now_ms + STEP_MS);
            let is_decided = self.model.undecided().all(|(_, half)| half.touched);
            if is_decided && self.model.undelivered().next().is_none() {
                break;
            }
        }
        self.decide_what_is_damaged();
        self.starts_once_more();
        self.tally.simulated_ms += self.now_ms;
    }

    /// Nobody can be asked about a half that cannot be read: that is for an operator.
    fn decide_what_is_damaged(&mut self) {
        let damaged: Vec<HalfId> = self
            .model
            .undecided()
            .filter(|(_, half)| half.touched)
            .map(|(id, _)| id)
            .collect();
        for half in damaged {
            let decision = Decision::Rollback;
            self.say_at_once(ADMIN, Request::Operate { half, decision });
        }
        if self.violation.is_none() {
            self.run_until(self.now_ms + STEP_MS);
        }
        self.settled();
    }

    fn settled(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let Some(up) = self.up.take() else {
            return self.breaks("G5 never forgotten", "no process is up after all faults");
        };
        self.see(&Seen::Settled { store: &up.store });
        self.up = Some(up);
        self.audit();
    }

    /// Ends in good order and opens again: all is as it was, and nothing is amiss. Derived files that went bad are given up
    /// before, for everything is looked at once.
    fn starts_once_more(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let wall = self.wall();
        if let Some(mut up) = self.up.take() {
            let reader = up.store.reader();
            for (_, half) in self.model.present() {
                let _ = up.store.half_at(PhysicalOffset(half.handle));
                let _ = reader.by_key(&topic_name(half.topic), &half.key, 0, i64::MAX, 1);
            }
            while up.store.is_syncing() {
                self.sync_is_over(&mut up);
                self.settle(&mut up);
            }
            let closed = up.store.close(wall).or_else(|_| up.store.close(wall));
            if let Err(error) = closed {
                self.breaks("G10 honest disk", &format!("does not close: {error}"));
            }
            self.ends(Some(up), Some(Crash::Power));
        }
        self.run_until(self.now_ms + 1_000);
        self.model.derived_flipped = false;
        self.settled();
    }
}
