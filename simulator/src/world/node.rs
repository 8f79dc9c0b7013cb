//! The broker's process: store and coordinator, coupled as the log thread couples them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use escrow_coordinator::{CheckRequest, Coordinator, Now};
use escrow_store::{
    Arrival, CheckpointJob, Error, Preallocator, Settling, Store, SyncDone, Upkeep, Waiting,
};

use super::traffic::{Answer, From, Request};
use crate::disk::SimDisk;

/// A process that runs.
pub(super) struct Up {
    pub(super) store: Store,
    pub(super) coordinator: Coordinator,
    pub(super) waiting: Waiting<Answer>,
    pub(super) upkeep: Upkeep,
    pub(super) preallocator: Preallocator,
    pub(super) inbox: Vec<(From, Request)>,
    pub(super) due: Vec<CheckRequest>,
    pub(super) job: Option<CheckpointJob>,
    /// The sync that is on its way, and what will have come of it.
    pub(super) syncing: Option<SyncDone>,
    /// Whether its end was told.
    pub(super) is_sync_over: bool,
    /// Rounds since it began.
    pub(super) rounds_beside: u64,
    /// Syncs that ran beside the rounds.
    pub(super) syncs: u64,
    /// Records that end there say that the log is durable up to there.
    statements: VecDeque<(u64, u64)>,
    /// How far the levels of delayed messages have come.
    levels: BTreeMap<u32, Level>,
    /// When it was started, on the simulation's clock.
    pub(super) born_ms: u64,
    /// Topics that are there, and their queues.
    pub(super) topics: BTreeMap<u64, u32>,
    /// A write or a sync has failed: nothing more is acknowledged.
    pub(super) has_failed: bool,
}

impl Up {
    pub(super) fn open(
        store: Store,
        settings: escrow_coordinator::Settings,
        born_ms: u64,
        now: Now,
    ) -> Up {
        let topics = store.meta_iter("topic/").filter_map(|(key, value)| {
            let topic = key.strip_prefix("topic/")?.parse().ok()?;
            let queues = u32::from_le_bytes(value.try_into().ok()?);
            Some((topic, queues))
        });
        Up {
            topics: topics.collect(),
            coordinator: Coordinator::open(&store, settings, now),
            waiting: Waiting::default(),
            upkeep: Upkeep::new(now.mono_ms, &store),
            preallocator: store.preallocator(),
            store,
            inbox: Vec::new(),
            due: Vec::new(),
            job: None,
            syncing: None,
            is_sync_over: false,
            rounds_beside: 0,
            syncs: 0,
            statements: VecDeque::new(),
            levels: BTreeMap::new(),
            born_ms,
            has_failed: false,
        }
    }

    /// How many queues a topic has, by its name.
    pub(super) fn write_queues(&self) -> impl Fn(&str) -> Option<u32> + use<> {
        let topics = self.topics.clone();
        move |topic| {
            topics
                .get(&topic.strip_prefix("topic-")?.parse().ok()?)
                .copied()
        }
    }

    pub(super) fn level(&mut self, level: u32) -> &mut Level {
        self.levels.entry(level).or_default()
    }

    /// A record that ends at `end` states that the log is durable up to `durable`.
    pub(super) fn states(&mut self, end: u64, durable: u64) {
        self.statements.push_back((end, durable));
    }

    /// The log is durable up to `durable`: what is stated there counts.
    pub(super) fn stated(&mut self, durable: u64, stated: &mut u64) {
        while let Some((_, said)) = self.statements.pop_front_if(|(end, _)| *end <= durable) {
            *stated = said.max(*stated);
        }
    }

    /// When something is due without any request, on the simulation's clock.
    pub(super) fn next_wake(&self) -> u64 {
        let upkeep = self.upkeep.next_due(&self.store);
        let next = self
            .coordinator
            .next_due()
            .map_or(upkeep, |due| due.min(upkeep));
        self.born_ms.saturating_add(next)
    }
}

/// One level of delayed messages, as whoever delivers them sees it.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Everything before was carried out. `None`: it was not looked yet since the process came up.
    next: Option<u64>,
    /// Where what was handed over ends.
    until: u64,
    under_way: u64,
    is_refused: bool,
}

impl Level {
    /// Where to look, unless what was handed over last is still under way.
    pub(super) fn begins(&mut self, progress: u64, min: u64) -> Option<u64> {
        if self.under_way > 0 {
            return None;
        }
        let next = self.next.unwrap_or(progress).max(min);
        self.next = Some(next);
        self.is_refused = false;
        Some(next)
    }

    pub(super) fn hands_over(&mut self) {
        self.under_way += 1;
    }

    /// All that was found is handed over.
    pub(super) fn ends_at(&mut self, until: u64) {
        self.until = until;
        self.goes_on();
    }

    /// One of them is refused: all are handed over again.
    pub(super) fn is_refused(&mut self) {
        self.is_refused = true;
    }

    pub(super) fn was_refused(&self) -> bool {
        self.is_refused
    }

    /// One of them is carried out, or refused.
    pub(super) fn is_done(&mut self) {
        self.under_way -= 1;
        self.goes_on();
    }

    fn goes_on(&mut self) {
        if self.under_way == 0 && !self.is_refused {
            self.next = Some(self.until);
        }
    }
}

/// Collects what a round shows and tells, with how durable the log really was then.
pub(super) struct Edge {
    disk: Arc<SimDisk>,
    segment_bytes: u64,
    from: u64,
    pub(super) shown: Vec<(Arrival, u64)>,
    /// `None`: it failed.
    pub(super) told: Vec<(Answer, Option<u64>)>,
}

impl Edge {
    pub(super) fn new(disk: Arc<SimDisk>, segment_bytes: u64, from: u64) -> Edge {
        Edge {
            disk,
            segment_bytes,
            from,
            shown: Vec::new(),
            told: Vec::new(),
        }
    }

    fn durable(&self) -> u64 {
        self.disk
            .look(|image| image.log_durable(self.segment_bytes, self.from))
    }
}

impl Settling<Answer> for Edge {
    fn show(&mut self, arrivals: Vec<Arrival>) {
        if !arrivals.is_empty() {
            let durable = self.durable();
            self.shown
                .extend(arrivals.into_iter().map(|arrival| (arrival, durable)));
        }
    }

    fn tell(&mut self, waiting: &mut Vec<Answer>, result: &Result<(), Error>) {
        if !waiting.is_empty() {
            let durable = result.is_ok().then(|| self.durable());
            self.told
                .extend(waiting.drain(..).map(|answer| (answer, durable)));
        }
    }
}
