//! What the log thread does for the store between batches. What takes long, writing a checkpoint, is handed
//! to the maintenance thread.

use std::sync::mpsc::Sender;

use escrow_coordinator::Now;
use escrow_store::{CheckpointDone, CheckpointJob, Error, Store, Upkept};

/// The store's chores, with somebody to write checkpoints and somebody to tell.
pub(super) struct Upkeep {
    jobs: Sender<CheckpointJob>,
    chores: escrow_store::Upkeep,
}

impl Upkeep {
    pub(super) fn new(now: Now, store: &Store, jobs: Sender<CheckpointJob>) -> Upkeep {
        Upkeep {
            jobs,
            chores: escrow_store::Upkeep::new(now.mono_ms, store),
        }
    }

    /// When a chore is due if nothing else happens, in milliseconds of the monotonic clock.
    pub(super) fn next_due(&self, store: &Store) -> u64 {
        self.chores.next_due(store)
    }

    /// Whether what is written should be synced although nobody waits for it.
    pub(super) fn sync_due(&self, now: Now, store: &Store) -> bool {
        self.chores.sync_due(now.mono_ms, store)
    }

    pub(super) fn synced(&mut self, now: Now) {
        self.chores.synced(now.mono_ms);
    }

    /// Whether it is time for a step.
    pub(super) fn is_due(&self, now: Now, store: &Store) -> bool {
        self.chores.is_due(now.mono_ms, store)
    }

    /// One step of every chore, if it is time.
    pub(super) fn step(&mut self, now: Now, store: &mut Store) {
        let Upkept {
            checkpoint,
            retention,
            fuller,
            failures,
        } = self.chores.step(now.mono_ms, now.wall_ms, store);
        if let Some(space) = fuller {
            tracing::error!(?space, "the disk is filling up");
        }
        if let Some(segment) = retention.removed {
            tracing::info!(%segment, relocated = retention.relocated, "log segment removed");
        }
        for (what, error) in failures {
            warn(what, &error);
        }
        if let Some(job) = checkpoint {
            // The maintenance thread ends only after this one.
            let _ = self.jobs.send(job);
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
        if let Err(error) = store.close(now.wall_ms) {
            warn("last checkpoint", &error);
        }
    }
}

fn warn(what: &str, error: &Error) {
    tracing::warn!(%error, "{what} failed");
}
