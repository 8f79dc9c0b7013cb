//! What every request handler of the broker can reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use escrow_coordinator::{CheckRequest, Coordinator, Policies, Rules};
use escrow_protocol::names::SCHEDULE_TOPIC;
use escrow_store::{Durability, Reader, Store};
use tokio::sync::{mpsc, watch};

use crate::broker::StartError;
use crate::clock::Clock;
use crate::config::{FlushDiskType, Settings, TransactionFlush};
use crate::consumers::Consumers;
use crate::counters::Counters;
use crate::groups::{self, Groups};
use crate::identity::{self, DataFolder};
use crate::locks::QueueLocks;
use crate::log_thread::{FlushPolicy, LogHandle, Parts};
use crate::long_polls::LongPolls;
use crate::maintenance;
use crate::offsets::ConsumerOffsets;
use crate::producers::Producers;
use crate::remoting::heartbeat;
use crate::remoting::peer::{Connections, Peer};
use crate::tasks::Tasks;
use crate::topics::{self, Topics};
use crate::unique_key::UniqueKeys;

/// One broker's parts. Handlers get it as `&Arc<Shared>`.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    /// Where other processes reach this broker; part of every message id.
    pub(crate) store_host: SocketAddr,
    pub(crate) reader: Reader,
    pub(crate) log: LogHandle,
    pub(crate) connections: Connections,
    pub(crate) phase: Lifecycle,
    pub(crate) tasks: Tasks,
    pub(crate) settings: Settings,
    /// Made when the data folder was first used.
    pub(crate) store_id: String,
    pub(crate) flush: FlushPolicy,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Groups,
    pub(crate) consumers: Consumers,
    pub(crate) producers: Producers,
    pub(crate) offsets: ConsumerOffsets,
    pub(crate) locks: QueueLocks,
    pub(crate) long_polls: Arc<LongPolls>,
    pub(crate) counters: Counters,
    pub(crate) unique_keys: UniqueKeys,
    /// The name of the topic in which delayed messages wait, ready to be shared.
    pub(crate) schedule_topic: Arc<str>,
    turn: AtomicU32,
}

impl Shared {
    /// Brings up what lives in memory and the log thread.
    pub(crate) fn start(
        settings: Settings,
        folder: &DataFolder,
        listens: SocketAddr,
        store: Store,
        checks: mpsc::UnboundedSender<CheckRequest>,
    ) -> Result<(Shared, [JoinHandle<()>; 2]), StartError> {
        let clock = Clock::new();
        let reader = store.reader();
        let topics = Topics::open(&settings, stored(&store, topics::KEY_PREFIX));
        let topics = Arc::new(topics.map_err(StartError::Metadata)?);
        let groups = Groups::open(
            settings.auto_create_subscription_group,
            stored(&store, groups::KEY_PREFIX),
        );
        let groups = groups.map_err(StartError::Metadata)?;
        let offsets = ConsumerOffsets::open(folder.path(), |topic, queue| {
            topics.get(topic)?;
            Some(visible_end(&reader, topic, queue))
        })?;
        let flush = flush_policy(&settings);
        let coordinator = Coordinator::open(&store, coordination(&settings, flush), clock.now());
        let long_polls = Arc::new(LongPolls::default());
        let preallocator = store.preallocator();
        let (jobs, due_jobs) = std::sync::mpsc::channel();
        let (log, log_thread) = LogHandle::start(Parts {
            store,
            coordinator,
            clock,
            policy: flush,
            topics: Arc::clone(&topics),
            long_polls: Arc::clone(&long_polls),
            checks,
            jobs,
        })
        .map_err(StartError::Thread)?;
        let maintenance = maintenance::start(preallocator, due_jobs, log.clone());
        let threads = [log_thread, maintenance.map_err(StartError::Thread)?];
        let store_host = identity::advertised(listens, settings.advertised_addr);
        let shared = Shared {
            clock,
            store_host,
            reader,
            log,
            connections: Connections::new(clock),
            phase: Lifecycle::new(),
            tasks: Tasks::new(),
            flush,
            topics,
            groups,
            consumers: Consumers::default(),
            producers: Producers::default(),
            offsets,
            locks: QueueLocks::default(),
            long_polls,
            counters: Counters::default(),
            unique_keys: UniqueKeys::new(store_host.ip()),
            schedule_topic: SCHEDULE_TOPIC.into(),
            turn: AtomicU32::new(0),
            settings,
            store_id: folder.identity.store_id.clone(),
        };
        Ok((shared, threads))
    }

    /// A queue for a sender that leaves the choice to the broker: one after the other.
    pub(crate) fn any_queue(&self, queues: i32) -> i32 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let queues = u32::try_from(queues).unwrap_or(0).max(1);
        i32::try_from(turn % queues).unwrap_or(0)
    }

    /// The number of delay levels.
    pub(crate) fn delay_levels(&self) -> usize {
        self.settings.message_delay_level.0.len()
    }

    /// A connection has ended: everybody who knew it forgets it.
    pub(crate) async fn forget(self: &Arc<Self>, peer: &Peer) {
        self.connections.close(peer.connection);
        self.log.left(peer.connection);
        self.producers.closed(peer.connection);
        for change in self.consumers.closed(peer.connection) {
            heartbeat::tell(self, &change);
        }
    }
}

/// Stored metadata under a prefix: names and values.
fn stored<'a>(store: &'a Store, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    store
        .meta_iter(prefix)
        .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
}

fn visible_end(reader: &Reader, topic: &str, queue: i32) -> i64 {
    let (_, end) = reader.queue_range(topic, queue);
    i64::try_from(end.0).unwrap_or(i64::MAX)
}

fn flush_policy(settings: &Settings) -> FlushPolicy {
    let plain = match settings.flush_disk_type {
        FlushDiskType::Async => Durability::Written,
        FlushDiskType::Sync => Durability::Synced,
    };
    let transaction = match settings.transaction_flush {
        TransactionFlush::Sync => Durability::Synced,
        TransactionFlush::Follow => plain,
    };
    FlushPolicy { plain, transaction }
}

fn coordination(settings: &Settings, flush: FlushPolicy) -> escrow_coordinator::Settings {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let rules = Rules {
        first_check_ms: settings.transaction_time_out.map(ms),
        interval_ms: settings.transaction_check_interval.map(ms),
        checks_max: settings.transaction_check_max,
    };
    escrow_coordinator::Settings {
        policies: Policies {
            broker: rules,
            ..Policies::default()
        },
        durability: flush.transaction,
        checks_per_second: settings.checks_per_second,
    }
}

/// How far a broker's life has come. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Nothing more is accepted or read; what is being worked on is finished.
    Draining,
    /// All answers are in the outboxes; connections write them and close.
    Closing,
}

/// The broker's phase, and waiting for the next.
pub(crate) struct Lifecycle(watch::Sender<Phase>);

impl Lifecycle {
    pub(crate) fn new() -> Lifecycle {
        Lifecycle(watch::Sender::new(Phase::Serving))
    }

    pub(crate) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = to > *phase;
            *phase = (*phase).max(to);
            forward
        });
    }

    pub(crate) fn is(&self, at_least: Phase) -> bool {
        *self.0.borrow() >= at_least
    }

    /// Waits until the phase is `at_least` this one.
    pub(crate) async fn reached(&self, at_least: Phase) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self
            .0
            .subscribe()
            .wait_for(|phase| *phase >= at_least)
            .await;
    }
}
