//! Everything that derives from the log. Append and replay change it through the same functions, so that a replayed log gives
//! the state that the writer had.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use escrow_protocol::message;
use parking_lot::RwLock;

use crate::consume_queue::{QueueEntry, QueueFiles};
use crate::half_queue::{
    ENTRIES_PER_PAGE, HAS_DOMAIN, HAS_WORDS, HalfEntry, HalfFiles, HalfQueue, HalfState,
    NO_IMMUNITY, Row, UNREADABLE, Where,
};
use crate::hash::index_hash;
use crate::ids::narrow;
use crate::key_index::{Item, KeyIndex, RunFiles};
use crate::log_view::{LogView, Stored};
use crate::names::Names;
use crate::queues::{Lost, Need, QueueMap, Queues, Slot};
use crate::record::image::Searchable;
use crate::record::meta::META_DELETE;
use crate::record::op::read_op_flags;
use crate::record::{CommitBody, HalfBody, Header, Kind, MetaBody, OpBody, RelocateBody};
use crate::{Error, HalfSeq, NameId, NewHalf, PhysicalOffset, Source};

/// Keys of META records that are the store's own.
pub(crate) const OWN_META: &str = "\u{1}store/";

/// What readers share with the writer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<LogView>,
    pub(crate) queues: Arc<QueueMap>,
    pub(crate) queue_files: QueueFiles,
    pub(crate) halfs: RwLock<HalfQueue>,
    pub(crate) half_files: HalfFiles,
    pub(crate) index: RwLock<KeyIndex>,
    pub(crate) run_files: RunFiles,
    /// A derived file was found damaged: the next open rebuilds them all from the log.
    pub(crate) wants_rebuild: AtomicBool,
}

impl Shared {
    /// Visits undecided halfs in order until `visit` breaks; lets the writer in now and then, however many there are.
    pub(crate) fn each_undecided(&self, mut visit: impl FnMut(HalfSeq, Row) -> ControlFlow<()>) {
        const AT_A_TIME: usize = 4096;
        let mut from = HalfSeq(0);
        loop {
            let halfs = self.halfs.read();
            let mut seen = 0;
            for (seq, row) in halfs.undecided_rows(from).take(AT_A_TIME) {
                if visit(seq, row).is_break() {
                    return;
                }
                from = HalfSeq(seq.0 + 1);
                seen += 1;
            }
            if seen < AT_A_TIME {
                return;
            }
        }
    }

    /// Remembers that a derived file is damaged, which costs nothing that the log does not have.
    pub(crate) fn noting_damage<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(result, Err(Error::Damaged { .. })) {
            self.wants_rebuild.store(true, Ordering::Relaxed);
        }
        result
    }

    /// What is known of a half, from memory or its file.
    pub(crate) fn half_row(&self, seq: HalfSeq) -> Result<Option<Row>, Error> {
        let place = self.halfs.read().locate(seq);
        match place {
            Where::Memory(row) => Ok(Some(row)),
            Where::File => self.noting_damage(self.half_files.row(seq)),
            Where::Left => {
                let rows = self.half_files.page_if_written(seq.0 / ENTRIES_PER_PAGE);
                let rows = self.noting_damage(rows)?.unwrap_or_default();
                let row = rows.get(narrow(seq.0 % ENTRIES_PER_PAGE));
                let row = row.copied().flatten();
                Ok(row.filter(|row| row.place >= self.log.start()))
            }
            Where::Nowhere => Ok(None),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetaValue {
    pub(crate) value: Vec<u8>,
    /// The record that set it: carried forward before its segment leaves.
    pub(crate) at: u64,
}

/// When a segment was last of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentUse {
    /// Newest record in it, ms.
    pub(crate) newest: i64,
    /// Newest record in it, or newest commit of a half in it, ms.
    pub(crate) referred: i64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) names: Names,
    pub(crate) queues: Queues,
    pub(crate) meta: BTreeMap<String, MetaValue>,
    pub(crate) schedule: BTreeMap<u32, u64>,
    pub(crate) segments: BTreeMap<u64, SegmentUse>,
    /// Index items that readers cannot see yet.
    pub(crate) index_staged: Vec<Item>,
    pub(crate) searchable: Searchable,
    /// Where the newest half was written.
    pub(crate) last_half_at: u64,
    /// Replay began at a log whose beginning has left, and has met no half yet: the files keep nothing below the first.
    pub(crate) first_half_is_unknown: bool,
}

/// Key of the record that keeps a queue's end when its last message leaves the log.
pub(crate) fn queue_tail_key(topic: &str, id: i32) -> String {
    format!("{OWN_META}queue/{id}/{topic}")
}

/// Key of the record that keeps a delay level's progress.
pub(crate) fn level_tail_key(level: u32) -> String {
    format!("{OWN_META}level/{level}")
}

/// Key of the record that keeps the next half sequence.
pub(crate) fn half_tail_key() -> String {
    format!("{OWN_META}half")
}

/// A record whose body cannot be used.
#[derive(Debug)]
pub(crate) struct Malformed;

impl State {
    pub(crate) fn new(shared: Arc<Shared>) -> State {
        State {
            queues: Queues::new(shared.queues.clone()),
            shared,
            names: Names::default(),
            meta: BTreeMap::new(),
            schedule: BTreeMap::new(),
            segments: BTreeMap::new(),
            index_staged: Vec::new(),
            searchable: Searchable::default(),
            last_half_at: 0,
            first_half_is_unknown: false,
        }
    }

    /// Notes that a segment holds a record of this time.
    pub(crate) fn note_record(&mut self, segment: u64, store_timestamp: i64) {
        let used = self.segments.entry(segment).or_default();
        used.newest = store_timestamp;
        used.referred = used.referred.max(store_timestamp);
    }

    /// Notes that a commit refers to bytes at `place`.
    fn note_reference(&mut self, place: u64, store_timestamp: i64) {
        if let Some((_, used)) = self.segments.range_mut(..=place).next_back() {
            used.referred = used.referred.max(store_timestamp);
        }
    }

    /// Applies a record that replay found good.
    pub(crate) fn apply(&mut self, stored: &Stored) -> Result<(), Malformed> {
        let Stored { header, body } = stored;
        match header.kind {
            Kind::Normal | Kind::Delivery => self.replay_message(header, body),
            Kind::Half => self.replay_half(header, body),
            Kind::Relocate => self.replay_relocate(header, body),
            Kind::Commit => self.replay_commit(header, body),
            Kind::Rollback | Kind::Park | Kind::Resume | Kind::Answer | Kind::Conflict => {
                self.apply_op(
                    HalfSeq(header.link),
                    header.kind,
                    source_of(header),
                    header.offset,
                );
                Ok(())
            }
            Kind::Meta => {
                let meta = MetaBody::decode(body).ok_or(Malformed)?;
                self.apply_meta(meta, header.flags & META_DELETE != 0, header.offset);
                Ok(())
            }
            Kind::DropTopic => {
                self.apply_drop(std::str::from_utf8(body).map_err(|_| Malformed)?);
                Ok(())
            }
            Kind::Mark | Kind::Cut | Kind::Pad => Ok(()),
        }
    }

    fn replay_message(&mut self, header: &Header, body: &[u8]) -> Result<(), Malformed> {
        let message = message::decode(body).map_err(|_| Malformed)?;
        let mut searchable = std::mem::take(&mut self.searchable);
        searchable.read(message.properties);
        let entry = message_entry(
            header.offset,
            body.len(),
            &searchable,
            header.store_timestamp,
        );
        self.queues.apply(
            message.topic,
            message.queue_id,
            header.position,
            entry,
            Need::Nothing,
        );
        self.note_keys(message.topic, searchable.hashes(), header.offset);
        self.searchable = searchable;
        if header.kind == Kind::Delivery {
            self.apply_progress(u32::from(header.flags), header.link);
        }
        Ok(())
    }

    /// A message that append has just staged.
    pub(crate) fn apply_message(&mut self, slot: Slot, topic: &str, entry: QueueEntry, need: Need) {
        let searchable = std::mem::take(&mut self.searchable);
        self.queues.apply_at(slot, entry, need);
        self.note_keys(topic, searchable.hashes(), entry.physical.0);
        self.searchable = searchable;
    }

    fn note_keys(&mut self, topic: &str, hashes: impl Iterator<Item = u64>, at: u64) {
        self.index_staged
            .extend(hashes.map(|hash| (index_hash(topic, hash), at)));
    }

    /// A delayed message was delivered: schedule progress is a function of the log.
    pub(crate) fn apply_progress(&mut self, level_queue: u32, offset: u64) {
        let next = self.schedule.entry(level_queue).or_insert(0);
        *next = (*next).max(offset.saturating_add(1));
    }

    fn replay_half(&mut self, header: &Header, body: &[u8]) -> Result<(), Malformed> {
        let half = HalfBody::decode(body).ok_or(Malformed)?;
        let entry = self
            .half_entry(&half, header.offset, header.store_timestamp)
            .ok_or(Malformed)?;
        self.apply_half(HalfSeq(header.link), entry);
        Ok(())
    }

    pub(crate) fn apply_half(&mut self, seq: HalfSeq, entry: HalfEntry) {
        self.last_half_at = self.last_half_at.max(entry.handle.0);
        if std::mem::take(&mut self.first_half_is_unknown) {
            self.shared.halfs.write().forget_below(seq.0);
        }
        self.shared.halfs.write().insert(seq, entry);
    }

    /// The entry of a half whose record is read back.
    fn half_entry(
        &mut self,
        half: &HalfBody<'_>,
        handle: u64,
        store_timestamp: i64,
    ) -> Option<HalfEntry> {
        let message = message::decode(half.image).ok()?;
        let HalfBody {
            immunity_ms,
            group,
            client_id,
            image,
        } = *half;
        let half = NewHalf {
            message,
            group,
            client_id,
            immunity_ms,
        };
        Some(self.new_half_entry(&half, image.len(), handle, store_timestamp))
    }

    /// The entry of a half whose record is at `handle`. Interns its names.
    pub(crate) fn new_half_entry(
        &mut self,
        half: &NewHalf<'_>,
        size: usize,
        handle: u64,
        store_timestamp: i64,
    ) -> HalfEntry {
        self.searchable.read(half.message.properties);
        HalfEntry {
            handle: PhysicalOffset(handle),
            last_op: PhysicalOffset(0),
            store_timestamp,
            unique_hash: self.searchable.unique,
            topic: self.names.intern(half.message.topic),
            group: self.names.intern(half.group),
            client: self.names.intern(half.client_id),
            queue_id: half.message.queue_id,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            immunity: half.immunity_ms.unwrap_or(NO_IMMUNITY),
            // Java's String.hashCode is 32 bits wide, so nothing is lost.
            tags: i32::try_from(self.searchable.tags).unwrap_or(0),
            answered: 0,
            state: HalfState::Pending,
            flags: half_flags(&self.searchable),
        }
    }

    fn replay_relocate(&mut self, header: &Header, body: &[u8]) -> Result<(), Malformed> {
        let relocate = RelocateBody::decode(body).ok_or(Malformed)?;
        let entry = self
            .half_entry(&relocate.half, relocate.handle, relocate.store_timestamp)
            .ok_or(Malformed)?;
        let carried = HalfEntry {
            last_op: PhysicalOffset(relocate.last_op),
            answered: relocate.answered,
            state: if relocate.parked {
                HalfState::Parked
            } else {
                HalfState::Pending
            },
            flags: relocate.flags,
            ..entry
        };
        self.shared
            .halfs
            .write()
            .relocate(HalfSeq(header.link), header.offset, carried);
        Ok(())
    }

    fn replay_commit(&mut self, header: &Header, body: &[u8]) -> Result<(), Malformed> {
        let (_, rest) = OpBody::decode(body).ok_or(Malformed)?;
        let commit = CommitBody::decode(rest).ok_or(Malformed)?;
        self.apply_op(
            HalfSeq(header.link),
            Kind::Commit,
            source_of(header),
            header.offset,
        );
        let entry = commit_entry(&commit, header.store_timestamp);
        self.queues.apply(
            commit.topic,
            commit.queue_id,
            header.position,
            entry,
            Need::Nothing,
        );
        self.note_commit(&commit, header.offset, header.store_timestamp);
        Ok(())
    }

    /// A commit that append has just staged.
    pub(crate) fn apply_commit(
        &mut self,
        slot: Slot,
        commit: &CommitBody<'_>,
        at: u64,
        time: i64,
        need: Need,
    ) {
        self.queues.apply_at(slot, commit_entry(commit, time), need);
        self.note_commit(commit, at, time);
    }

    fn note_commit(&mut self, commit: &CommitBody<'_>, at: u64, time: i64) {
        let unique = (commit.unique != 0).then_some(commit.unique);
        self.note_keys(
            commit.topic,
            unique.into_iter().chain(commit.word_hashes()),
            at,
        );
        self.note_reference(commit.place, time);
    }

    pub(crate) fn apply_op(&mut self, seq: HalfSeq, kind: Kind, source: Source, at: u64) {
        let mut halfs = self.shared.halfs.write();
        if matches!(halfs.locate(seq), Where::File | Where::Left) {
            drop(halfs);
            let row = self.shared.half_row(seq);
            halfs = self.shared.halfs.write();
            if let Ok(Some(row)) = row {
                halfs.recall(seq, row);
            }
        }
        halfs.apply_op(seq, kind, source, PhysicalOffset(at));
    }

    pub(crate) fn apply_meta(&mut self, meta: MetaBody<'_>, is_delete: bool, at: u64) {
        if let Some(own) = meta.key.strip_prefix(OWN_META) {
            self.apply_own_meta(own, meta.value);
        }
        if is_delete {
            self.meta.remove(meta.key);
        } else {
            self.meta.insert(
                meta.key.to_owned(),
                MetaValue {
                    value: meta.value.to_vec(),
                    at,
                },
            );
        }
    }

    /// Ends of sequences whose last record left the log.
    fn apply_own_meta(&mut self, key: &str, value: &[u8]) {
        let Some(next) = value.try_into().ok().map(u64::from_le_bytes) else {
            return;
        };
        if let Some((id, topic)) = key
            .strip_prefix("queue/")
            .and_then(|rest| rest.split_once('/'))
        {
            if let Ok(id) = id.parse() {
                self.queues.apply_tail(topic, id, next);
            }
        } else if let Some(level) = key
            .strip_prefix("level/")
            .and_then(|level| level.parse().ok())
        {
            let progress = self.schedule.entry(level).or_insert(0);
            *progress = (*progress).max(next);
        } else if key == "half" {
            self.shared.halfs.write().skip_to(next);
        }
    }

    pub(crate) fn apply_drop(&mut self, topic: &str) {
        self.queues.apply_drop(topic);
        // A topic that comes back begins at 0: its old ends must not be carried behind this record.
        let suffix = format!("/{topic}");
        self.meta
            .retain(|key, _| !(key.starts_with(OWN_META) && key.ends_with(&suffix)));
    }

    /// Applies what the head of a record says whose body is damaged: its queue offset stays occupied, its decision stands.
    pub(crate) fn apply_head(&mut self, header: &Header) {
        let seq = HalfSeq(header.link);
        match header.kind {
            Kind::Normal | Kind::Delivery | Kind::Commit => self.lose_entry(header),
            Kind::Half => {
                let entry = HalfEntry {
                    handle: PhysicalOffset(header.offset),
                    last_op: PhysicalOffset(0),
                    store_timestamp: header.store_timestamp,
                    unique_hash: 0,
                    topic: NameId::UNKNOWN,
                    group: NameId::UNKNOWN,
                    client: NameId::UNKNOWN,
                    queue_id: 0,
                    size: 0,
                    immunity: NO_IMMUNITY,
                    tags: 0,
                    answered: 0,
                    state: HalfState::Parked,
                    flags: UNREADABLE,
                };
                self.apply_half(seq, entry);
            }
            // While the original is there its bytes are still good, so the half stays where it was.
            Kind::Relocate => {}
            Kind::Rollback | Kind::Park | Kind::Resume | Kind::Answer | Kind::Conflict => {
                self.apply_op(seq, header.kind, source_of(header), header.offset);
            }
            Kind::DropTopic => {
                if let Some(topic) = self.queues.topic_by_hash(header.subject) {
                    self.apply_drop(&topic);
                }
            }
            Kind::Meta | Kind::Mark | Kind::Cut | Kind::Pad => {}
        }
    }

    fn lose_entry(&mut self, header: &Header) {
        if header.kind == Kind::Delivery {
            self.apply_progress(u32::from(header.flags), header.link);
        }
        if header.kind == Kind::Commit && self.apply_lost_commit(header) {
            return;
        }
        self.queues.apply_lost(Lost {
            hash: header.subject,
            offset: header.position,
            physical: header.offset,
            store_timestamp: header.store_timestamp,
        });
    }

    /// A COMMIT whose body is damaged, of a half that is known: the head has the queue offset, the half has all the rest.
    fn apply_lost_commit(&mut self, header: &Header) -> bool {
        let seq = HalfSeq(header.link);
        self.apply_op(seq, Kind::Commit, source_of(header), header.offset);
        let Ok(Some(row)) = self.shared.half_row(seq) else {
            return false;
        };
        let topic = self.names.name(row.entry.topic).to_owned();
        if crate::hash::queue_hash(&topic, row.entry.queue_id) != header.subject {
            return false;
        }
        let entry = QueueEntry {
            physical: PhysicalOffset(row.place),
            size: row.entry.size,
            tags: i64::from(row.entry.tags),
            store_timestamp: header.store_timestamp,
            damaged: false,
        };
        self.queues.apply(
            &topic,
            row.entry.queue_id,
            header.position,
            entry,
            Need::Nothing,
        );
        self.note_reference(row.place, header.store_timestamp);
        true
    }

    /// Lets readers find what publish has shown.
    pub(crate) fn publish_index(&mut self) {
        if !self.index_staged.is_empty() {
            self.shared
                .index
                .write()
                .extend(self.index_staged.drain(..));
        }
    }
}

fn half_flags(searchable: &Searchable) -> u8 {
    let words = if searchable.words.is_empty() {
        0
    } else {
        HAS_WORDS
    };
    let domain = if searchable.has_domain { HAS_DOMAIN } else { 0 };
    words | domain
}

fn source_of(op: &Header) -> Source {
    let (source, _) = read_op_flags(op.flags);
    source
}

/// The queue entry that a record makes; `None` if it makes none or its body cannot be used.
pub(crate) fn entry_of(stored: &Stored) -> Option<QueueEntry> {
    let header = &stored.header;
    match header.kind {
        Kind::Normal | Kind::Delivery => {
            let message = message::decode(&stored.body).ok()?;
            let mut searchable = Searchable::default();
            searchable.read(message.properties);
            Some(message_entry(
                header.offset,
                stored.body.len(),
                &searchable,
                header.store_timestamp,
            ))
        }
        Kind::Commit => {
            let (_, rest) = OpBody::decode(&stored.body)?;
            Some(commit_entry(
                &CommitBody::decode(rest)?,
                header.store_timestamp,
            ))
        }
        _ => None,
    }
}

/// The queue entry of a plain message.
pub(crate) fn message_entry(
    at: u64,
    size: usize,
    searchable: &Searchable,
    store_timestamp: i64,
) -> QueueEntry {
    QueueEntry {
        physical: PhysicalOffset(at),
        size: u32::try_from(size).unwrap_or(u32::MAX),
        tags: searchable.tags,
        store_timestamp,
        damaged: false,
    }
}

fn commit_entry(commit: &CommitBody<'_>, store_timestamp: i64) -> QueueEntry {
    QueueEntry {
        physical: PhysicalOffset(commit.place),
        size: commit.size,
        tags: commit.tags,
        store_timestamp,
        damaged: false,
    }
}
