//! Staging what happens to a half message, and carrying its bytes forward.

use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;

use super::{Store, check_name};
use crate::commit_log::{Head, Span};
use crate::half_queue::{HAS_WORDS, HalfEntry, Row};
use crate::log_view::Stored;
use crate::queues::Need;
use crate::record::half::{RELOCATE_PREFIX, WITHOUT_BYTES};
use crate::record::op::op_flags;
use crate::record::{CommitBody, HalfBody, Kind, OpBody, RelocateBody};
use crate::{Durability, Error, HalfSeq, PhysicalOffset, QueueOffset, Source};

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

/// A half whose bytes were carried forward.
#[derive(Debug)]
pub(crate) struct Carried {
    seq: HalfSeq,
    place: u64,
    entry: HalfEntry,
    /// What was written for it.
    pub(crate) bytes: u64,
}

impl Store {
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
        self.state.recall(seq)?;
        let row = self.half_row(seq)?;
        let entry = row.entry;
        let is_conflict = matches!(op.kind, OpKind::Conflict { .. });
        if !entry.state.is_undecided() && !is_conflict {
            return Err(Error::AlreadyDecided);
        }
        let decision = if is_conflict {
            self.deciding_op(&entry)?
        } else {
            0
        };
        let body = OpBody {
            handle: entry.handle.0,
            previous: entry.last_op.0,
            decision,
            client_id: (self.state.names.name(entry.client) != op.client_id)
                .then_some(op.client_id),
            address: op.address,
            reason: op.reason,
        };
        if let OpKind::Commit { queue_id } = op.kind {
            return self.append_commit(now_ms, (seq, row), queue_id, op.source, &body, need);
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

    fn half_row(&self, seq: HalfSeq) -> Result<Row, Error> {
        let row = self.state.shared.half_row(seq)?;
        row.ok_or(Error::NotFound {
            what: "half message",
        })
    }

    fn append_commit(
        &mut self,
        now_ms: i64,
        (seq, row): (HalfSeq, Row),
        queue_id: i32,
        source: Source,
        body: &OpBody<'_>,
        need: Durability,
    ) -> Result<OpPlaced, Error> {
        let row = self.relocate_if_old(now_ms, seq, row)?;
        let words = self.word_hashes(seq, &row.entry, row.place);
        let topic = self.state.names.shared(row.entry.topic);
        let slot = self.state.queues.slot(&topic, queue_id);
        let commit = CommitBody {
            place: row.place,
            size: row.entry.size,
            queue_id,
            tags: row.entry.tags,
            age_ms: self
                .log
                .timestamp(now_ms)
                .saturating_sub(row.entry.store_timestamp)
                .try_into()
                .unwrap_or(0),
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
        let len = body.len() + commit.len(body.handle);
        let span = self.log.append(head, now_ms, len, |_, out| {
            body.put(out);
            commit.put(body.handle, out);
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
    fn word_hashes(&mut self, seq: HalfSeq, entry: &HalfEntry, place: u64) -> Vec<u8> {
        if entry.flags & HAS_WORDS == 0 {
            return Vec::new();
        }
        if let Some(words) = self.state.recent_words.of(seq) {
            return words.iter().flat_map(|word| word.to_le_bytes()).collect();
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

    /// Carries the bytes of a half forward when its segment closed long ago, so that this commit does not keep it. Gives the
    /// half's row as it is then.
    fn relocate_if_old(&mut self, now_ms: i64, seq: HalfSeq, row: Row) -> Result<Row, Error> {
        let Some((start, used)) = self.state.segments.range(..=row.place).next_back() else {
            return Ok(row);
        };
        let limit = i64::try_from(self.settings.relocate_after.as_millis()).unwrap_or(i64::MAX);
        if *start == self.log.segment_start() || used.newest.saturating_add(limit) > now_ms {
            return Ok(row);
        }
        match self.relocate(now_ms, seq) {
            // A half that cannot be read is committed where it is.
            Err(Error::Damaged { .. } | Error::NotFound { .. }) => return Ok(row),
            other => other?,
        };
        self.half_row(seq)
    }

    /// Copies a half's bytes to the end of the log. Its handle stays.
    pub(crate) fn relocate(&mut self, now_ms: i64, seq: HalfSeq) -> Result<(), Error> {
        let carried = self.carry(now_ms, seq)?;
        self.look_there(&carried);
        Ok(())
    }

    /// Stages a copy of a half's bytes; the half is still where it was.
    pub(crate) fn carry(&mut self, now_ms: i64, seq: HalfSeq) -> Result<Carried, Error> {
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
            position: row.entry.handle.0,
            link: seq.0,
            ..Head::of(Kind::Relocate)
        };
        let len = RELOCATE_PREFIX + half_bytes.len();
        let span = self
            .log
            .append(head, now_ms, len, |_, out| body.put(out, &half_bytes))?;
        self.note(&span);
        Ok(Carried {
            seq,
            place: span.offset,
            bytes: span.end - span.offset,
            entry: row.entry,
        })
    }

    /// From now on a half is where its bytes were carried to.
    pub(crate) fn look_there(&self, carried: &Carried) {
        let mut halfs = self.state.shared.halfs.write();
        halfs.relocate(carried.seq, carried.place, carried.entry);
    }

    /// Says of a half whose bytes cannot be read that there is one, so that it is not forgotten with its record.
    pub(crate) fn relocate_without_bytes(
        &mut self,
        now_ms: i64,
        seq: HalfSeq,
    ) -> Result<(), Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let head = Head {
            flags: WITHOUT_BYTES,
            position: row.entry.handle.0,
            link: seq.0,
            ..Head::of(Kind::Relocate)
        };
        let span = self.log.append(head, now_ms, 0, |_, _| {})?;
        self.note(&span);
        self.state
            .lose_bytes(seq, row.entry.handle.0, span.offset, row.entry);
        Ok(())
    }

    /// The op that decided a half: its newest op, or what the newest conflict names.
    fn deciding_op(&self, entry: &HalfEntry) -> Result<u64, Error> {
        let stored = match self.log.read(entry.last_op.0, 0) {
            Ok(stored) => stored,
            Err(Error::Damaged { .. } | Error::NotFound { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        Ok(match stored.header.kind {
            Kind::Conflict => OpBody::decode(&stored.body).map_or(0, |(body, _)| body.decision),
            _ => stored.header.offset,
        })
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

/// What a HALF or RELOCATE record holds.
pub(crate) fn half_body(stored: &Stored) -> Option<HalfBody<'_>> {
    match stored.header.kind {
        Kind::Half => HalfBody::decode(&stored.body),
        Kind::Relocate => RelocateBody::decode(&stored.body).map(|relocate| relocate.half),
        _ => None,
    }
}

/// The wire image within a HALF or RELOCATE record.
pub(crate) fn half_image(stored: &Stored) -> Option<&[u8]> {
    half_body(stored).map(|half| half.image)
}
