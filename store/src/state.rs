//! Everything that derives from the log. Append and replay change it through the same functions, so that a replayed log gives
//! the state that the writer had.

mod damaged;
mod entry;
mod meta;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_protocol::message;

use crate::consume_queue::QueueEntry;
use crate::error::is_missing;
use crate::half_queue::{
    HAS_DOMAIN, HAS_WORDS, HalfEntry, HalfState, LOG_DAMAGED, LOG_DAMAGED_REASON, NO_IMMUNITY,
    Where,
};
use crate::hash::index_hash;
use crate::key_index::Item;
use crate::log_view::Stored;
use crate::names::Names;
use crate::queues::{Need, Queues, Slot};
use crate::recent_words::RecentWords;
use crate::record::half::WITHOUT_BYTES;
use crate::record::header::is_time;
use crate::record::image::Searchable;
use crate::record::meta::META_DELETE;
use crate::record::op::read_op_flags;
use crate::record::{CommitBody, HalfBody, Header, Kind, MetaBody, OpBody, RelocateBody};
use crate::{Error, HalfSeq, NewHalf, PhysicalOffset, Source};
use damaged::lost_half;
use entry::commit_entry;
pub(crate) use entry::{entry_of, message_entry};
pub(crate) use meta::{MetaValue, OWN_META, half_tail_key, level_tail_key, queue_tail_key};
pub(crate) use shared::Shared;

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
    pub(crate) recent_words: RecentWords,
    /// Where the newest half was written.
    pub(crate) last_half_at: u64,
    /// Replay began at a log whose beginning has left, and has met no half yet: the files keep nothing below the first.
    pub(crate) first_half_is_unknown: bool,
    /// The newest commit, ms, of a half whose bytes have left: replay can meet what retention has let go since the checkpoint.
    pub(crate) left_referred: Option<i64>,
}

/// Why a record is not applied.
#[derive(Debug)]
pub(crate) enum NotApplied {
    /// Its body cannot be used.
    Malformed,
    /// The disk does not give what is known of its half: another time it may.
    Disk(Error),
}
use NotApplied::Malformed;

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
            recent_words: RecentWords::new(),
            last_half_at: 0,
            first_half_is_unknown: false,
            left_referred: None,
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
        match self.segments.range_mut(..=place).next_back() {
            Some((_, used)) => used.referred = used.referred.max(store_timestamp),
            None => self.left_referred = self.left_referred.max(Some(store_timestamp)),
        }
    }

    /// Applies a record that replay found good.
    pub(crate) fn apply(&mut self, stored: &Stored) -> Result<(), NotApplied> {
        let Stored { header, body } = stored;
        match header.kind {
            Kind::Normal | Kind::Delivery => self.replay_message(header, body),
            Kind::Half => self.replay_half(header, body),
            Kind::Relocate if header.flags & WITHOUT_BYTES != 0 => {
                let seq = HalfSeq(header.link);
                let known = self.shared.halfs.read().get(seq).copied();
                let entry = known.unwrap_or_else(|| lost_half(header.position, header));
                self.lose_bytes(seq, header.position, header.offset, entry);
                Ok(())
            }
            Kind::Relocate => self.replay_relocate(header, body),
            Kind::Commit => self.replay_commit(header, body),
            Kind::Rollback | Kind::Park | Kind::Resume | Kind::Answer | Kind::Conflict => {
                let seq = HalfSeq(header.link);
                self.recall(seq).map_err(NotApplied::Disk)?;
                self.apply_op(seq, header.kind, source_of(header), header.offset);
                // An open that found damage parked it: what it feared is no less true at the next one.
                let op = OpBody::decode(body).filter(|_| header.kind == Kind::Park);
                if op.is_some_and(|(op, _)| op.reason == LOG_DAMAGED_REASON) {
                    self.shared.halfs.write().flag(seq, LOG_DAMAGED);
                }
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

    fn replay_message(&mut self, header: &Header, body: &[u8]) -> Result<(), NotApplied> {
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

    fn replay_half(&mut self, header: &Header, body: &[u8]) -> Result<(), NotApplied> {
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
            tags: self.searchable.tags,
            answered: 0,
            state: HalfState::Pending,
            flags: half_flags(&self.searchable),
        }
    }

    fn replay_relocate(&mut self, header: &Header, body: &[u8]) -> Result<(), NotApplied> {
        let relocate = RelocateBody::decode(body).ok_or(Malformed)?;
        // It carries what was before it: a page of the half queue could not keep just any number.
        let is_possible = relocate.handle < header.offset
            && relocate.last_op < header.offset
            && is_time(relocate.store_timestamp);
        if !is_possible {
            return Err(Malformed);
        }
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

    fn replay_commit(&mut self, header: &Header, body: &[u8]) -> Result<(), NotApplied> {
        let (_, commit) = CommitBody::decode(body).ok_or(Malformed)?;
        self.recall(HalfSeq(header.link))
            .map_err(NotApplied::Disk)?;
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

    /// Brings what is known of a half into memory, if only a file knows it, so that an op can be applied. Of one whose page is
    /// damaged nothing is known.
    ///
    /// # Errors
    /// The disk does not give the page.
    pub(crate) fn recall(&mut self, seq: HalfSeq) -> Result<(), Error> {
        if !matches!(
            self.shared.halfs.read().locate(seq),
            Where::File | Where::Left
        ) {
            return Ok(());
        }
        match self.shared.half_row(seq) {
            Ok(Some(row)) => self.shared.halfs.write().recall(seq, row),
            Ok(None) | Err(Error::Damaged { .. }) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Applies an op to a half that is in memory; see [`State::recall`].
    pub(crate) fn apply_op(&mut self, seq: HalfSeq, kind: Kind, source: Source, at: u64) {
        let mut halfs = self.shared.halfs.write();
        halfs.apply_op(seq, kind, source, PhysicalOffset(at));
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
