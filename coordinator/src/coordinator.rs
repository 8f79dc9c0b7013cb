//! The coordinator itself: what it holds, how it comes up, and when it wants to be called.

use std::collections::VecDeque;

use escrow_store::{Durability, HalfEntry, HalfSeq, HalfState, NameId, Store};
use hashbrown::HashMap;

use crate::asked::RecentlyAsked;
use crate::clock::{Now, Timeline};
use crate::counters::{Counters, Notice, TopicTotals};
use crate::dedupe::Window;
use crate::flight::Flights;
use crate::members::{ConnectionId, Members};
use crate::pace::Pace;
use crate::policy::{self, PARKED_INTERVAL_MS, Policies, Policy};
use crate::ready::{Ready, WaitingGroup};
use crate::schedule::{Schedule, Tag};
use crate::sweep::Sweeps;

/// Checks that were due while the broker was down are spread over this time at most.
const START_SPREAD_MS: u64 = 30_000;
/// Notices kept for a caller that does not fetch them.
const NOTICES_MAX: usize = 1_000;

/// What a coordinator is told once and for all.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When halfs are checked and parked.
    pub policies: Policies,
    /// What halfs and decisions wait for before they may be acknowledged.
    pub durability: Durability,
    /// Checks a second, over all groups.
    pub checks_per_second: u32,
}

impl Default for Settings {
    /// The defaults of [`crate::policy`], everything synced, 1000 checks a second.
    fn default() -> Self {
        Settings {
            policies: Policies::default(),
            durability: Durability::Synced,
            checks_per_second: 1_000,
        }
    }
}

/// Every decision about half messages.
///
/// It holds no half: what is known of each is in the store's half queue. Its own are timers (at most 32 bytes
/// per pending half), who is connected, and the few checks that are in flight.
#[derive(Debug)]
pub struct Coordinator {
    pub(crate) settings: Settings,
    pub(crate) timeline: Timeline,
    pub(crate) schedule: Schedule,
    pub(crate) ready: Ready,
    pub(crate) flights: Flights,
    pub(crate) members: Members,
    pub(crate) sweeps: Sweeps,
    pub(crate) window: Window,
    pub(crate) pace: Pace,
    /// The sending connection, where it is not the one that would be presumed from the sender's name.
    pub(crate) senders: HashMap<HalfSeq, ConnectionId>,
    pub(crate) asked: RecentlyAsked,
    pub(crate) counters: Counters,
    pub(crate) by_topic: HashMap<NameId, TopicTotals>,
    notices: VecDeque<Notice>,
}

impl Coordinator {
    /// Takes up what the store holds: a timer for each undecided half, and the window of recent sends.
    pub fn open(store: &Store, settings: Settings, now: Now) -> Coordinator {
        let mut coordinator = Coordinator {
            pace: Pace::per_second(settings.checks_per_second),
            settings,
            timeline: Timeline::start(now),
            schedule: Schedule::default(),
            ready: Ready::default(),
            flights: Flights::default(),
            members: Members::default(),
            sweeps: Sweeps::default(),
            window: Window::default(),
            senders: HashMap::new(),
            asked: RecentlyAsked::default(),
            counters: Counters::default(),
            by_topic: HashMap::new(),
            notices: VecDeque::new(),
        };
        coordinator.schedule = coordinator.timers_at_start(store, now);
        coordinator.window = Window::rebuild(store, now.wall_ms);
        coordinator
    }

    /// What remains of each half's time, between nothing and the check's own delay: a clock that was set while
    /// the broker was down can make a check early or late by no more than that.
    fn timers_at_start(&self, store: &Store, now: Now) -> Schedule {
        let checked = || {
            store
                .undecided()
                .filter(|(_, entry)| !entry.is_log_damaged())
        };
        let remaining =
            |(seq, entry)| (seq, entry, self.remaining_at_start(store, seq, &entry, now));
        let overdue = checked()
            .map(remaining)
            .filter(|(_, _, ms)| *ms == 0)
            .count();
        let mut schedule = Schedule::default();
        for (seq, entry, remaining) in checked().map(remaining) {
            let due = match remaining {
                0 => self.spread_at_start(store, seq, &entry, overdue),
                _ => remaining,
            };
            let tag = Tag::new(seq, entry.answered.into(), 0);
            schedule.push(now.mono_ms.saturating_add(due), tag);
        }
        schedule
    }

    fn remaining_at_start(&self, store: &Store, seq: HalfSeq, entry: &HalfEntry, now: Now) -> u64 {
        let delay = self.delay_ms(store, seq, entry, 0);
        if entry.state == HalfState::Parked {
            // Nothing in memory says when it was parked; whoever joins is asked about it anyway.
            return policy::mix(seq.0) % delay;
        }
        let policy = self.policy(store, entry);
        let elapsed = policy.elapsed_ms(seq.0, entry.answered.into());
        let due = entry.store_timestamp.saturating_add_unsigned(elapsed);
        u64::try_from(due.saturating_sub(now.wall_ms))
            .unwrap_or(0)
            .min(delay)
    }

    /// A place for an overdue half in the first seconds: as many as need be, and never longer than the check's
    /// own delay.
    fn spread_at_start(
        &self,
        store: &Store,
        seq: HalfSeq,
        entry: &HalfEntry,
        overdue: usize,
    ) -> u64 {
        let per_check = (1_000 / u64::from(self.settings.checks_per_second.max(1))).max(1);
        let needed = u64::try_from(overdue)
            .unwrap_or(u64::MAX)
            .saturating_mul(per_check);
        let delay = self.delay_ms(store, seq, entry, 0);
        policy::mix(seq.0) % START_SPREAD_MS.min(delay).min(needed).max(1)
    }

    /// The rules that hold for a half.
    pub(crate) fn policy(&self, store: &Store, entry: &HalfEntry) -> Policy {
        let (group, topic) = (store.name(entry.group), store.name(entry.topic));
        self.settings
            .policies
            .resolve(group, topic, entry.immunity_ms())
    }

    /// From what made the half wait to its next check, after `silent` rounds without an answer.
    pub(crate) fn delay_ms(
        &self,
        store: &Store,
        seq: HalfSeq,
        entry: &HalfEntry,
        silent: u8,
    ) -> u64 {
        if entry.state == HalfState::Parked {
            return PARKED_INTERVAL_MS;
        }
        let attempt = u32::from(entry.answered) + u32::from(silent);
        self.policy(store, entry).delay_ms(seq.0, attempt)
    }

    /// When [`Coordinator::due`] wants to be called next, on the monotonic clock; a time in the past means at
    /// once. Ask again after every other call.
    pub fn next_due(&self) -> Option<u64> {
        let ready = self.ready.has_work().then(|| self.pace.next_ms());
        let times = [
            ready,
            self.flights.next_due(),
            self.schedule.next_due(),
            self.sweeps.next_due(),
        ];
        times.into_iter().flatten().min()
    }

    /// Totals since the coordinator was opened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Decisions by topic, in the order of their names.
    pub fn totals_by_topic(&self, store: &Store) -> Vec<(String, TopicTotals)> {
        let named = self.by_topic.iter();
        let mut totals: Vec<_> = named
            .map(|(topic, totals)| (store.name(*topic).to_owned(), *totals))
            .collect();
        totals.sort_by(|a, b| a.0.cmp(&b.0));
        totals
    }

    /// Producer groups with due halfs and nobody to ask about them.
    pub fn waiting_groups(&self) -> Vec<WaitingGroup> {
        self.ready.waiting_groups()
    }

    /// Checks for which an answer is awaited, or another instance is about to be asked.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What happened that a person may want to read, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.drain(..).collect()
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        if self.notices.len() == NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    pub(crate) fn observe(&mut self, now: Now) {
        if let Some(by_ms) = self.timeline.observe(now) {
            self.counters.clock_steps += 1;
            self.notice(Notice::ClockStepped { by_ms });
        }
    }
}

/// How many halfs are undecided.
pub(crate) fn undecided(store: &Store) -> usize {
    let (pending, parked) = store.undecided_counts();
    usize::try_from(pending + parked).unwrap_or(usize::MAX)
}
