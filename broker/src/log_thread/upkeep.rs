//! What the log thread does for the store between batches, and when.
//!
//! Everything here is a short step. What takes long, writing a checkpoint and preparing the next
//! segment, is handed to the maintenance thread.

use std::sync::mpsc::Sender;

use escrow_coordinator::Now;
use escrow_store::{CheckpointDone, CheckpointJob, Error, PhysicalOffset, SpaceState, Store};

/// How long an acknowledged message of an asynchronous store may stay unsynced.
const SYNC_EVERY_MS: u64 = 250;

/// How often the chores get a step.
const STEP_EVERY_MS: u64 = 1_000;

/// Until the next step when retention has more to carry forward.
const STEP_SOON_MS: u64 = 20;

/// The chores of one store. Times are milliseconds of the monotonic clock.
pub(super) struct Upkeep {
    jobs: Sender<CheckpointJob>,
    synced_ms: u64,
    step_due_ms: u64,
    /// The log's end at the last step: unchanged, the store is idle.
    end: PhysicalOffset,
    space: SpaceState,
}

impl Upkeep {
    pub(super) fn new(now: Now, store: &Store, jobs: Sender<CheckpointJob>) -> Upkeep {
        Upkeep {
            jobs,
            synced_ms: now.mono_ms,
            step_due_ms: now.mono_ms + STEP_EVERY_MS,
            end: store.end(),
            space: store.space_state(),
        }
    }

    /// When a chore is due if nothing else happens.
    pub(super) fn next_due(&self, store: &Store) -> u64 {
        if store.written() > store.durable() {
            self.step_due_ms.min(self.synced_ms + SYNC_EVERY_MS)
        } else {
            self.step_due_ms
        }
    }

    /// Whether what is written should be synced although nobody waits for it.
    pub(super) fn sync_due(&self, now: Now, store: &Store) -> bool {
        store.written() > store.durable() && now.mono_ms >= self.synced_ms + SYNC_EVERY_MS
    }

    pub(super) fn synced(&mut self, now: Now) {
        self.synced_ms = now.mono_ms;
    }

    /// One step of every chore, if it is time. What fails here costs no acknowledgement: a store
    /// that is broken says so at the next write.
    pub(super) fn step(&mut self, now: Now, store: &mut Store) {
        if now.mono_ms < self.step_due_ms {
            return;
        }
        self.step_due_ms = now.mono_ms + STEP_EVERY_MS;
        self.look_at_space(store);
        self.checkpoint(now, store);
        match store.retention_step(now.wall_ms) {
            Ok(report) => {
                if let Some(segment) = report.removed {
                    tracing::info!(%segment, report.relocated, "log segment removed");
                }
                if report.is_unfinished {
                    self.step_due_ms = now.mono_ms + STEP_SOON_MS;
                }
            }
            Err(error) => warn("retention", &error),
        }
        if store.end() == self.end
            && let Err(error) = store.mark_durable_if_idle(now.wall_ms)
        {
            warn("durable mark", &error);
        }
        self.end = store.end();
    }

    fn look_at_space(&mut self, store: &mut Store) {
        match store.free_space() {
            Ok(space) if space > self.space => {
                tracing::error!(?space, "the disk is filling up");
                self.space = space;
            }
            Ok(space) => self.space = space,
            Err(error) => warn("free space", &error),
        }
    }

    fn checkpoint(&self, now: Now, store: &mut Store) {
        if !store.checkpoint_due(now.wall_ms) {
            return;
        }
        match store.begin_checkpoint(now.wall_ms) {
            Ok(Some(job)) => {
                // The maintenance thread ends only after this one.
                let _ = self.jobs.send(job);
            }
            Ok(None) => {}
            Err(error) => warn("checkpoint", &error),
        }
    }

    /// The maintenance thread is done with a checkpoint.
    pub(super) fn checkpointed(store: &mut Store, done: CheckpointDone) {
        if let Err(error) = store.finish_checkpoint(done) {
            warn("checkpoint", &error);
        }
    }

    /// Leaves all durable, and a checkpoint so that the next start has little to replay.
    pub(super) fn close(now: Now, store: &mut Store) {
        let closed = store
            .sync()
            .and_then(|()| store.mark_durable_if_idle(now.wall_ms));
        if let Err(error) = closed.and_then(|()| store.checkpoint(now.wall_ms)) {
            warn("last checkpoint", &error);
        }
    }
}

fn warn(what: &str, error: &Error) {
    tracing::warn!(%error, "{what} failed");
}
