//! One round of checks: who is due, who is asked, and what happens when nobody answers.
//!
//! ```text
//! timer ──due──> queue of the group ──turn, pace, room──> asked ──answer──> decided, or timer again
//!                   ^   waits while nobody is connected     │
//!                   └──── another instance, 2 s later <── silent for 8 s ──twice──> timer again
//! ```

use std::sync::Arc;

use escrow_store::{HalfEntry, HalfSeq, PhysicalOffset, Store};

use crate::asked::Asked;
use crate::clock::Now;
use crate::coordinator::{Coordinator, undecided};
use crate::flight::{ANOTHER_AFTER_MS, ASKED_PER_ROUND_MAX, Stage};
use crate::members::{ConnectionId, Member, Pick, Question};
use crate::policy::EXPEDITE_AFTER_CLOSE_MS;
use crate::ready::Turn;
use crate::schedule::Tag;

/// Timers taken up in one call.
const COLLECTED_MAX: usize = 2_000;
/// Checks handed out in one call, and halfs looked at for it.
const REQUESTS_MAX: usize = 256;
const LOOKED_AT_MAX: usize = 2_000;

/// A check to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// The half's sequence number, its `tranStateTableOffset`.
    pub seq: HalfSeq,
    /// Its original place in the log, its `commitLogOffset`, also if retention has carried it elsewhere.
    pub handle: PhysicalOffset,
    /// The producer group.
    pub group: Arc<str>,
    /// Who is asked.
    pub connection: ConnectionId,
    /// The number of this check, counted from 1: the value of `TRANSACTION_CHECK_TIMES`.
    pub check_times: u32,
    /// How many answered UNKNOWN so far.
    pub answered: u32,
}

impl Coordinator {
    /// Does what is due: gives up on checks that were not answered, and names the checks to send now.
    pub fn due(&mut self, store: &mut Store, now: Now) -> Vec<CheckRequest> {
        self.observe(now);
        self.pass_deadlines(store, now);
        self.sweep(store, now);
        self.collect_due(store, now);
        self.compact_queues(store);
        self.dispatch(store, now)
    }

    /// A producer is connected for a group, or its heartbeat says more than was known.
    pub fn joined(&mut self, now: Now, member: Member<'_>) {
        self.observe(now);
        if self.members.join(member) {
            self.ready.wake(member.group);
            self.sweeps.somebody_joined(member.group);
        }
    }

    /// A connection is closed.
    pub fn left(&mut self, now: Now, connection: ConnectionId) {
        self.observe(now);
        for sender in self.members.leave(connection).senders {
            self.sweeps
                .sender_left(now.mono_ms + EXPEDITE_AFTER_CLOSE_MS, sender);
        }
        // What it was asked, others are asked a second later, as they are about its other halfs.
        for tag in self.flights.take_asked_of(connection) {
            self.counters.checks_silent += 1;
            self.schedule
                .push(now.mono_ms + EXPEDITE_AFTER_CLOSE_MS, tag);
        }
        for tag in self.ready.take_backlog(connection) {
            self.schedule.push(now.mono_ms, tag);
        }
    }

    /// A connection no longer speaks for a group.
    pub fn left_group(&mut self, now: Now, group: &str, connection: ConnectionId) {
        self.observe(now);
        self.members.leave_group(group, connection);
    }

    /// A check could not be written to its connection. It was not asked, so this is not held against it.
    pub fn not_sent(&mut self, now: Now, seq: HalfSeq) {
        self.observe(now);
        let asked = self
            .flights
            .get(seq)
            .filter(|flight| flight.stage == Stage::Asked);
        if let Some(connection) = asked.map(|flight| flight.connection) {
            self.counters.checks_not_sent += 1;
            self.release(connection);
            self.flights.pause(seq, ANOTHER_AFTER_MS, now.mono_ms);
        }
    }

    /// One check less is outstanding at a connection.
    pub(crate) fn release(&mut self, connection: ConnectionId) {
        self.members.settled(connection);
        self.ready.freed(connection);
    }

    /// Ends whatever round of checks is under way for a half.
    pub(crate) fn land(&mut self, seq: HalfSeq) {
        if let Some(flight) = self.flights.remove(seq)
            && flight.stage == Stage::Asked
        {
            self.release(flight.connection);
        }
    }

    fn pass_deadlines(&mut self, store: &Store, now: Now) {
        while let Some(seq) = self.flights.pop_due(now.mono_ms) {
            let Some(flight) = self.flights.get(seq) else {
                continue;
            };
            match flight.stage {
                Stage::Asked => self.was_silent(store, now, seq),
                Stage::Pausing | Stage::Retrying => self.ask_another(store, now, seq),
            }
        }
    }

    /// The deadline of a check has passed.
    fn was_silent(&mut self, store: &Store, now: Now, seq: HalfSeq) {
        let Some(flight) = self.flights.get(seq) else {
            return;
        };
        let (connection, group) = (flight.connection, flight.group.clone());
        let has_another = flight.tried.len() < ASKED_PER_ROUND_MAX
            && self.members.has_another(&group, &flight.tried);
        self.counters.checks_silent += 1;
        self.members.was_silent(&group, connection);
        self.release(connection);
        if has_another {
            self.flights.pause(seq, ANOTHER_AFTER_MS, now.mono_ms);
        } else {
            self.end_silent_round(store, now, seq);
        }
    }

    fn ask_another(&mut self, store: &Store, now: Now, seq: HalfSeq) {
        let Some(entry) = store.undecided_half(seq) else {
            self.flights.remove(seq);
            return;
        };
        self.flights.retry(seq);
        self.make_ready(store, now, seq, &entry, Turn::Next);
    }

    /// Nobody answered: the half is due again when its backoff says, as after an answer; or at once when
    /// somebody comes, if nobody is left.
    fn end_silent_round(&mut self, store: &Store, now: Now, seq: HalfSeq) {
        let silent = self.flights.silent(seq);
        self.land(seq);
        let Some(entry) = store.undecided_half(seq) else {
            return;
        };
        if self.members.has_group(store.name(entry.group)) {
            self.reschedule(store, now, seq, silent.saturating_add(1));
        } else {
            self.make_ready(store, now, seq, &entry, Turn::InOrder);
        }
    }

    /// Sets a half's timer for the time after a round that is over now.
    pub(crate) fn reschedule(&mut self, store: &Store, now: Now, seq: HalfSeq, silent: u8) {
        if let Some(entry) = store.undecided_half(seq)
            && !entry.is_log_damaged()
        {
            let due = now
                .mono_ms
                .saturating_add(self.delay_ms(store, seq, &entry, silent));
            self.set_timer(store, due, Tag::new(seq, entry.answered.into(), silent));
        }
    }

    /// Puts a half into the queue of its group.
    pub(crate) fn make_ready(
        &mut self,
        store: &Store,
        now: Now,
        seq: HalfSeq,
        entry: &HalfEntry,
        turn: Turn,
    ) {
        let tag = Tag::new(seq, entry.answered.into(), self.flights.silent(seq));
        self.queue_up(now, store.name(entry.group), tag, turn);
    }

    fn queue_up(&mut self, now: Now, group: &str, tag: Tag, turn: Turn) {
        let somebody = self.members.has_group(group);
        self.ready.push(group, tag, turn, somebody, now.wall_ms);
    }

    fn collect_due(&mut self, store: &Store, now: Now) {
        for _ in 0..COLLECTED_MAX {
            let Some(tag) = self.schedule.pop_due(now.mono_ms) else {
                return;
            };
            if let Some(entry) = self.wants_check(store, tag) {
                self.queue_up(now, store.name(entry.group), tag, Turn::InOrder);
            }
        }
    }

    /// The half of a tag, unless it is decided, was answered since, or is being asked about.
    fn wants_check(&self, store: &Store, tag: Tag) -> Option<HalfEntry> {
        let entry = store.undecided_half(tag.seq())?;
        let is_free = self
            .flights
            .get(tag.seq())
            .is_none_or(|flight| flight.stage == Stage::Retrying);
        (tag.is_current(entry.answered.into()) && is_free).then_some(entry)
    }

    fn dispatch(&mut self, store: &Store, now: Now) -> Vec<CheckRequest> {
        let mut requests = Vec::new();
        for _ in 0..LOOKED_AT_MAX {
            if requests.len() == REQUESTS_MAX || !self.pace.is_free(now.mono_ms) {
                break;
            }
            let Some(tag) = self.next_ready() else {
                break;
            };
            requests.extend(self.ask(store, now, tag));
        }
        requests
    }

    /// The next half to ask about: first of those that waited for one connection, then of the groups in turn.
    fn next_ready(&mut self) -> Option<Tag> {
        let members = &self.members;
        let has_room = |connection| members.has_room(connection);
        let backlogged = self.ready.next_backlogged(has_room);
        backlogged.or_else(|| self.ready.next())
    }

    /// Asks about a half if there is somebody with room for it; otherwise puts it where it has to wait.
    fn ask(&mut self, store: &Store, now: Now, tag: Tag) -> Option<CheckRequest> {
        let seq = tag.seq();
        let entry = self.wants_check(store, tag)?;
        let (group, sender) = (store.name(entry.group), store.name(entry.client));
        let exact = self.senders.get(&seq).copied();
        let tried = self
            .flights
            .get(seq)
            .map_or(&[][..], |flight| &flight.tried);
        let question = Question {
            group,
            sender,
            exact,
            tried,
            // Those who declared it know also what others answer UNKNOWN to; every second time, for they need not know either.
            declared_first: entry.declares_marker() || entry.answered % 2 == 1,
        };
        match self.members.pick(question) {
            Pick::Ask(connection) => Some(self.ask_of(now, tag, &entry, &group.into(), connection)),
            Pick::Wait(connection) => {
                self.ready.push_backlog(connection, tag);
                None
            }
            Pick::Nobody if tried.is_empty() => {
                self.ready.nobody(group, tag, now.wall_ms);
                None
            }
            Pick::Nobody => {
                self.end_silent_round(store, now, seq);
                None
            }
        }
    }

    fn ask_of(
        &mut self,
        now: Now,
        tag: Tag,
        entry: &HalfEntry,
        group: &Arc<str>,
        connection: ConnectionId,
    ) -> CheckRequest {
        self.pace.spend(now.mono_ms);
        self.members.asked(connection);
        self.flights.ask(tag, group, connection, now);
        self.counters.checks_sent += 1;
        if let Some((client_id, address)) = self.members.describe(connection) {
            let asked = Asked {
                client_id: client_id.to_string(),
                address: address.to_string(),
                at_ms: now.wall_ms,
            };
            self.asked.add(tag.seq(), asked);
        }
        CheckRequest {
            seq: tag.seq(),
            handle: entry.handle,
            group: group.clone(),
            connection,
            check_times: u32::from(entry.answered) + u32::from(tag.silent()) + 1,
            answered: entry.answered.into(),
        }
    }

    /// Sets a timer, and tidies up a little among those that are there.
    pub(crate) fn set_timer(&mut self, store: &Store, due_ms: u64, tag: Tag) {
        self.schedule.push(due_ms, tag);
        self.schedule
            .tidy(undecided(store), |tag| is_current(store, tag));
    }

    fn compact_queues(&mut self, store: &Store) {
        let keep = |tag: Tag| is_current(store, tag);
        self.ready.compact_if_large(undecided(store), keep);
    }
}

/// Whether the half of a tag is undecided and was not answered since.
fn is_current(store: &Store, tag: Tag) -> bool {
    let entry = store.undecided_half(tag.seq());
    entry.is_some_and(|entry| tag.is_current(entry.answered.into()))
}
