//! The one place where a half is decided, whoever asks for it: the first durable decision wins.

use escrow_protocol::transaction::Resolution;
use escrow_store::{
    Durability, HalfEntry, HalfLookup, HalfSeq, HalfState, Op, OpKind, OpRecordKind,
    PhysicalOffset, QueueOffset, Source, Store,
};

use crate::clock::{Now, utc};
use crate::coordinator::Coordinator;
use crate::ready::Turn;
use crate::schedule::Tag;

/// What became of a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is delivered.
    Commit,
    /// It is never delivered.
    Rollback,
}

impl Decision {
    /// The decision's name as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Commit => "committed",
            Decision::Rollback => "rolled back",
        }
    }
}

/// The write queues of a topic, `None` if it does not exist; what the broker knows and we ask.
pub type WriteQueues<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// A person who decides.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// Who it is.
    pub name: &'a str,
    /// The `ip:port` of the request.
    pub address: &'a str,
    /// Why; kept with what they did.
    pub reason: &'a str,
}

impl<'a> Actor<'a> {
    fn word(self) -> Word<'a> {
        Word {
            source: Source::Operator,
            client_id: self.name,
            address: self.address,
            reason: self.reason,
        }
    }
}

/// A half with what is known of it at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) seq: HalfSeq,
    pub(crate) entry: HalfEntry,
}

/// Where a committed half was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its topic.
    pub topic: String,
    /// Its queue, after a queue count that shrank.
    pub queue_id: i32,
    /// Its place there.
    pub queue_offset: QueueOffset,
}

/// A decision that is taken, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The half.
    pub seq: HalfSeq,
    /// What became of it.
    pub decision: Decision,
    /// Taken before; nothing was written now.
    pub repeated: bool,
    /// Where it was published, if that was now.
    pub published: Option<Published>,
    /// Acknowledge it when the log has met the flush policy up to here.
    pub durable_at: PhysicalOffset,
}

/// The decision that came first, told to whoever wants the opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstDecision {
    /// What became of the half.
    pub decision: Decision,
    /// Wall time in milliseconds; `None` if the record that says so cannot be read.
    pub at_ms: Option<i64>,
    /// On whose word.
    pub source: Option<Source>,
    /// Their client id or name.
    pub client_id: String,
    /// Tell of it when the log has met the flush policy up to here: before that, a crash may still undo it.
    pub durable_at: PhysicalOffset,
}

impl std::fmt::Display for FirstDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.decision.name())?;
        if let Some(at) = self.at_ms {
            write!(f, " at {}", utc(at))?;
        }
        if let Some(source) = self.source {
            write!(f, " by {}", source_name(source))?;
        }
        if !self.client_id.is_empty() {
            write!(f, " {}", self.client_id)?;
        }
        Ok(())
    }
}

/// A source's name as people read it.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Producer => "producer",
        Source::Check => "check",
        Source::Operator => "operator",
        Source::Policy => "policy",
    }
}

/// Why a decision is not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecideRefused {
    /// No such half is kept.
    #[error("no half message has this number, or it is gone")]
    NotFound,
    /// An operator must say why.
    #[error("a decision by hand needs a reason")]
    NoReason,
    /// The opposite was decided; this attempt is kept as evidence.
    #[error("already {0}")]
    Opposite(FirstDecision),
    /// The topic does not exist, so there is nowhere to publish. The half stays undecided.
    #[error("topic {0} is missing: create it, the next check commits the message")]
    TopicMissing(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
}

fn first_decision(store: &Store, half: Half, decision: Decision) -> FirstDecision {
    let kind = match decision {
        Decision::Commit => OpRecordKind::Commit,
        Decision::Rollback => OpRecordKind::Rollback,
    };
    let history = store.op_history(half.seq).unwrap_or_default();
    let op = history.into_iter().find(|op| op.kind == kind);
    FirstDecision {
        decision,
        at_ms: op.as_ref().map(|op| op.store_timestamp),
        source: op.as_ref().map(|op| op.source),
        client_id: op.map(|op| op.client_id).unwrap_or_default(),
        durable_at: PhysicalOffset(half.entry.last_op.0 + 1),
    }
}

/// On whose word something is written about a half.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) source: Source,
    pub(crate) client_id: &'a str,
    pub(crate) address: &'a str,
    pub(crate) reason: &'a str,
}

impl<'a> Word<'a> {
    pub(crate) fn op(self, kind: OpKind) -> Op<'a> {
        Op {
            kind,
            source: self.source,
            client_id: self.client_id,
            address: self.address,
            reason: self.reason,
        }
    }
}

impl Coordinator {
    /// Decides a half by hand, pending or parked.
    ///
    /// # Errors
    /// See [`DecideRefused`].
    pub fn decide(
        &mut self,
        store: &mut Store,
        now: Now,
        seq: HalfSeq,
        decision: Decision,
        operator: Actor<'_>,
        write_queues: WriteQueues<'_>,
    ) -> Result<Decided, DecideRefused> {
        self.observe(now);
        if operator.reason.trim().is_empty() {
            return Err(DecideRefused::NoReason);
        }
        let entry = store.kept_half(seq)?.ok_or(DecideRefused::NotFound)?;
        let half = Half { seq, entry };
        self.settle(store, now, half, decision, operator.word(), write_queues)
    }

    /// Takes a decision, if none was taken and it can be carried out. Every decision comes through here.
    pub(crate) fn settle(
        &mut self,
        store: &mut Store,
        now: Now,
        half: Half,
        decision: Decision,
        word: Word<'_>,
        write_queues: WriteQueues<'_>,
    ) -> Result<Decided, DecideRefused> {
        let taken = match half.entry.state {
            HalfState::Pending | HalfState::Parked => {
                let kind = self.op_kind(store, &half.entry, decision, write_queues)?;
                return self.take(store, now, half, kind, word);
            }
            HalfState::Committed => Decision::Commit,
            HalfState::RolledBack => Decision::Rollback,
        };
        if taken != decision {
            return Err(self.contradict(store, now, half, taken, word));
        }
        self.counters.repeated += 1;
        Ok(Decided {
            seq: half.seq,
            decision,
            repeated: true,
            published: None,
            durable_at: PhysicalOffset(half.entry.last_op.0 + 1),
        })
    }

    /// Keeps an attempt to undo a decision as evidence and says what came first.
    fn contradict(
        &mut self,
        store: &mut Store,
        now: Now,
        half: Half,
        taken: Decision,
        word: Word<'_>,
    ) -> DecideRefused {
        self.counters.conflicts += 1;
        let first = first_decision(store, half, taken);
        let attempted = match taken {
            Decision::Commit => Resolution::Rollback,
            Decision::Rollback => Resolution::Commit,
        };
        let evidence = word.op(OpKind::Conflict { attempted });
        match store.append_op(now.wall_ms, half.seq, &evidence, Durability::Written) {
            Ok(_) => DecideRefused::Opposite(first),
            Err(error) => DecideRefused::Store(error),
        }
    }

    fn op_kind(
        &mut self,
        store: &Store,
        entry: &HalfEntry,
        decision: Decision,
        write_queues: WriteQueues<'_>,
    ) -> Result<OpKind, DecideRefused> {
        Ok(match decision {
            Decision::Commit => OpKind::Commit {
                queue_id: self.target(store, entry, write_queues)?,
            },
            Decision::Rollback => OpKind::Rollback,
        })
    }

    fn take(
        &mut self,
        store: &mut Store,
        now: Now,
        half: Half,
        kind: OpKind,
        word: Word<'_>,
    ) -> Result<Decided, DecideRefused> {
        let Half { seq, entry } = half;
        let placed = store.append_op(now.wall_ms, seq, &word.op(kind), self.settings.durability)?;
        self.land(seq);
        self.window.remove(seq, &entry);
        self.senders.remove(&seq);
        let (decision, published) = match kind {
            OpKind::Commit { queue_id } => {
                let topic = store.name(entry.topic).to_owned();
                let published = placed.queue_offset.map(|queue_offset| Published {
                    topic,
                    queue_id,
                    queue_offset,
                });
                (Decision::Commit, published)
            }
            _ => (Decision::Rollback, None),
        };
        self.count(now, &entry, decision, word.source);
        Ok(Decided {
            seq,
            decision,
            repeated: false,
            published,
            durable_at: placed.end,
        })
    }

    /// The queue that a half is published in: its own, or what its number comes to if the topic has fewer now.
    fn target(
        &mut self,
        store: &Store,
        entry: &HalfEntry,
        write_queues: WriteQueues<'_>,
    ) -> Result<i32, DecideRefused> {
        let topic = store.name(entry.topic);
        let queues = write_queues(topic).and_then(|queues| i32::try_from(queues).ok());
        match queues.filter(|queues| *queues > 0) {
            Some(queues) if entry.queue_id < queues => Ok(entry.queue_id),
            Some(queues) => Ok(entry.queue_id % queues),
            None => {
                self.counters.topic_missing += 1;
                Err(DecideRefused::TopicMissing(topic.to_owned()))
            }
        }
    }

    fn count(&mut self, now: Now, entry: &HalfEntry, decision: Decision, source: Source) {
        let age = self.timeline.age_ms(now, entry.store_timestamp);
        let topic = self.by_topic.entry(entry.topic).or_default();
        match decision {
            Decision::Commit => {
                self.counters.committed += 1;
                topic.committed += 1;
                topic.commit_latency.add(age);
            }
            Decision::Rollback => {
                self.counters.rolled_back += 1;
                topic.rolled_back += 1;
            }
        }
        match source {
            Source::Check => self.counters.decided_by_check += 1,
            Source::Operator => self.counters.decided_by_operator += 1,
            Source::Producer | Source::Policy => {}
        }
        self.counters.finish_latency.add(age);
    }
}

impl Coordinator {
    /// Asks about an undecided half as soon as somebody can be asked.
    pub fn check_now(&mut self, store: &Store, now: Now, seq: HalfSeq) -> CheckNow {
        self.observe(now);
        let Some(entry) = store.undecided_half(seq) else {
            return CheckNow::NotUndecided;
        };
        if self.flights.get(seq).is_some() {
            return CheckNow::InFlight;
        }
        self.make_ready(store, now, seq, &entry, Turn::Next);
        if self.members.has_group(store.name(entry.group)) {
            CheckNow::Queued
        } else {
            CheckNow::NobodyToAsk
        }
    }

    /// Takes up a parked half again, as if it had never been asked about: Apache's
    /// RESUME_CHECK_HALF_MESSAGE.
    ///
    /// # Errors
    /// It is not parked, or the store refuses.
    pub fn resume(
        &mut self,
        store: &mut Store,
        now: Now,
        handle: PhysicalOffset,
        actor: Actor<'_>,
    ) -> Result<Resumed, ResumeRefused> {
        self.observe(now);
        let HalfLookup::Half(seq, entry) = store.half_at(handle)? else {
            return Err(ResumeRefused::NotParked);
        };
        if entry.state != HalfState::Parked {
            return Err(ResumeRefused::NotParked);
        }
        let resume = actor.word().op(OpKind::Resume);
        let placed = store.append_op(now.wall_ms, seq, &resume, self.settings.durability)?;
        self.counters.resumed += 1;
        if let Some(entry) = store.undecided_half(seq) {
            let tag = Tag::new(seq, entry.answered.into(), 0);
            if self.flights.begin_anew(tag) {
                self.make_ready(store, now, seq, &entry, Turn::Next);
            }
        }
        Ok(Resumed {
            seq,
            durable_at: placed.end,
        })
    }
}

/// What came of asking for a check at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckNow {
    /// It is the next to be asked about in its group.
    Queued,
    /// It is being asked about already.
    InFlight,
    /// Nobody of its group is connected; it is asked about when somebody is.
    NobodyToAsk,
    /// There is no such half, or it is decided.
    NotUndecided,
}

/// A half that is no longer parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The half.
    pub seq: HalfSeq,
    /// Acknowledge it when the log has met the flush policy up to here.
    pub durable_at: PhysicalOffset,
}

/// Why a half is not taken up again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResumeRefused {
    /// No parked half begins there.
    #[error("no parked half message begins at this offset")]
    NotParked,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
}
