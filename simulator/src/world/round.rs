//! One round of the process: what has arrived, what is due, one write, a sync, answers, checks, chores. As the log thread does
//! it, with the same parts.

use escrow_coordinator::{CheckRequest, ConnectionId};
use escrow_protocol::message;

use super::node::Up;
use super::traffic::{From, Reply, Request};
use super::{Event, World, note};
use crate::disk::Crash;
use crate::model::{HalfId, What};
use crate::seen::Seen;

impl World {
    pub(super) fn round_at(&mut self, at_ms: u64) {
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
        if up.is_sync_over {
            self.sync_is_over(up);
        }
        up.rounds_beside += 1;
        let (end, durable) = (up.store.end(), up.store.durable());
        for (from, request) in std::mem::take(&mut up.inbox) {
            self.apply(up, from, request);
        }
        self.reads_meanwhile(up);
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
        if up.store.end() > end {
            up.states(up.store.end().0, durable.0);
        }
        up.stated(up.store.durable().0, &mut self.model.stated);
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

    /// The chores, which may sync: what is on its way comes first.
    fn upkeep(&mut self, up: &mut Up) {
        let now = self.clock(up.born_ms);
        if up.upkeep.is_due(now.mono_ms, &up.store) {
            self.sync_is_over(up);
        }
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
