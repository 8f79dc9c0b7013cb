//! What request tasks read: only what is visible, and never an undecided or rolled-back half.

mod handle;

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use escrow_protocol::message::{self, HeadPatch, Message, append_property, patch_head};
use escrow_protocol::properties::{Properties, name};

use crate::consume_queue::{Boundary, QueueEntry};
use crate::half_queue::Row;
use crate::hash::{index_hash, key_hash};
use crate::ids::narrow;
use crate::log_view::Stored;
use crate::record::{CommitBody, Kind, OpBody};
use crate::state::Shared;
use crate::store::half_image;
use crate::{Error, HalfSeq, HalfState, OpRecord, PhysicalOffset, QueueOffset};

/// Transaction bits of the system flag, and their value in a committed message.
const TRANSACTION_BITS: i32 = 0xC;
const TRANSACTION_COMMIT: i32 = 0x8;

/// More than a record's head and a half's prefix: what one read of a message asks for beyond its size.
const READ_SLACK: usize = 512;

/// About the bytes by which a committed half grows on delivery.
const TRANSACTION_ID_ROOM: usize = 64;

/// What lies at a physical offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A message, as delivered.
    Message(Bytes),
    /// A half message that is not decided yet, or whose commit is not visible yet.
    Undecided(HalfSeq),
    /// A half message that was rolled back.
    RolledBack(HalfSeq),
    /// A parked half message: for operators, never for consumers.
    Parked(HalfSeq, Bytes),
    /// A record, but no message.
    NotAMessage,
    /// Nothing begins there, or it is not kept or not visible.
    NotFound,
}

/// Shared and cheap to clone; reads beside the writer.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// The first offset kept and the visible end of a queue; both 0 if it does not exist.
    pub fn queue_range(&self, topic: &str, queue_id: i32) -> (QueueOffset, QueueOffset) {
        self.shared
            .queues
            .get(topic, queue_id)
            .map_or_else(Default::default, |queue| queue.range())
    }

    /// Up to `max` visible entries from `from` on; empty if `from` is outside the queue's range.
    ///
    /// # Errors
    /// The disk failed, or the queue's page is damaged.
    pub fn entries(
        &self,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        max: usize,
    ) -> Result<Vec<QueueEntry>, Error> {
        match self.shared.queues.get(topic, queue_id) {
            Some(queue) => queue.entries(&self.shared.queue_files, from.0, max),
            None => Ok(Vec::new()),
        }
    }

    /// True if the entry at this offset and its message are in memory, so that reading it waits for no disk. What follows them
    /// may still have to be read: half messages that were committed late lie further back.
    pub fn is_recent(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> bool {
        let queue = self.shared.queues.get(topic, queue_id);
        match queue.and_then(|queue| queue.in_memory(offset.0)) {
            Some(entry) => self.shared.log.is_in_memory(entry.physical.0),
            None => false,
        }
    }

    /// The wire image of the message behind an entry of that queue at `offset`.
    ///
    /// # Errors
    /// `Damaged` if its bytes are; `NotFound` if they have left the log; else the disk failed.
    pub fn delivered(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        entry: &QueueEntry,
    ) -> Result<Bytes, Error> {
        if entry.damaged {
            return Err(self.damaged_entry(topic, queue_id, offset, entry));
        }
        let stored = self
            .shared
            .log
            .read(entry.physical.0, narrow(u64::from(entry.size)) + READ_SLACK)?;
        match stored.header.kind {
            Kind::Normal | Kind::Delivery => Ok(stored.body),
            Kind::Half | Kind::Relocate => {
                let patch = Delivery {
                    queue_id,
                    queue_offset: offset.0,
                    commit_timestamp: entry.store_timestamp,
                };
                self.committed_image(&stored, &patch)
            }
            _ => Err(self.shared.log.damaged(entry.physical.0, "not a message")),
        }
    }

    fn damaged_entry(
        &self,
        topic: &str,
        queue_id: i32,
        offset: QueueOffset,
        entry: &QueueEntry,
    ) -> Error {
        match self
            .shared
            .log
            .damaged(entry.physical.0, "message lost to damage")
        {
            Error::NotFound { .. } => Error::Damaged {
                file: format!("queue {queue_id} of {topic}"),
                at: offset.0,
                offset: entry.physical,
                what: "message lost to damage",
            },
            error => error,
        }
    }

    /// The delivered form of a committed half: its bytes with the head patched, and with the property that Apache adds on
    /// delivery, which repeats `UNIQ_KEY`.
    fn committed_image(&self, stored: &Stored, delivery: &Delivery) -> Result<Bytes, Error> {
        let at = stored.header.offset;
        let damaged = || self.shared.log.damaged(at, "half message");
        let image = half_image(stored).ok_or_else(damaged)?;
        let message = message::decode(image).map_err(|_| damaged())?;
        let handle = match stored.header.kind {
            Kind::Relocate => {
                crate::record::RelocateBody::decode(&stored.body).map_or(at, |body| body.handle)
            }
            _ => at,
        };
        let patch = HeadPatch {
            queue_id: delivery.queue_id,
            queue_offset: delivery.queue_offset.cast_signed(),
            physical_offset: at.cast_signed(),
            sys_flag: message.sys_flag & !TRANSACTION_BITS | TRANSACTION_COMMIT,
            store_timestamp: delivery.commit_timestamp,
            prepared_transaction_offset: handle.cast_signed(),
        };
        let mut bytes = Vec::with_capacity(image.len() + TRANSACTION_ID_ROOM);
        bytes.extend_from_slice(image);
        patch_head(&mut bytes, &patch).map_err(|_| damaged())?;
        if let Some(id) = message.properties().get(name::UNIQ_KEY) {
            // Left out where it finds no room: UNIQ_KEY says the same.
            let _ = append_property(&mut bytes, name::TRANSACTION_ID, id);
        }
        Ok(bytes.into())
    }

    /// What a client or operator may know of the record at a physical offset, original handles of carried halfs included.
    ///
    /// # Errors
    /// `Damaged` if a record is there and cannot be read; else the disk failed.
    pub fn by_offset(&self, physical: PhysicalOffset) -> Result<Lookup, Error> {
        let stored = match self.shared.log.look(physical.0, 0) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Lookup::NotFound),
            Err(Error::NotFound { .. }) => return self.by_carried_handle(physical),
            Err(error) => return Err(error),
        };
        match stored.header.kind {
            Kind::Normal | Kind::Delivery => self.plain(stored),
            Kind::Half | Kind::Relocate => self.half_lookup(HalfSeq(stored.header.link)),
            _ => Ok(Lookup::NotAMessage),
        }
    }

    fn by_carried_handle(&self, physical: PhysicalOffset) -> Result<Lookup, Error> {
        if physical.0 >= self.shared.log.start() {
            return Ok(Lookup::NotFound);
        }
        match self.shared.find_handle(physical)? {
            Some(seq) => self.half_lookup(seq),
            None => Ok(Lookup::NotFound),
        }
    }

    fn plain(&self, stored: Stored) -> Result<Lookup, Error> {
        let at = stored.header.offset;
        let message =
            message::decode(&stored.body).map_err(|_| self.shared.log.damaged(at, "message"))?;
        let is_shown = self.is_shown(&stored, &message);
        Ok(if is_shown {
            Lookup::Message(stored.body)
        } else {
            Lookup::NotFound
        })
    }

    /// What is durable is shown; what is only written is shown if its queue says so.
    fn is_shown(&self, stored: &Stored, message: &Message<'_>) -> bool {
        stored.header.end() <= self.shared.log.durable()
            || self.queue_range(message.topic, message.queue_id).1.0 > stored.header.position
    }

    fn half_lookup(&self, seq: HalfSeq) -> Result<Lookup, Error> {
        let Some(row) = self.shared.half_row(seq)? else {
            return Ok(Lookup::NotFound);
        };
        match row.entry.state {
            HalfState::Pending => Ok(Lookup::Undecided(seq)),
            HalfState::RolledBack => Ok(Lookup::RolledBack(seq)),
            HalfState::Parked => Ok(Lookup::Parked(seq, self.image_of(&row)?)),
            HalfState::Committed => self.committed_lookup(seq, &row),
        }
    }

    fn committed_lookup(&self, seq: HalfSeq, row: &Row) -> Result<Lookup, Error> {
        if row.place < self.shared.log.start() {
            return Ok(Lookup::NotFound);
        }
        match self.commit_op(row)? {
            Some(op) => self.commit_lookup(&op, seq),
            None => Ok(Lookup::Undecided(seq)),
        }
    }

    fn commit_lookup(&self, op: &Stored, seq: HalfSeq) -> Result<Lookup, Error> {
        let damaged = || self.shared.log.damaged(op.header.offset, "commit");
        let (_, commit) = CommitBody::decode(&op.body).ok_or_else(damaged)?;
        let position = op.header.position;
        let is_shown = op.header.end() <= self.shared.log.durable()
            || self.queue_range(commit.topic, commit.queue_id).1.0 > position;
        if !is_shown {
            return Ok(Lookup::Undecided(seq));
        }
        let delivery = Delivery {
            queue_id: commit.queue_id,
            queue_offset: position,
            commit_timestamp: op.header.store_timestamp,
        };
        let stored = self
            .shared
            .log
            .read(commit.place, narrow(u64::from(commit.size)) + READ_SLACK)?;
        self.committed_image(&stored, &delivery)
            .map(Lookup::Message)
    }

    /// The COMMIT of a committed half; `None` while it is staged only.
    fn commit_op(&self, row: &Row) -> Result<Option<Stored>, Error> {
        let newest = row.entry.last_op.0;
        if newest >= self.shared.log.written() {
            return Ok(None);
        }
        let stored = self.shared.log.read(newest, 0)?;
        if stored.header.kind == Kind::Commit {
            return Ok(Some(stored));
        }
        let decision = OpBody::decode(&stored.body).map_or(0, |(body, _)| body.decision);
        let stored = self.shared.log.read(decision, 0)?;
        Ok((stored.header.kind == Kind::Commit).then_some(stored))
    }

    /// Messages of a topic that carry `key` in `KEYS` or as `UNIQ_KEY` and were stored or committed between the two times
    /// (inclusive, ms): their wire images, newest first.
    ///
    /// # Errors
    /// The disk failed, or a page of the index is damaged. Damaged messages are left out.
    pub fn by_key(
        &self,
        topic: &str,
        key: &str,
        begin_ms: i64,
        end_ms: i64,
        max: usize,
    ) -> Result<Vec<Bytes>, Error> {
        let hash = index_hash(topic, key_hash(key));
        let log_start = self.shared.log.start();
        let (recent, runs) = self.shared.index.read().recent(hash);
        let mut found = Vec::new();
        let mut take = |candidates: Vec<u64>| -> Result<bool, Error> {
            for at in candidates.into_iter().filter(|at| *at >= log_start) {
                if found.len() >= max {
                    return Ok(true);
                }
                if let Some(image) = self.candidate(at)?
                    && is_match(&image, topic, key, begin_ms, end_ms)
                {
                    found.push(image);
                }
            }
            Ok(found.len() >= max)
        };
        let mut is_full = take(recent)?;
        for run in runs {
            if is_full {
                break;
            }
            is_full = take(
                self.shared
                    .noting_damage(self.shared.run_files.find(&run, hash))?,
            )?;
        }
        Ok(found)
    }

    fn candidate(&self, at: u64) -> Result<Option<Bytes>, Error> {
        let lookup = self.shared.log.look(at, 0).and_then(|stored| match stored {
            Some(stored) if stored.header.kind == Kind::Commit => {
                let seq = HalfSeq(stored.header.link);
                self.commit_lookup(&stored, seq)
            }
            Some(stored) if matches!(stored.header.kind, Kind::Normal | Kind::Delivery) => {
                self.plain(stored)
            }
            _ => Ok(Lookup::NotFound),
        });
        match lookup {
            Ok(Lookup::Message(image)) => Ok(Some(image)),
            Ok(_) | Err(Error::Damaged { .. } | Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Parked halfs with this `UNIQ_KEY`: what a query under the topic of given-up checks finds.
    ///
    /// # Errors
    /// The disk failed.
    pub fn parked_by_key(&self, key: &str, max: usize) -> Result<Vec<(HalfSeq, Bytes)>, Error> {
        let hash = key_hash(key);
        let mut rows: Vec<(HalfSeq, Row)> = Vec::new();
        self.shared.each_undecided(|seq, row| {
            if row.entry.state == HalfState::Parked && row.entry.unique_hash == hash {
                rows.push((seq, row));
            }
            if rows.len() < max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        let mut found = Vec::new();
        for (seq, row) in rows {
            match self.image_of(&row) {
                Ok(image) => found.push((seq, image)),
                Err(Error::Damaged { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The offset of a queue for a time.
    ///
    /// # Errors
    /// The disk failed, or the queue's page is damaged.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        time_ms: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, Error> {
        match self.shared.queues.get(topic, queue_id) {
            Some(queue) => queue.by_time(&self.shared.queue_files, time_ms, boundary),
            None => Ok(QueueOffset(0)),
        }
    }

    /// A half message as its producer is asked about it, whatever became of it: real topic and queue id, queue offset = half
    /// sequence, physical offset = original handle. For checks and operators, never for consumers.
    ///
    /// # Errors
    /// It is not kept, not written yet, or damaged.
    pub fn half_image(&self, seq: HalfSeq) -> Result<Bytes, Error> {
        let row = self.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        self.image_of(&row)
    }

    /// Does something about a half while it cannot be decided, if it is not: the writer waits meanwhile, so it must be quick.
    pub fn while_undecided<T>(&self, seq: HalfSeq, act: impl FnOnce() -> T) -> Option<T> {
        let halfs = self.shared.halfs.read();
        let is_undecided = halfs
            .get(seq)
            .is_some_and(|entry| entry.state.is_undecided());
        is_undecided.then(act)
    }

    fn image_of(&self, row: &Row) -> Result<Bytes, Error> {
        let stored = self
            .shared
            .log
            .read(row.place, narrow(u64::from(row.entry.size)) + READ_SLACK)?;
        let image = half_image(&stored)
            .ok_or_else(|| self.shared.log.damaged(row.place, "not a half message"))?;
        Ok(stored.body.slice_ref(image))
    }

    /// All that happened to a half message and is still kept, oldest first.
    ///
    /// # Errors
    /// The half is not known, or the disk failed.
    pub fn op_history(&self, seq: HalfSeq) -> Result<Vec<OpRecord>, Error> {
        let row = self.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        crate::history::walk(row.entry.last_op.0, row.place, |offset| {
            self.shared.log.read(offset, 0)
        })
    }

    /// The oldest offset kept and the end of what is written.
    pub fn log_range(&self) -> (PhysicalOffset, PhysicalOffset) {
        (
            PhysicalOffset(self.shared.log.start()),
            PhysicalOffset(self.shared.log.written()),
        )
    }

    /// The end of what is durable.
    pub fn durable(&self) -> PhysicalOffset {
        PhysicalOffset(self.shared.log.durable())
    }
}

struct Delivery {
    queue_id: i32,
    queue_offset: u64,
    commit_timestamp: i64,
}

fn is_match(image: &[u8], topic: &str, key: &str, begin_ms: i64, end_ms: i64) -> bool {
    let Ok(message) = message::decode(image) else {
        return false;
    };
    let properties = Properties(message.properties);
    let in_time = (begin_ms..=end_ms).contains(&message.store_timestamp);
    let has_key =
        properties.get(name::UNIQ_KEY) == Some(key) || properties.keys().any(|word| word == key);
    message.topic == topic && in_time && has_key
}
