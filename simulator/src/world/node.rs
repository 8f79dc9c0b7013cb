//! The broker's process: store and coordinator, coupled as the log thread couples them.

use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_coordinator::{CheckRequest, Coordinator, Now};
use escrow_store::{Arrival, CheckpointJob, Error, Preallocator, Settling, Store, Upkeep, Waiting};

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
