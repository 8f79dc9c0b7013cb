//! END_TRANSACTION: what a producer says about its transaction, on its own or asked.
//!
//! The order of the checks and their answers are part of the wire protocol:
//!
//! | what is wrong | code | remark |
//! |---|---|---|
//! | no half message begins at that offset | 1 | `Find prepared transaction message failed` |
//! | another producer group | 1 | `The producer group wrong` |
//! | another half offset | 1 | `The transaction state table offset wrong` |
//! | another transaction id | 1 | `The transaction id wrong` |
//! | the opposite was decided | 604 | what was decided, when and by whom |
//! | COMMIT, and the topic is gone | 17 | which topic |

use escrow_protocol::code::response;
use escrow_protocol::ids::decode_offset_message_id;
use escrow_protocol::transaction::Resolution;
use escrow_store::{
    Durability, ErrorKind, HalfEntry, HalfLookup, HalfSeq, HalfState, OpKind, PhysicalOffset,
    Source, Store, key_hash,
};

use crate::clock::Now;
use crate::coordinator::Coordinator;
use crate::counters::Notice;
use crate::decide::{DecideRefused, Decided, Decision, FirstDecision, Half, Word, WriteQueues};
use crate::flight::Stage;
use crate::members::ConnectionId;

/// What a producer says, in the terms of the wire.
#[derive(Debug, Clone, Copy)]
pub struct EndRequest<'a> {
    /// `producerGroup`.
    pub group: &'a str,
    /// `commitLogOffset`.
    pub commit_log_offset: i64,
    /// `tranStateTableOffset`.
    pub half_offset: i64,
    /// `commitOrRollback`.
    pub resolution: Resolution,
    /// `fromTransactionCheck`.
    pub from_check: bool,
    /// `msgId`; may be empty.
    pub message_id: &'a str,
    /// `transactionId`; empty if absent.
    pub transaction_id: &'a str,
    /// The request's remark, kept as the reason.
    pub remark: &'a str,
    /// Where it came from.
    pub connection: ConnectionId,
    /// That connection's client id, empty if it has not given one.
    pub client_id: &'a str,
    /// That connection's `ip:port`.
    pub address: &'a str,
}

/// What became of an END_TRANSACTION.
#[derive(Debug)]
pub enum EndOutcome {
    /// It decided the half, or said again what was decided: success.
    Decided(Decided),
    /// UNKNOWN, and noted: success.
    Noted(Noted),
    /// Refused.
    Refused(EndRefusal),
}

impl EndOutcome {
    /// Answer when the log has met the flush policy up to here; `None` if nothing need be durable.
    pub fn durable_at(&self) -> Option<PhysicalOffset> {
        match self {
            EndOutcome::Decided(decided) => Some(decided.durable_at),
            EndOutcome::Refused(EndRefusal::Opposite(first)) => Some(first.durable_at),
            EndOutcome::Noted(_) | EndOutcome::Refused(_) => None,
        }
    }
}

/// An UNKNOWN that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The half.
    pub seq: HalfSeq,
    /// It answered a check, and counts.
    pub counted: bool,
    /// The half is parked now because of it.
    pub parked: bool,
}

/// Why an END_TRANSACTION is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndRefusal {
    /// No half message begins at the offset, or it is gone.
    #[error("Find prepared transaction message failed")]
    NotFound,
    /// The half is another group's.
    #[error("The producer group wrong")]
    GroupWrong,
    /// The half has another half offset.
    #[error("The transaction state table offset wrong")]
    HalfOffsetWrong,
    /// The half has another transaction id.
    #[error("The transaction id wrong")]
    TransactionIdWrong,
    /// The opposite was decided.
    #[error("The transaction is already {0}")]
    Opposite(FirstDecision),
    /// A COMMIT for a topic that is not there. The half stays undecided.
    #[error("topic[{0}] not exist, the half message stays undecided until it is created")]
    TopicMissing(String),
    /// The store refused to look or to write.
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
}

impl EndRefusal {
    /// The response code.
    pub fn code(&self) -> i32 {
        match self {
            EndRefusal::NotFound
            | EndRefusal::GroupWrong
            | EndRefusal::HalfOffsetWrong
            | EndRefusal::TransactionIdWrong => response::SYSTEM_ERROR,
            EndRefusal::Opposite(_) => response::ILLEGAL_OPERATION,
            EndRefusal::TopicMissing(_) => response::TOPIC_NOT_EXIST,
            EndRefusal::Store(error) => match error.kind() {
                ErrorKind::Space | ErrorKind::Stop => response::SERVICE_NOT_AVAILABLE,
                ErrorKind::Request | ErrorKind::Damaged => response::SYSTEM_ERROR,
            },
        }
    }
}

impl From<DecideRefused> for EndRefusal {
    fn from(refused: DecideRefused) -> Self {
        match refused {
            DecideRefused::NotFound | DecideRefused::NoReason => EndRefusal::NotFound,
            DecideRefused::Opposite(first) => EndRefusal::Opposite(first),
            DecideRefused::TopicMissing(topic) => EndRefusal::TopicMissing(topic),
            DecideRefused::Store(error) => EndRefusal::Store(error),
        }
    }
}

impl Coordinator {
    /// Takes what a producer says about its transaction.
    pub fn end(
        &mut self,
        store: &mut Store,
        now: Now,
        end: &EndRequest<'_>,
        write_queues: WriteQueues<'_>,
    ) -> EndOutcome {
        self.observe(now);
        let half = match verify(store, end) {
            Ok(half) => half,
            Err(refusal) => {
                self.counters.refused += 1;
                return EndOutcome::Refused(refusal);
            }
        };
        let answers = self.take_answer(half.seq, end);
        let decision = match end.resolution {
            Resolution::Commit => Decision::Commit,
            Resolution::Rollback => Decision::Rollback,
            Resolution::Unknown => return self.note_unknown(store, now, half, end, answers),
        };
        let word = decision_word(end);
        match self.settle(store, now, half, decision, word, write_queues) {
            Ok(decided) => EndOutcome::Decided(decided),
            Err(refused) => {
                if answers {
                    self.not_carried_out(store, now, half.seq);
                }
                EndOutcome::Refused(refused.into())
            }
        }
    }

    /// Whether this is the answer to the check that is outstanding for the half, from the one who was asked.
    fn take_answer(&mut self, seq: HalfSeq, end: &EndRequest<'_>) -> bool {
        if !end.from_check {
            return false;
        }
        // Also who answers late shows that it can.
        self.members.answered(end.group, end.connection);
        let answers = self.flights.get(seq).is_some_and(|flight| {
            flight.stage == Stage::Asked && flight.connection == end.connection
        });
        self.counters.checks_answered += u64::from(answers);
        answers
    }

    /// A check was answered with a decision that could not be carried out: it did not count as UNKNOWN, and
    /// the next check comes when its backoff says.
    fn not_carried_out(&mut self, store: &Store, now: Now, seq: HalfSeq) {
        let silent = self.flights.silent(seq);
        self.land(seq);
        self.reschedule(store, now, seq, silent.saturating_add(1));
    }

    fn note_unknown(
        &mut self,
        store: &mut Store,
        now: Now,
        half: Half,
        end: &EndRequest<'_>,
        answers: bool,
    ) -> EndOutcome {
        let seq = half.seq;
        let mut noted = Noted {
            seq,
            counted: answers,
            parked: false,
        };
        if !half.entry.state.is_undecided() {
            return EndOutcome::Noted(noted);
        }
        let answer = unknown_word(end, answers).op(OpKind::Answer {
            resolution: Resolution::Unknown,
        });
        if let Err(error) = store.append_op(now.wall_ms, seq, &answer, Durability::Written) {
            if answers {
                self.not_carried_out(store, now, seq);
            }
            return EndOutcome::Refused(error.into());
        }
        if answers {
            self.counters.checks_unknown += 1;
            self.land(seq);
            noted.parked = self.park_if_over(store, now, seq);
            self.reschedule(store, now, seq, 0);
        }
        EndOutcome::Noted(noted)
    }

    /// Parks a half that was asked about often and long enough.
    fn park_if_over(&mut self, store: &mut Store, now: Now, seq: HalfSeq) -> bool {
        let Some(entry) = store.undecided_half(seq) else {
            return false;
        };
        let age = self.timeline.age_ms(now, entry.store_timestamp);
        let answered = u32::from(entry.answered);
        if entry.state != HalfState::Pending || !self.policy(store, &entry).is_over(answered, age) {
            return false;
        }
        let reason = format!("{answered} checks answered UNKNOWN in {} s", age / 1_000);
        let word = Word {
            source: Source::Policy,
            client_id: "",
            address: "",
            reason: &reason,
        };
        match store.append_op(
            now.wall_ms,
            seq,
            &word.op(OpKind::Park),
            Durability::Written,
        ) {
            Ok(_) => {
                self.counters.parked += 1;
                self.notice(Notice::Parked {
                    seq: seq.0,
                    answered,
                });
                true
            }
            Err(error) => {
                self.notice(Notice::NotRecorded {
                    seq: seq.0,
                    error: error.to_string(),
                });
                false
            }
        }
    }
}

/// A decision counts as a check's also if it came late.
fn decision_word<'a>(end: &EndRequest<'a>) -> Word<'a> {
    let source = if end.from_check {
        Source::Check
    } else {
        Source::Producer
    };
    word_of(end, source, end.remark)
}

/// An UNKNOWN counts only as the answer that was awaited; the store counts those whose source is a check.
fn unknown_word<'a>(end: &EndRequest<'a>, answers: bool) -> Word<'a> {
    match (answers, end.from_check) {
        (true, _) => word_of(end, Source::Check, end.remark),
        (false, true) if end.remark.is_empty() => word_of(end, Source::Producer, "not awaited"),
        (false, _) => word_of(end, Source::Producer, end.remark),
    }
}

fn word_of<'a>(end: &EndRequest<'a>, source: Source, reason: &'a str) -> Word<'a> {
    Word {
        source,
        client_id: end.client_id,
        address: end.address,
        reason,
    }
}

/// Finds the half and makes sure that it is the one that is meant. The topic of the request is not looked at.
fn verify(store: &Store, end: &EndRequest<'_>) -> Result<Half, EndRefusal> {
    let half = find(store, end)?;
    if store.name(half.entry.group) != end.group {
        return Err(EndRefusal::GroupWrong);
    }
    if u64::try_from(end.half_offset) != Ok(half.seq.0) {
        return Err(EndRefusal::HalfOffsetWrong);
    }
    if !names_transaction(end, &half.entry) {
        return Err(EndRefusal::TransactionIdWrong);
    }
    Ok(half)
}

/// The half message that begins at the request's offset. If the request also has the right half offset, as it
/// nearly always has, that finds it without a look into the log.
fn find(store: &Store, end: &EndRequest<'_>) -> Result<Half, EndRefusal> {
    let handle = u64::try_from(end.commit_log_offset).map_err(|_| EndRefusal::NotFound)?;
    if let Some(seq) = u64::try_from(end.half_offset).ok().map(HalfSeq)
        && let Some(entry) = store.undecided_half(seq)
        && entry.handle.0 == handle
    {
        return Ok(Half { seq, entry });
    }
    match store.half_at(PhysicalOffset(handle))? {
        HalfLookup::Half(seq, entry) => Ok(Half { seq, entry }),
        HalfLookup::None => Err(EndRefusal::NotFound),
    }
}

/// Whether the request's transaction id is the half's `UNIQ_KEY`; without one, whether its message id is that or
/// the id made of the offset. Only hashes are compared: whoever errs is found out without reading the record.
fn names_transaction(end: &EndRequest<'_>, entry: &HalfEntry) -> bool {
    let is_unique = |id: &str| key_hash(id) == entry.unique_hash;
    if !end.transaction_id.is_empty() {
        return is_unique(end.transaction_id);
    }
    let names_offset = || {
        decode_offset_message_id(end.message_id)
            .is_ok_and(|(_, offset)| offset == end.commit_log_offset)
    };
    end.message_id.is_empty() || is_unique(end.message_id) || names_offset()
}
