//! The store as its one owner, the log thread, sees it.

use std::sync::Arc;

use bytes::Bytes;
use escrow_protocol::message::{self, Message};
use escrow_protocol::transaction::Resolution;

use crate::checkpoint::Checkpointing;
use crate::commit_log::{CommitLog, Head, Span};
use crate::consume_queue::QueueEntry;
use crate::disk::{Disk, DiskLock};
use crate::half_queue::{HAS_WORDS, HalfEntry};
use crate::queues::Need;
use crate::reader::Reader;
use crate::record::half::RELOCATE_PREFIX;
use crate::record::meta::META_DELETE;
use crate::record::op::op_flags;
use crate::record::{CommitBody, HalfBody, Kind, MetaBody, OpBody, RelocateBody};
use crate::space::Space;
use crate::spare::Preallocator;
use crate::state::{MetaValue, OWN_META, Shared, State, message_entry};
use crate::{
    Arrival, Durability, Error, HalfSeq, NameId, OpRecord, PhysicalOffset, QueueOffset,
    RecoveryReport, Settings, Source,
};

/// Names longer than this do not fit their fields.
const NAME_BYTES_MAX: usize = 32_767;

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its record, which is also the physical offset in its message id.
    pub physical: PhysicalOffset,
    /// Its place in its queue.
    pub queue_offset: QueueOffset,
    /// The end of the record: durable once [`Store::durable`] has reached it.
    pub end: PhysicalOffset,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// A half message that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewHalf<'a> {
    /// The message with its real topic and queue, as it will be delivered. Queue offset, physical offset and store timestamp
    /// are filled in here.
    pub message: Message<'a>,
    /// The producer group.
    pub group: &'a str,
    /// The client id that sent it, may be empty.
    pub client_id: &'a str,
    /// The time before the first check that the message asked for.
    pub immunity_ms: Option<u32>,
}

/// Where a half message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfPlaced {
    /// Its place in the half queue.
    pub seq: HalfSeq,
    /// Its handle.
    pub physical: PhysicalOffset,
    /// The end of the record.
    pub end: PhysicalOffset,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// What is to happen to a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Deliver it, into this queue of its topic.
    Commit {
        /// The queue.
        queue_id: i32,
    },
    /// Never deliver it.
    Rollback,
    /// Stop asking.
    Park,
    /// Ask again.
    Resume,
    /// A producer was asked and said this.
    Answer {
        /// What it said.
        resolution: Resolution,
    },
    /// Somebody tried the opposite of what was decided.
    Conflict {
        /// What was tried.
        attempted: Resolution,
    },
}

impl OpKind {
    fn record_kind(self) -> Kind {
        match self {
            OpKind::Commit { .. } => Kind::Commit,
            OpKind::Rollback => Kind::Rollback,
            OpKind::Park => Kind::Park,
            OpKind::Resume => Kind::Resume,
            OpKind::Answer { .. } => Kind::Answer,
            OpKind::Conflict { .. } => Kind::Conflict,
        }
    }

    fn resolution(self) -> Resolution {
        match self {
            OpKind::Commit { .. } => Resolution::Commit,
            OpKind::Rollback => Resolution::Rollback,
            OpKind::Park | OpKind::Resume => Resolution::Unknown,
            OpKind::Answer { resolution } => resolution,
            OpKind::Conflict { attempted } => attempted,
        }
    }
}

/// An op with who made it and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What happens.
    pub kind: OpKind,
    /// Who did it.
    pub source: Source,
    /// The client id, may be empty.
    pub client_id: &'a str,
    /// The peer's `ip:port`, may be empty.
    pub address: &'a str,
    /// Why; cut to 256 bytes.
    pub reason: &'a str,
}

/// Where an op went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpPlaced {
    /// Its record.
    pub physical: PhysicalOffset,
    /// The end of the record.
    pub end: PhysicalOffset,
    /// When it was stored, ms; of a commit: the delivered message's store timestamp.
    pub store_timestamp: i64,
    /// Of a commit: the message's place in its queue.
    pub queue_offset: Option<QueueOffset>,
}

/// The half message that a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfLookup {
    /// This one.
    Half(HalfSeq, HalfEntry),
    /// No half message was ever written there, or it is no longer kept.
    None,
}

/// Which delayed message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleSource {
    /// The queue of the schedule topic, one per delay level.
    pub level_queue: u32,
    /// The message's offset in it.
    pub queue_offset: u64,
}

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
                reason: "log damaged",
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

    /// Stages a plain message. `need` says when consumers may see it.
    ///
    /// # Errors
    /// Too large, no space, poisoned, or the disk failed while changing segments.
    pub fn append_message(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        need: Durability,
    ) -> Result<Placed, Error> {
        self.append_to_queue(now_ms, message, Head::of(Kind::Normal), need)
    }

    /// Stages a due delayed message under its real topic. The record says where it came from, so that after a crash it is
    /// delivered exactly once more or not at all.
    ///
    /// # Errors
    /// As [`Store::append_message`].
    pub fn append_delivery(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        from: ScheduleSource,
        need: Durability,
    ) -> Result<Placed, Error> {
        let flags = u16::try_from(from.level_queue).map_err(|_| Error::FieldTooLong {
            what: "level queue",
            bytes: 4,
            bytes_max: 2,
        })?;
        let head = Head {
            flags,
            link: from.queue_offset,
            ..Head::of(Kind::Delivery)
        };
        let placed = self.append_to_queue(now_ms, message, head, need)?;
        self.state
            .apply_progress(from.level_queue, from.queue_offset);
        Ok(placed)
    }

    fn append_to_queue(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        head: Head,
        need: Durability,
    ) -> Result<Placed, Error> {
        self.log.check_usable()?;
        self.space.check_new()?;
        check_message(message)?;
        let slot = self.state.queues.slot(message.topic, message.queue_id);
        let head = Head {
            subject: slot.hash,
            position: slot.next,
            ..head
        };
        let size = message::encoded_len(message);
        let span = self.log.append(head, now_ms, size, |span, out| {
            encode(message, slot.next, span, out);
        })?;
        self.note(&span);
        self.state.searchable.read(message.properties);
        let entry = message_entry(
            span.offset,
            size,
            &self.state.searchable,
            span.store_timestamp,
        );
        self.state
            .apply_message(slot, message.topic, entry, Need::Until(need, span.end));
        Ok(Placed {
            physical: PhysicalOffset(span.offset),
            queue_offset: QueueOffset(slot.next),
            end: PhysicalOffset(span.end),
            store_timestamp: span.store_timestamp,
        })
    }

    fn note(&mut self, span: &Span) {
        self.state
            .note_record(self.log.segment_start(), span.store_timestamp);
    }

    /// The next offset of a schedule queue that is to be delivered.
    pub fn schedule_progress(&self, level_queue: u32) -> QueueOffset {
        QueueOffset(self.state.schedule.get(&level_queue).copied().unwrap_or(0))
    }

    /// Stages a half message. No consumer can read it before a commit.
    ///
    /// # Errors
    /// As [`Store::append_message`].
    pub fn append_half(
        &mut self,
        now_ms: i64,
        half: &NewHalf<'_>,
        _need: Durability,
    ) -> Result<HalfPlaced, Error> {
        self.log.check_usable()?;
        self.space.check_new()?;
        check_message(&half.message)?;
        check_name("producer group", half.group)?;
        check_name("client id", half.client_id)?;
        let seq = self.state.shared.halfs.read().next();
        let head = Head {
            link: seq.0,
            ..Head::of(Kind::Half)
        };
        let prefix = HalfBody::prefix_len(half.group, half.client_id);
        let size = message::encoded_len(&half.message);
        let span = self.log.append(head, now_ms, prefix + size, |span, out| {
            HalfBody::put_prefix(out, half.immunity_ms, half.group, half.client_id);
            encode(&half.message, seq.0, span, out);
        })?;
        self.note(&span);
        let entry = self
            .state
            .new_half_entry(half, size, span.offset, span.store_timestamp);
        self.state.apply_half(seq, entry);
        Ok(HalfPlaced {
            seq,
            physical: PhysicalOffset(span.offset),
            end: PhysicalOffset(span.end),
            store_timestamp: span.store_timestamp,
        })
    }

    /// Stages what happens to a half message and applies it. A commit assigns the queue offset.
    ///
    /// # Errors
    /// `NotFound` if there is no such half, `AlreadyDecided` for anything but a conflict on a decided one; else as
    /// [`Store::append_message`], but space is refused only when the reserve is gone.
    pub fn append_op(
        &mut self,
        now_ms: i64,
        seq: HalfSeq,
        op: &Op<'_>,
        need: Durability,
    ) -> Result<OpPlaced, Error> {
        self.log.check_usable()?;
        self.space.check_op()?;
        check_name("client id", op.client_id)?;
        check_name("address", op.address)?;
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let entry = row.entry;
        let is_conflict = matches!(op.kind, OpKind::Conflict { .. });
        if !entry.state.is_undecided() && !is_conflict {
            return Err(Error::AlreadyDecided);
        }
        let decision = if is_conflict {
            self.deciding_op(&entry)
        } else {
            0
        };
        let body = OpBody {
            handle: entry.handle.0,
            previous: entry.last_op.0,
            decision,
            client_id: op.client_id,
            address: op.address,
            reason: op.reason,
        };
        if let OpKind::Commit { queue_id } = op.kind {
            return self.append_commit(now_ms, seq, queue_id, op.source, &body, need);
        }
        let kind = op.kind.record_kind();
        let head = Head {
            flags: op_flags(op.source, op.kind.resolution()),
            link: seq.0,
            ..Head::of(kind)
        };
        let span = self
            .log
            .append(head, now_ms, body.len(), |_, out| body.put(out))?;
        self.note(&span);
        self.state.apply_op(seq, kind, op.source, span.offset);
        Ok(op_placed(&span, None))
    }

    fn append_commit(
        &mut self,
        now_ms: i64,
        seq: HalfSeq,
        queue_id: i32,
        source: Source,
        body: &OpBody<'_>,
        need: Durability,
    ) -> Result<OpPlaced, Error> {
        self.relocate_if_old(now_ms, seq)?;
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let words = self.word_hashes(&row.entry, row.place);
        let topic = self.state.names.name(row.entry.topic).to_owned();
        let slot = self.state.queues.slot(&topic, queue_id);
        let commit = CommitBody {
            place: row.place,
            size: row.entry.size,
            queue_id,
            tags: i64::from(row.entry.tags),
            half_timestamp: row.entry.store_timestamp,
            unique: row.entry.unique_hash,
            topic: &topic,
            words: &words,
        };
        let head = Head {
            kind: Kind::Commit,
            flags: op_flags(source, Resolution::Commit),
            subject: slot.hash,
            position: slot.next,
            link: seq.0,
        };
        let len = body.len() + CommitBody::len(&topic, words.len() / 8);
        let span = self.log.append(head, now_ms, len, |_, out| {
            body.put(out);
            commit.put(out);
        })?;
        self.note(&span);
        self.state.apply_op(seq, Kind::Commit, source, span.offset);
        let until = Need::Until(need, span.end);
        self.state
            .apply_commit(slot, &commit, span.offset, span.store_timestamp, until);
        Ok(op_placed(&span, Some(QueueOffset(slot.next))))
    }

    /// Hashes of the half's key words, 8 bytes each. A half that cannot be read is committed without them: its decision counts
    /// more than its keys.
    fn word_hashes(&mut self, entry: &HalfEntry, place: u64) -> Vec<u8> {
        if entry.flags & HAS_WORDS == 0 {
            return Vec::new();
        }
        let Ok(stored) = self
            .log
            .read(place, crate::ids::narrow(u64::from(entry.size)) + 512)
        else {
            return Vec::new();
        };
        let Some(image) = half_image(&stored) else {
            return Vec::new();
        };
        let Ok(message) = message::decode(image) else {
            return Vec::new();
        };
        let mut searchable = std::mem::take(&mut self.state.searchable);
        searchable.read(message.properties);
        let words = searchable
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        self.state.searchable = searchable;
        words
    }

    /// Carries the bytes of a half forward when its segment closed long ago, so that this commit does not keep it.
    fn relocate_if_old(&mut self, now_ms: i64, seq: HalfSeq) -> Result<(), Error> {
        let Some(row) = self.state.shared.half_row(seq)? else {
            return Ok(());
        };
        let Some((start, used)) = self.state.segments.range(..=row.place).next_back() else {
            return Ok(());
        };
        let limit = i64::try_from(self.settings.relocate_after.as_millis()).unwrap_or(i64::MAX);
        if *start == self.log.segment_start() || used.newest.saturating_add(limit) > now_ms {
            return Ok(());
        }
        match self.relocate(now_ms, seq) {
            // A half that cannot be read is committed where it is.
            Err(Error::Damaged { .. } | Error::NotFound { .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Copies a half's bytes to the end of the log. Its handle stays. Gives the bytes written.
    pub(crate) fn relocate(&mut self, now_ms: i64, seq: HalfSeq) -> Result<u64, Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let stored = self.log.read(
            row.place,
            crate::ids::narrow(u64::from(row.entry.size)) + 512,
        )?;
        let half_bytes = match stored.header.kind {
            Kind::Half => stored.body.clone(),
            Kind::Relocate => stored.body.slice(RELOCATE_PREFIX.min(stored.body.len())..),
            _ => return Err(self.shared().log.damaged(row.place, "not a half message")),
        };
        let damaged = || self.shared().log.damaged(row.place, "half message");
        let half = HalfBody::decode(&half_bytes).ok_or_else(damaged)?;
        let body = RelocateBody {
            handle: row.entry.handle.0,
            store_timestamp: row.entry.store_timestamp,
            last_op: row.entry.last_op.0,
            answered: row.entry.answered,
            parked: row.entry.state == crate::HalfState::Parked,
            flags: row.entry.flags,
            half,
        };
        let head = Head {
            link: seq.0,
            ..Head::of(Kind::Relocate)
        };
        let len = RELOCATE_PREFIX + half_bytes.len();
        let span = self
            .log
            .append(head, now_ms, len, |_, out| body.put(out, &half_bytes))?;
        self.note(&span);
        self.state
            .shared
            .halfs
            .write()
            .relocate(seq, span.offset, row.entry);
        Ok(span.end - span.offset)
    }

    /// The op that decided a half: its newest op, or what the newest conflict names.
    fn deciding_op(&self, entry: &HalfEntry) -> u64 {
        let Ok(stored) = self.log.read(entry.last_op.0, 0) else {
            return 0;
        };
        match stored.header.kind {
            Kind::Conflict => OpBody::decode(&stored.body).map_or(0, |(body, _)| body.decision),
            _ => stored.header.offset,
        }
    }

    /// A half message, decided or not; `None` if it was never stored, is no longer kept, or cannot be told.
    pub fn half(&self, seq: HalfSeq) -> Option<HalfEntry> {
        let row = self.state.shared.half_row(seq).ok().flatten()?;
        let is_kept = row.entry.state.is_undecided() || row.place >= self.state.shared.log.start();
        is_kept.then_some(row.entry)
    }

    /// What is known of a half while it is undecided. Only memory is looked at, so this may be asked often.
    pub fn undecided_half(&self, seq: HalfSeq) -> Option<HalfEntry> {
        let halfs = self.state.shared.halfs.read();
        halfs
            .get(seq)
            .copied()
            .filter(|entry| entry.state.is_undecided())
    }

    /// The wire image of a half, also of one that is not written yet.
    ///
    /// # Errors
    /// It is not kept, or damaged.
    pub fn half_image(&self, seq: HalfSeq) -> Result<Bytes, Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let stored = self.log.read(
            row.place,
            crate::ids::narrow(u64::from(row.entry.size)) + 512,
        )?;
        let image = half_image(&stored).ok_or(Error::NotFound {
            what: "half message",
        })?;
        Ok(Bytes::copy_from_slice(image))
    }

    /// The half message with this original handle, also when its bytes were carried elsewhere.
    ///
    /// # Errors
    /// The record or the half queue's page is damaged.
    pub fn half_at(&self, physical: PhysicalOffset) -> Result<HalfLookup, Error> {
        let stored = match self.log.look(physical.0) {
            Ok(Some(stored)) if stored.header.kind == Kind::Half => {
                Some(HalfSeq(stored.header.link))
            }
            Ok(_) => return Ok(HalfLookup::None),
            // Carried away, or unreadable: the half queue knows all handles.
            Err(Error::NotFound { .. } | Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let seq = match stored {
            Some(seq) => Some(seq),
            None => self.state.shared.find_handle(physical)?,
        };
        let found = seq.and_then(|seq| Some((seq, self.half(seq)?)));
        let found = found.filter(|(_, entry)| entry.handle == physical);
        Ok(found.map_or(HalfLookup::None, |(seq, entry)| {
            HalfLookup::Half(seq, entry)
        }))
    }

    /// All undecided halfs, pending and parked, in order.
    pub fn undecided(&self) -> impl Iterator<Item = (HalfSeq, HalfEntry)> {
        self.undecided_from(HalfSeq(0))
    }

    /// The undecided halfs from `from` on, in order.
    pub fn undecided_from(&self, from: HalfSeq) -> impl Iterator<Item = (HalfSeq, HalfEntry)> {
        // In pages, so that readers are not kept out for long.
        const PAGE: usize = 1024;
        let mut next = Some(from);
        let pages = std::iter::from_fn(move || {
            let start = next?;
            let halfs = self.state.shared.halfs.read();
            let page: Vec<_> = halfs
                .undecided(start)
                .take(PAGE)
                .map(|(seq, entry)| (seq, *entry))
                .collect();
            next = page
                .last()
                .filter(|_| page.len() == PAGE)
                .map(|(seq, _)| HalfSeq(seq.0 + 1));
            Some(page)
        });
        pages.flatten()
    }

    /// Halfs that are pending and halfs that are parked.
    pub fn undecided_counts(&self) -> (u64, u64) {
        let halfs = self.state.shared.halfs.read();
        (halfs.pending(), halfs.parked())
    }

    /// The sequence that the next half gets.
    pub fn next_half(&self) -> HalfSeq {
        self.state.shared.halfs.read().next()
    }

    /// The name behind an id, empty if it was lost.
    pub fn name(&self, id: NameId) -> &str {
        self.state.names.name(id)
    }

    /// The id of a name, if any half ever had it.
    pub fn name_id(&self, name: &str) -> Option<NameId> {
        self.state.names.id(name)
    }

    /// All that happened to a half message and is still kept, oldest first.
    ///
    /// # Errors
    /// The half is not known, or the disk failed. A damaged op ends the walk and is listed as such.
    pub fn op_history(&self, seq: HalfSeq) -> Result<Vec<OpRecord>, Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        crate::history::walk(row.entry.last_op.0, |offset| self.log.read(offset, 0))
    }

    /// Sets a durable key: topics, groups and the like.
    ///
    /// # Errors
    /// As [`Store::append_message`]; refused for lack of space only when the reserve is gone.
    pub fn set_meta(
        &mut self,
        now_ms: i64,
        key: &str,
        value: &[u8],
    ) -> Result<PhysicalOffset, Error> {
        self.append_meta(now_ms, MetaBody { key, value }, 0)
    }

    /// Removes a durable key.
    ///
    /// # Errors
    /// As [`Store::set_meta`].
    pub fn delete_meta(&mut self, now_ms: i64, key: &str) -> Result<PhysicalOffset, Error> {
        self.append_meta(now_ms, MetaBody { key, value: &[] }, META_DELETE)
    }

    pub(crate) fn append_meta(
        &mut self,
        now_ms: i64,
        meta: MetaBody<'_>,
        flags: u16,
    ) -> Result<PhysicalOffset, Error> {
        self.log.check_usable()?;
        self.space.check_op()?;
        check_name("key", meta.key)?;
        let head = Head {
            flags,
            subject: crate::key_hash(meta.key),
            ..Head::of(Kind::Meta)
        };
        let span = self
            .log
            .append(head, now_ms, meta.len(), |_, out| meta.put(out))?;
        self.note(&span);
        self.state
            .apply_meta(meta, flags & META_DELETE != 0, span.offset);
        Ok(PhysicalOffset(span.end))
    }

    /// The value of a key.
    pub fn meta(&self, key: &str) -> Option<&[u8]> {
        self.state.meta.get(key).map(|meta| meta.value.as_slice())
    }

    /// Keys that begin with `prefix` and their values, sorted.
    pub fn meta_iter(&self, prefix: &str) -> impl Iterator<Item = (&str, &[u8])> {
        let from = self.state.meta.range::<str, _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ));
        let pairs = from.map(|(key, MetaValue { value, .. })| (key.as_str(), value.as_slice()));
        pairs
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| !key.starts_with(OWN_META))
    }

    /// Ends a topic: its queues go, and begin at 0 if it comes back. Undecided halfs stay.
    ///
    /// # Errors
    /// As [`Store::set_meta`].
    pub fn drop_topic(&mut self, now_ms: i64, topic: &str) -> Result<PhysicalOffset, Error> {
        self.log.check_usable()?;
        self.space.check_op()?;
        check_name("topic", topic)?;
        let head = Head {
            subject: crate::hash::topic_hash(topic),
            ..Head::of(Kind::DropTopic)
        };
        let span = self.log.append(head, now_ms, topic.len(), |_, out| {
            out.extend_from_slice(topic.as_bytes())
        })?;
        self.note(&span);
        self.state.apply_drop(topic);
        Ok(PhysicalOffset(span.end))
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
        }
    }
}

fn op_placed(span: &Span, queue_offset: Option<QueueOffset>) -> OpPlaced {
    OpPlaced {
        physical: PhysicalOffset(span.offset),
        end: PhysicalOffset(span.end),
        store_timestamp: span.store_timestamp,
        queue_offset,
    }
}

/// The wire image within a HALF or RELOCATE record.
pub(crate) fn half_image(stored: &crate::log_view::Stored) -> Option<&[u8]> {
    match stored.header.kind {
        Kind::Half => HalfBody::decode(&stored.body).map(|half| half.image),
        Kind::Relocate => RelocateBody::decode(&stored.body).map(|relocate| relocate.half.image),
        _ => None,
    }
}

/// Encodes a message with its place filled in. Lengths were checked, so that it cannot fail half way.
fn encode(message: &Message<'_>, queue_offset: u64, span: &Span, out: &mut Vec<u8>) {
    let placed = Message {
        queue_offset: queue_offset.cast_signed(),
        physical_offset: span.offset.cast_signed(),
        store_timestamp: span.store_timestamp,
        ..*message
    };
    let encoded = message::encode(&placed, out);
    assert!(encoded.is_ok(), "a checked message can be encoded");
}

fn check_message(message: &Message<'_>) -> Result<(), Error> {
    check_name("topic", message.topic)?;
    check_name("properties", message.properties)
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
