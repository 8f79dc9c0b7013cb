//! The loop of the log thread.

use std::sync::Arc;

use escrow_coordinator::{CheckRequest, Coordinator, Now};
use escrow_store::{Arrival, Durability, Error, Settling, Store, SyncDone, Waiting};
use tokio::sync::mpsc;

use super::inbox::Inbox;
use super::syncer::Syncer;
use super::upkeep::Upkeep;
use super::{Health, LogError, Parts};
use crate::clock::Clock;
use crate::long_polls::LongPolls;
use crate::remoting::answer::{Outcome, ReplyTo};
use crate::remoting::outbox::Outgoing;
use crate::remoting::peer::Peer;
use crate::topics::Topics;

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushPolicy {
    pub(crate) plain: Durability,
    pub(crate) transaction: Durability,
}

/// Something to tell once the log is as durable as it must be.
pub(super) enum Completion {
    Reply(Arc<Peer>, ReplyTo, Outcome),
    Call(Box<dyn FnOnce(Result<(), LogError>) + Send>),
}

pub(super) struct Worker {
    pub(super) store: Store,
    pub(super) coordinator: Coordinator,
    pub(super) policy: FlushPolicy,
    pub(super) topics: Arc<Topics>,
    /// Answers that wait for the batch's write, and those that wait for its sync.
    pub(super) waiting: Waiting<Completion>,
    inbox: Arc<Inbox>,
    clock: Clock,
    long_polls: Arc<LongPolls>,
    checks: mpsc::UnboundedSender<CheckRequest>,
    due: Vec<CheckRequest>,
    upkeep: Upkeep,
    health: Arc<Health>,
    syncer: Syncer,
}

impl Worker {
    pub(super) fn new(
        parts: Parts,
        inbox: Arc<Inbox>,
        health: Arc<Health>,
        syncer: Syncer,
    ) -> Worker {
        Worker {
            upkeep: Upkeep::new(parts.clock.now(), &parts.store, parts.jobs),
            store: parts.store,
            coordinator: parts.coordinator,
            policy: parts.policy,
            topics: parts.topics,
            waiting: Waiting::default(),
            inbox,
            clock: parts.clock,
            long_polls: parts.long_polls,
            checks: parts.checks,
            due: Vec::new(),
            health,
            syncer,
        }
    }

    /// Runs until the inbox is closed and empty, then leaves everything durable.
    pub(super) fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            // At least a millisecond: something due that cannot be done now must not spin.
            let soon = self.clock.now().mono_ms + 1;
            let until = self.clock.instant(self.next_wake().max(soon));
            let open = self.inbox.take(until, &mut taken);
            if let Some(done) = self.syncer.done() {
                self.synced(done);
            }
            let now = self.clock.now();
            for command in taken.drain(..) {
                self.apply(now, command);
            }
            self.checks_due(now);
            self.settle(now);
            if !open {
                break;
            }
            self.keep_up(now);
            for notice in self.coordinator.take_notices() {
                tracing::warn!(?notice, "transactions");
            }
        }
        while self.store.is_syncing() {
            self.await_sync();
            self.settle(self.clock.now());
        }
        Upkeep::close(self.clock.now(), &mut self.store);
    }

    /// The chores, which may sync: what is on its way comes first.
    fn keep_up(&mut self, now: Now) {
        if self.upkeep.is_due(now, &self.store) {
            self.await_sync();
            self.upkeep.step(now, &mut self.store);
        }
    }

    fn await_sync(&mut self) {
        if self.store.is_syncing() {
            let done = self.syncer.wait();
            self.synced(done);
        }
    }

    /// Monotonic milliseconds at which something is due without any command.
    fn next_wake(&self) -> u64 {
        let upkeep = self.upkeep.next_due(&self.store);
        self.coordinator
            .next_due()
            .map_or(upkeep, |check| check.min(upkeep))
    }

    fn checks_due(&mut self, now: Now) {
        if self
            .coordinator
            .next_due()
            .is_some_and(|due| due <= now.mono_ms)
        {
            self.due = self.coordinator.due(&mut self.store, now);
        }
    }

    /// Writes, shows, answers what waits for no sync, and has the rest synced: at once if nothing else is to be done, else
    /// beside what is.
    fn settle(&mut self, now: Now) {
        let is_sync_due = self.upkeep.sync_due(now, &self.store);
        let mut edge = Edge(&self.long_polls);
        match self.waiting.write(&mut self.store, is_sync_due, &mut edge) {
            Ok(Some(job)) => {
                self.upkeep.synced(now);
                if self.inbox.waiting() == 0 && !is_sync_due {
                    self.synced(job.run());
                } else {
                    self.syncer.begin(job);
                }
            }
            Ok(None) => {}
            Err(error) => self.health.failed(&error.to_string()),
        }
        if self.store.is_far_ahead() {
            self.await_sync();
        }
        for check in self.due.drain(..) {
            // The check sender ends only after this thread.
            let _ = self.checks.send(check);
        }
    }

    /// A sync is over: shows and answers what waited for it.
    fn synced(&mut self, done: SyncDone) {
        let mut edge = Edge(&self.long_polls);
        if let Err(error) = self.waiting.synced(&mut self.store, done, &mut edge) {
            self.health.failed(&error.to_string());
        }
    }
}

/// Where what a batch brings about is seen.
struct Edge<'a>(&'a LongPolls);

impl Settling<Completion> for Edge<'_> {
    fn show(&mut self, arrivals: Vec<Arrival>) {
        self.0
            .arrived(arrivals.iter().map(|a| (&*a.topic, a.queue_id)));
    }

    fn tell(&mut self, waiting: &mut Vec<Completion>, result: &Result<(), Error>) {
        complete(waiting, &result.clone().map_err(LogError::from));
    }
}

/// Tells everybody in log order; neighbours that go to one peer go in one push.
fn complete(waiting: &mut Vec<Completion>, result: &Result<(), LogError>) {
    let mut to: Option<Arc<Peer>> = None;
    let mut answers: Vec<Outgoing> = Vec::new();
    let flush = |to: &Option<Arc<Peer>>, answers: &mut Vec<Outgoing>| {
        if let Some(peer) = to {
            peer.outbox.push(answers.drain(..));
        }
    };
    for completion in waiting.drain(..) {
        match completion {
            // Whoever is called may look for the answers before.
            Completion::Call(call) => {
                flush(&to, &mut answers);
                call(result.clone());
            }
            Completion::Reply(peer, reply, outcome) => {
                let outcome = match result {
                    Ok(()) => outcome,
                    Err(error) => Outcome::Refused(error.refusal()),
                };
                if !to.as_ref().is_some_and(|last| Arc::ptr_eq(last, &peer)) {
                    flush(&to, &mut answers);
                    to = Some(Arc::clone(&peer));
                }
                answers.extend(reply.outgoing(&peer, outcome));
            }
        }
    }
    flush(&to, &mut answers);
}

#[cfg(test)]
mod tests;
