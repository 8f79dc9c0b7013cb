//! Checks in flight: at most one per half, each with a deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use escrow_store::HalfSeq;

use crate::clock::Now;
use crate::members::ConnectionId;
use crate::schedule::Tag;

/// How long an answer may take.
pub(crate) const ANSWER_MS: u64 = 8_000;
/// How long after one instance was silent the next is asked.
pub(crate) const ANOTHER_AFTER_MS: u64 = 2_000;
/// Instances asked in one round.
pub(crate) const ASKED_PER_ROUND_MAX: usize = 2;

/// Where a round of checks for one half stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An answer is awaited.
    Asked,
    /// No answer came; another instance is to be asked in a moment.
    Pausing,
    /// The other instance is to be asked as soon as it has room.
    Retrying,
}

/// One round of checks for one half.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) stage: Stage,
    pub(crate) group: Arc<str>,
    /// Who was asked last.
    pub(crate) connection: ConnectionId,
    /// Wall time at which it was asked.
    pub(crate) asked_ms: i64,
    /// Everybody asked in this round.
    pub(crate) tried: Vec<ConnectionId>,
    /// What the round began with.
    pub(crate) tag: Tag,
    until: u64,
}

/// All rounds that are under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_seq: BTreeMap<HalfSeq, Flight>,
    deadlines: BinaryHeap<Reverse<(u64, HalfSeq)>>,
}

impl Flights {
    pub(crate) fn get(&self, seq: HalfSeq) -> Option<&Flight> {
        self.by_seq.get(&seq)
    }

    /// Rounds for a half, before the one under way, that nobody answered.
    pub(crate) fn silent(&self, seq: HalfSeq) -> u8 {
        self.get(seq).map_or(0, |flight| flight.tag.silent())
    }

    /// A check goes out; an earlier one of the same round is remembered as tried.
    pub(crate) fn ask(&mut self, tag: Tag, group: &Arc<str>, connection: ConnectionId, now: Now) {
        let flight = self.by_seq.entry(tag.seq()).or_insert_with(|| Flight {
            stage: Stage::Asked,
            group: group.clone(),
            connection,
            asked_ms: now.wall_ms,
            tried: Vec::with_capacity(1),
            tag,
            until: 0,
        });
        flight.stage = Stage::Asked;
        flight.connection = connection;
        flight.asked_ms = now.wall_ms;
        flight.tried.push(connection);
        self.set_deadline(tag.seq(), now.mono_ms.saturating_add(ANSWER_MS));
    }

    /// The instance that was asked will not answer; another is asked after `pause_ms`.
    pub(crate) fn pause(&mut self, seq: HalfSeq, pause_ms: u64, mono_ms: u64) {
        if let Some(flight) = self.by_seq.get_mut(&seq) {
            flight.stage = Stage::Pausing;
            self.set_deadline(seq, mono_ms.saturating_add(pause_ms));
        }
    }

    /// The pause is over.
    pub(crate) fn retry(&mut self, seq: HalfSeq) {
        if let Some(flight) = self.by_seq.get_mut(&seq) {
            flight.stage = Stage::Retrying;
            flight.until = u64::MAX;
        }
    }

    /// A half's checks begin anew in the middle of a round: what comes of that is told from what was before by its tag. True if
    /// the half has to be queued again, for what is queued has the old one.
    pub(crate) fn begin_anew(&mut self, tag: Tag) -> bool {
        let Some(flight) = self.by_seq.get_mut(&tag.seq()) else {
            return true;
        };
        flight.tag = tag;
        flight.stage == Stage::Retrying
    }

    fn set_deadline(&mut self, seq: HalfSeq, until: u64) {
        if let Some(flight) = self.by_seq.get_mut(&seq) {
            flight.until = until;
            self.deadlines.push(Reverse((until, seq)));
        }
    }

    /// Ends a round.
    pub(crate) fn remove(&mut self, seq: HalfSeq) -> Option<Flight> {
        self.by_seq.remove(&seq)
    }

    /// The next half whose deadline has passed.
    pub(crate) fn pop_due(&mut self, mono_ms: u64) -> Option<HalfSeq> {
        while self.next_due()? <= mono_ms {
            let Reverse((due, seq)) = self.deadlines.pop()?;
            if self
                .by_seq
                .get(&seq)
                .is_some_and(|flight| flight.until == due)
            {
                return Some(seq);
            }
        }
        None
    }

    /// The earliest deadline; it may turn out to be over with.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.deadlines.peek().map(|Reverse((due, _))| *due)
    }

    /// Ends the rounds in which an answer of `connection` is awaited.
    pub(crate) fn take_asked_of(&mut self, connection: ConnectionId) -> Vec<Tag> {
        let mut tags = Vec::new();
        self.by_seq.retain(|_, flight| {
            let of_it = flight.stage == Stage::Asked && flight.connection == connection;
            if of_it {
                tags.push(flight.tag);
            }
            !of_it
        });
        tags
    }

    /// Rounds under way.
    pub(crate) fn len(&self) -> usize {
        self.by_seq.len()
    }
}
