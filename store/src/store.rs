//! The store as its one owner, the log thread, sees it.

use std::sync::Arc;

mod append;
mod decide;
mod halfs;
mod meta;

pub use append::{HalfPlaced, NewHalf, Placed, ScheduleSource};
pub use decide::{Op, OpKind, OpPlaced};
pub(crate) use decide::{half_body, half_image};
pub use halfs::HalfLookup;

use crate::checkpoint::Checkpointing;
use crate::commit_log::{CommitLog, Head, Span};
use crate::consume_queue::QueueEntry;
use crate::disk::{Disk, DiskLock};
use crate::half_queue::LOG_DAMAGED_REASON;
use crate::reader::Reader;
use crate::record::Kind;
use crate::space::Space;
use crate::spare::Preallocator;
use crate::state::{Shared, State};
use crate::{
    Arrival, Durability, Error, HalfSeq, PhysicalOffset, QueueOffset, RecoveryReport, Settings,
    Source, SyncDone, SyncJob,
};

/// Names longer than this do not fit their fields.
const NAME_BYTES_MAX: usize = 32_767;

/// How far the store clock may be behind the wall clock.
const CLOCK_LAG_MS_MAX: i64 = 60_000;

/// The one writer. Owned by value by the log thread.
#[derive(Debug)]
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Settings,
    pub(crate) log: CommitLog,
    pub(crate) state: State,
    pub(crate) space: Space,
    pub(crate) checkpointing: Checkpointing,
    _lock: Box<dyn DiskLock>,
}

impl Store {
    /// Opens the store in a folder, recovering it if need be. Everything that is kept is durable afterwards.
    ///
    /// # Errors
    /// The folder is locked, of a newer format, or the disk fails. Damage is no error: the report tells.
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        now_ms: i64,
    ) -> Result<(Store, RecoveryReport), Error> {
        settings.check()?;
        let lock = disk
            .lock()
            .map_err(Error::disk("lock", "lock"))?
            .ok_or(Error::Locked)?;
        let recovered = crate::recovery::recover(&disk, &settings, now_ms)?;
        let space = Space::open(&disk, &settings)?;
        let mut store = Store {
            disk,
            settings,
            log: recovered.log,
            state: recovered.state,
            space,
            checkpointing: recovered.checkpointing,
            _lock: lock,
        };
        store.park_unexplained(now_ms, &recovered.unexplained)?;
        store.write()?;
        store.sync()?;
        store.publish();
        Ok((store, recovered.report))
    }

    /// A half whose fate damage may hide is never checked by itself: it waits for a person.
    fn park_unexplained(&mut self, now_ms: i64, halfs: &[HalfSeq]) -> Result<(), Error> {
        for seq in halfs {
            let op = Op {
                kind: OpKind::Park,
                source: Source::Policy,
                client_id: "",
                address: "",
                reason: LOG_DAMAGED_REASON,
            };
            self.append_op(now_ms, *seq, &op, Durability::Synced)?;
        }
        Ok(())
    }

    /// A view for request tasks.
    pub fn reader(&self) -> Reader {
        Reader::new(self.state.shared.clone())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.state.shared
    }

    fn note(&mut self, span: &Span) {
        self.state
            .note_record(self.log.segment_start(), span.store_timestamp);
    }

    /// The next offset of a schedule queue that is to be delivered.
    pub fn schedule_progress(&self, level_queue: u32) -> QueueOffset {
        QueueOffset(self.state.schedule.get(&level_queue).copied().unwrap_or(0))
    }

    /// Writes everything staged, with one positioned write.
    ///
    /// # Errors
    /// The disk failed: the store is poisoned until it is opened again. Reads go on.
    pub fn write(&mut self) -> Result<(), Error> {
        self.log.write()
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn sync(&mut self) -> Result<(), Error> {
        self.log.sync()
    }

    /// Begins to make everything written durable, for a sync that runs beside the writer. `None` if it is durable, or while
    /// another sync is on its way. Until its outcome is given back to [`Store::finish_sync`], nothing may be called that syncs.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, Error> {
        self.log.begin_sync()
    }

    /// The sync is over: what was written when it began is durable.
    ///
    /// # Errors
    /// It failed: the store is poisoned until it is opened again.
    pub fn finish_sync(&mut self, done: SyncDone) -> Result<(), Error> {
        self.log.finish_sync(done)
    }

    /// A sync is on its way.
    pub fn is_syncing(&self) -> bool {
        self.log.is_syncing()
    }

    /// So much is unsynced that nothing more should be written before the sync that is on its way is over: it bounds what
    /// recovery may have to search.
    pub fn is_far_ahead(&self) -> bool {
        self.log.is_far_ahead()
    }

    /// Shows, queue by queue and in order, every message whose need is met. To be called after each write and each sync.
    pub fn publish(&mut self) -> Vec<Arrival> {
        self.state.publish_index();
        self.state
            .queues
            .publish(self.log.written(), self.log.durable())
    }

    /// Writes down how far the log is durable, if no record says so yet: for idle moments and shutdown. Rot in the newest batch
    /// is then told from a torn tail.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn mark_durable_if_idle(&mut self, now_ms: i64) -> Result<(), Error> {
        self.log.mark(now_ms)
    }

    /// The store clock: no later record gets an earlier store time, whatever the wall clock does. Once everything staged is
    /// durable, that holds across a restart too. At most a minute behind: if the newest record is older, a mark is staged.
    ///
    /// # Errors
    /// The store is poisoned, or the disk failed while changing segments.
    pub fn clock(&mut self, now_ms: i64) -> Result<i64, Error> {
        if self.log.last_timestamp().saturating_add(CLOCK_LAG_MS_MAX) < now_ms {
            let span = self
                .log
                .append(Head::of(Kind::Mark), now_ms, 0, |_, _| {})?;
            self.note(&span);
        }
        Ok(self.log.last_timestamp())
    }

    /// The end of what is staged.
    pub fn end(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.end())
    }

    /// The end of what is written.
    pub fn written(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.written())
    }

    /// The end of what is durable.
    pub fn durable(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.durable())
    }

    /// Prepares the next segment ahead of need, from a maintenance thread.
    pub fn preallocator(&self) -> Preallocator {
        let segment_bytes = self.settings.segment_bytes;
        Preallocator {
            disk: self.disk.clone(),
            spare: self.log.spare(),
            segment_bytes,
            free_bytes_min: self.settings.free_bytes_refuse,
        }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::FieldTooLong {
            what,
            bytes: name.len(),
            bytes_max: NAME_BYTES_MAX,
        });
    }
    Ok(())
}

const _: () = assert!(
    size_of::<QueueEntry>() == 32,
    "a queue entry costs 32 bytes while it is not in a file"
);
