//! What operators see of halfs: one of them, or a page of those that a filter lets through.

use std::collections::{BTreeMap, BTreeSet};

use escrow_store::{HalfEntry, HalfSeq, HalfState, PhysicalOffset, Store};

use crate::asked::Asked;
use crate::clock::Now;
use crate::coordinator::Coordinator;
use crate::decide::WriteQueues;
use crate::flight::{Flight, Stage};
use crate::policy::Policy;

/// What a half waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// It is decided.
    Nothing,
    /// Its next check is not due yet.
    NotDue,
    /// An answer to the check that is in flight.
    Answer(Asked),
    /// Another instance is asked in a moment, for this one was silent.
    AnotherInstance(Asked),
    /// Its check is due, and nobody of its group is connected since then (wall time in ms).
    NobodyToAsk {
        /// Since when.
        since_ms: i64,
    },
    /// Its check is due and waits for its turn: so many go out a second, so many to one connection.
    Turn,
    /// Damage in the log may hide what became of it, so only a person or its producer can tell.
    LogDamaged,
}

impl Waits {
    /// The reason in a few words.
    pub fn reason(&self) -> &'static str {
        match self {
            Waits::Nothing => "decided",
            Waits::NotDue => "next check not due",
            Waits::Answer(_) => "check in flight",
            Waits::AnotherInstance(_) => "no answer, another instance is asked",
            Waits::NobodyToAsk { .. } => "nobody to ask",
            Waits::Turn => "waits for its turn",
            Waits::LogDamaged => "log damaged",
        }
    }
}

/// A half as operators see it. Its keys and its history of answers are in the store:
/// [`escrow_store::Reader`] reads them without holding up the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalfView {
    /// Its half offset, which names it everywhere.
    pub seq: HalfSeq,
    /// Its original place in the log.
    pub handle: PhysicalOffset,
    /// Where it stands.
    pub state: HalfState,
    /// Its real topic.
    pub topic: String,
    /// Its real queue.
    pub queue_id: i32,
    /// Its producer group.
    pub group: String,
    /// Who sent it: a client id, or the address of a connection that had not given one.
    pub sender: String,
    /// Bytes of its record.
    pub size: u32,
    /// When the broker stored it, wall time in ms.
    pub store_timestamp: i64,
    /// How long ago that is.
    pub age_ms: u64,
    /// Checks answered UNKNOWN.
    pub answered: u32,
    /// Rounds since the last answer in which nobody answered.
    pub silent: u32,
    /// What it waits for.
    pub waits: Waits,
    /// Its topic does not exist, so a COMMIT is refused.
    pub topic_missing: bool,
    /// Wall time in ms of its next check, if one is set.
    pub next_check_ms: Option<i64>,
    /// Who was asked last, if that was not long ago.
    pub last_asked: Option<Asked>,
    /// The rules that hold for it.
    pub policy: Policy,
}

/// Which halfs to list. Everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this producer group.
    pub group: Option<String>,
    /// Pending, or parked.
    pub state: Option<HalfState>,
    /// Stored at least so long ago.
    pub age_min_ms: Option<u64>,
    /// Stored at most so long ago.
    pub age_max_ms: Option<u64>,
    /// With this `UNIQ_KEY`.
    pub unique_key: Option<String>,
}

/// How much one call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Halfs to give at most.
    pub rows_max: usize,
    /// Halfs to look at at most.
    pub scan_max: usize,
}

/// A page of undecided halfs, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The halfs.
    pub rows: Vec<HalfView>,
    /// Where to go on; `None` at the end. A page may be empty and not the last: its scan was used up.
    pub next: Option<HalfSeq>,
    /// Halfs looked at.
    pub scanned: usize,
}

/// The timer of a half.
#[derive(Debug, Clone, Copy)]
struct Timer {
    due_ms: u64,
    silent: u8,
}

/// Some halfs, to be recognised quickly among millions.
struct Wanted {
    seqs: BTreeSet<HalfSeq>,
    /// A bit for each of their remainders, so that nearly all others are turned away by one look.
    remainders: [u64; 64],
}

impl Wanted {
    fn new(seqs: impl Iterator<Item = HalfSeq>) -> Self {
        let mut wanted = Wanted {
            seqs: seqs.collect(),
            remainders: [0; 64],
        };
        for seq in &wanted.seqs {
            let (word, bit) = Self::remainder(*seq);
            if let Some(word) = wanted.remainders.get_mut(word) {
                *word |= bit;
            }
        }
        wanted
    }

    fn remainder(seq: HalfSeq) -> (usize, u64) {
        let [low, high, ..] = seq.0.to_le_bytes();
        (usize::from(high & 63), 1 << (low & 63))
    }

    fn has(&self, seq: HalfSeq) -> bool {
        let (word, bit) = Self::remainder(seq);
        self.remainders
            .get(word)
            .is_some_and(|word| word & bit != 0)
            && self.seqs.contains(&seq)
    }
}

impl Coordinator {
    /// One half, decided or not; `None` if no such half is kept.
    pub fn view(
        &self,
        store: &Store,
        now: Now,
        seq: HalfSeq,
        write_queues: WriteQueues<'_>,
    ) -> Option<HalfView> {
        let entry = store.half(seq)?;
        let timers = self.timers_of(store, &[(seq, entry)]);
        Some(self.view_of(store, now, seq, &entry, &timers, write_queues))
    }

    /// Undecided halfs from `cursor` on that the filter lets through.
    pub fn list(
        &self,
        store: &Store,
        now: Now,
        filter: &Filter,
        cursor: HalfSeq,
        budget: Budget,
        write_queues: WriteQueues<'_>,
    ) -> Page {
        let mut page = Page::default();
        let Some(filter) = Compiled::new(store, filter) else {
            return page;
        };
        let mut found = Vec::new();
        for (seq, entry) in store.undecided_from(cursor) {
            if page.scanned >= budget.scan_max || found.len() >= budget.rows_max {
                page.next = Some(seq);
                break;
            }
            page.scanned += 1;
            if filter.lets_through(&entry, self.timeline.age_ms(now, entry.store_timestamp)) {
                found.push((seq, entry));
            }
        }
        let timers = self.timers_of(store, &found);
        let view = |(seq, entry): &(HalfSeq, HalfEntry)| {
            self.view_of(store, now, *seq, entry, &timers, write_queues)
        };
        page.rows = found.iter().map(view).collect();
        page
    }

    /// The timers of some halfs. They are not indexed by half, so this looks through all of them, once for a
    /// whole page: some 20 ms for ten million.
    fn timers_of(&self, store: &Store, halfs: &[(HalfSeq, HalfEntry)]) -> BTreeMap<HalfSeq, Timer> {
        let undecided = halfs.iter().filter(|(_, entry)| entry.state.is_undecided());
        let wanted = Wanted::new(undecided.map(|(seq, _)| *seq));
        let mut timers = BTreeMap::new();
        if wanted.seqs.is_empty() {
            return timers;
        }
        self.schedule.for_each(|due_ms, tag| {
            let seq = tag.seq();
            if !wanted.has(seq) {
                return;
            }
            let entry = store.undecided_half(seq);
            if entry.is_some_and(|entry| tag.is_current(entry.answered.into())) {
                let timer = Timer {
                    due_ms,
                    silent: tag.silent(),
                };
                let earliest = timers.entry(seq).or_insert(timer);
                if due_ms < earliest.due_ms {
                    *earliest = timer;
                }
            }
        });
        timers
    }

    fn view_of(
        &self,
        store: &Store,
        now: Now,
        seq: HalfSeq,
        entry: &HalfEntry,
        timers: &BTreeMap<HalfSeq, Timer>,
        write_queues: WriteQueues<'_>,
    ) -> HalfView {
        let timer = timers.get(&seq);
        let flight = self.flights.get(seq);
        let waits = self.waits(store, seq, entry, flight);
        let next_check_ms = match (&waits, timer) {
            (Waits::NotDue, Some(timer)) => Some(now.wall_at(timer.due_ms)),
            _ => None,
        };
        let silent = flight.map(|flight| flight.tag.silent());
        let topic = store.name(entry.topic).to_owned();
        HalfView {
            seq,
            handle: entry.handle,
            state: entry.state,
            topic_missing: write_queues(&topic).is_none_or(|queues| queues == 0),
            topic,
            queue_id: entry.queue_id,
            group: store.name(entry.group).to_owned(),
            sender: store.name(entry.client).to_owned(),
            size: entry.size,
            store_timestamp: entry.store_timestamp,
            age_ms: self.timeline.age_ms(now, entry.store_timestamp),
            answered: entry.answered.into(),
            silent: silent
                .or(timer.map(|timer| timer.silent))
                .unwrap_or(0)
                .into(),
            waits,
            next_check_ms,
            last_asked: self.asked.last(seq).cloned(),
            policy: self.policy(store, entry),
        }
    }

    fn waits(
        &self,
        store: &Store,
        seq: HalfSeq,
        entry: &HalfEntry,
        flight: Option<&Flight>,
    ) -> Waits {
        if !entry.state.is_undecided() {
            return Waits::Nothing;
        }
        if let Some(flight) = flight {
            let asked = self.asked_in(flight);
            return match flight.stage {
                Stage::Asked => Waits::Answer(asked),
                Stage::Pausing | Stage::Retrying => Waits::AnotherInstance(asked),
            };
        }
        let group = store.name(entry.group);
        if self.ready.holds(group, seq) {
            return match self.ready.nobody_since(group) {
                Some(since_ms) => Waits::NobodyToAsk { since_ms },
                None => Waits::Turn,
            };
        }
        if entry.is_log_damaged() {
            return Waits::LogDamaged;
        }
        Waits::NotDue
    }

    fn asked_in(&self, flight: &Flight) -> Asked {
        let (client_id, address) = match self.members.describe(flight.connection) {
            Some((client_id, address)) => (client_id.to_string(), address.to_string()),
            None => (String::new(), String::new()),
        };
        Asked {
            client_id,
            address,
            at_ms: flight.asked_ms,
        }
    }
}

/// A filter in the store's own terms.
struct Compiled {
    topic: Option<escrow_store::NameId>,
    group: Option<escrow_store::NameId>,
    state: Option<HalfState>,
    age_min_ms: u64,
    age_max_ms: u64,
    unique_hash: Option<u64>,
}

impl Compiled {
    /// `None` if it names something that the store has never heard of, so that nothing can be let through.
    fn new(store: &Store, filter: &Filter) -> Option<Self> {
        let id = |name: &Option<String>| match name {
            Some(name) => store.name_id(name).map(Some),
            None => Some(None),
        };
        Some(Compiled {
            topic: id(&filter.topic)?,
            group: id(&filter.group)?,
            state: filter.state,
            age_min_ms: filter.age_min_ms.unwrap_or(0),
            age_max_ms: filter.age_max_ms.unwrap_or(u64::MAX),
            unique_hash: filter.unique_key.as_deref().map(escrow_store::key_hash),
        })
    }

    fn lets_through(&self, entry: &HalfEntry, age_ms: u64) -> bool {
        self.topic.is_none_or(|topic| topic == entry.topic)
            && self.group.is_none_or(|group| group == entry.group)
            && self.state.is_none_or(|state| state == entry.state)
            && self
                .unique_hash
                .is_none_or(|hash| hash == entry.unique_hash)
            && (self.age_min_ms..=self.age_max_ms).contains(&age_ms)
    }
}
