//! What is done for the store between rounds, and when.
//!
//! Everything here is a short step. What takes long, writing a checkpoint, is handed to the caller.

use crate::{CheckpointJob, Error, PhysicalOffset, RetentionReport, SpaceState, Store};

/// How long an acknowledged message of an asynchronous store may stay unsynced.
const SYNC_EVERY_MS: u64 = 250;

/// A sync is due after so many bytes at the latest: a sync of more holds up whoever waits for the one behind it.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// How often the chores get a step.
const STEP_EVERY_MS: u64 = 1_000;

/// Until the next step when retention has more to carry forward.
const STEP_SOON_MS: u64 = 20;

/// The chores of one store. Times are milliseconds of a clock that never steps, but for those called wall.
#[derive(Debug)]
pub struct Upkeep {
    synced_ms: u64,
    step_due_ms: u64,
    /// The log's end at the last step: unchanged, the store is idle.
    end: PhysicalOffset,
    space: SpaceState,
    /// The log's end when the disk was last looked at.
    looked_at: PhysicalOffset,
}

/// What one step of the chores did.
#[derive(Debug, Default)]
pub struct Upkept {
    /// A checkpoint to be written now, on any thread; its outcome goes to [`Store::finish_checkpoint`].
    pub checkpoint: Option<CheckpointJob>,
    /// What retention did.
    pub retention: RetentionReport,
    /// The disk has become fuller than it was: how the store stands now.
    pub fuller: Option<SpaceState>,
    /// What failed, and how. It costs no acknowledgement: a store that is broken says so at the next write.
    pub failures: Vec<(&'static str, Error)>,
}

impl Upkeep {
    /// Begins now.
    pub fn new(mono_ms: u64, store: &Store) -> Upkeep {
        Upkeep {
            synced_ms: mono_ms,
            step_due_ms: mono_ms + STEP_EVERY_MS,
            end: store.end(),
            space: store.space_state(),
            looked_at: store.end(),
        }
    }

    /// When a chore is due if nothing else happens.
    pub fn next_due(&self, store: &Store) -> u64 {
        if store.written() > store.durable() && !store.is_syncing() {
            self.step_due_ms.min(self.synced_ms + SYNC_EVERY_MS)
        } else {
            self.step_due_ms
        }
    }

    /// Whether what is written should be synced although nobody waits for it.
    pub fn sync_due(&self, mono_ms: u64, store: &Store) -> bool {
        let unsynced = store.written().0.saturating_sub(store.durable().0);
        let is_due = unsynced >= SYNC_EVERY_BYTES || mono_ms >= self.synced_ms + SYNC_EVERY_MS;
        unsynced > 0 && is_due && !store.is_syncing()
    }

    /// Whether [`Upkeep::step`] has something to do. No sync may be on its way then.
    pub fn is_due(&self, mono_ms: u64, store: &Store) -> bool {
        mono_ms >= self.step_due_ms || self.look_due(store)
    }

    /// A log that grows fast could fill the disk between two steps: the write that fails would stop the store.
    fn look_due(&self, store: &Store) -> bool {
        let grown = store.end().0.saturating_sub(self.looked_at.0);
        store.look_every_bytes().is_some_and(|most| grown >= most)
    }

    /// A sync was made, or tried.
    pub fn synced(&mut self, mono_ms: u64) {
        self.synced_ms = mono_ms;
    }

    /// One step of every chore, if it is time; a look at the disk alone, if the log has grown much.
    pub fn step(&mut self, mono_ms: u64, wall_ms: i64, store: &mut Store) -> Upkept {
        let mut upkept = Upkept::default();
        if !self.is_due(mono_ms, store) {
            return upkept;
        }
        self.look_at_space(store, &mut upkept);
        if mono_ms < self.step_due_ms {
            return upkept;
        }
        self.step_due_ms = mono_ms + STEP_EVERY_MS;
        if store.checkpoint_due(wall_ms) {
            match store.begin_checkpoint(wall_ms) {
                Ok(job) => upkept.checkpoint = job,
                Err(error) => upkept.failures.push(("checkpoint", error)),
            }
        }
        match store.retention_step(wall_ms) {
            Ok(report) => {
                if report.is_unfinished {
                    self.step_due_ms = mono_ms + STEP_SOON_MS;
                }
                upkept.retention = report;
            }
            Err(error) => upkept.failures.push(("retention", error)),
        }
        if store.end() == self.end
            && let Err(error) = store.mark_durable_if_idle(wall_ms)
        {
            upkept.failures.push(("durable mark", error));
        }
        self.end = store.end();
        upkept
    }

    fn look_at_space(&mut self, store: &mut Store, upkept: &mut Upkept) {
        self.looked_at = store.end();
        match store.free_space() {
            Ok(space) => {
                upkept.fuller = (space > self.space).then_some(space);
                self.space = space;
            }
            Err(error) => upkept.failures.push(("free space", error)),
        }
    }
}

impl Store {
    /// Leaves all durable, and a checkpoint so that the next start has little to replay.
    ///
    /// # Errors
    /// The disk failed, or did before.
    pub fn close(&mut self, wall_ms: i64) -> Result<(), Error> {
        self.sync()?;
        self.mark_durable_if_idle(wall_ms)?;
        self.checkpoint(wall_ms)
    }
}
