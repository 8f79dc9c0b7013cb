//! A coordinator on a store in memory, with a clock that only moves when told.
use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_coordinator::{
    Actor, Capability, CheckRequest, ConnectionId, Coordinator, DecideRefused, Decided, Decision,
    EndOutcome, EndRefusal, EndRequest, HalfAck, HalfRefused, HalfRequest, HalfView, Member, Now,
    Policies, Rules, Settings, Watermark,
};
use escrow_protocol::message::Message;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::{Loss, MemoryDisk};
use escrow_store::{HalfSeq, Store};

pub(crate) const START_WALL: i64 = 1_700_000_000_000;

/// A check that went out, with the time since the world's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) seq: u64,
    pub(crate) connection: u64,
    pub(crate) check_times: u32,
}

pub(crate) struct World {
    disk: Arc<MemoryDisk>,
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) coordinator: Coordinator,
    pub(crate) now: Now,
    pub(crate) topics: BTreeMap<String, u32>,
    /// Nothing is synced but by [`World::sync`].
    pub(crate) manual_sync: bool,
    keys: BTreeMap<u64, String>,
}

pub(crate) fn apache(first_check_ms: u64, interval_ms: u64, checks_max: u32) -> Settings {
    let broker = Rules {
        first_check_ms: Some(first_check_ms),
        interval_ms: Some(interval_ms),
        checks_max: Some(checks_max),
    };
    Settings {
        policies: Policies {
            broker,
            ..Policies::default()
        },
        ..Settings::default()
    }
}

/// A half of group `g` to topic `t`, queue 2.
pub(crate) fn half<'a>(properties: &'a str, connection: u64) -> HalfRequest<'a> {
    HalfRequest {
        message: Message {
            queue_id: 2,
            flag: 7,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: 4,
            born_timestamp: 1,
            born_host: "127.0.0.1:7".parse().expect("an address"),
            store_timestamp: 0,
            store_host: "127.0.0.1:10911".parse().expect("an address"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"body",
            topic: "t",
            properties,
        },
        producer_group: "g",
        connection: ConnectionId(connection),
        client_id: CLIENTS[usize::try_from(connection).expect("small") % CLIENTS.len()],
        address: ADDRESSES[usize::try_from(connection).expect("small") % ADDRESSES.len()],
    }
}

/// Client ids and addresses by the last digit of the connection's number: 11 is 1 come back.
pub(crate) const CLIENTS: [&str; 10] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"];
pub(crate) const ADDRESSES: [&str; 10] = [
    "10.0.0.0:1",
    "10.0.0.1:1",
    "10.0.0.2:1",
    "10.0.0.3:1",
    "10.0.0.4:1",
    "10.0.0.5:1",
    "10.0.0.6:1",
    "10.0.0.7:1",
    "10.0.0.8:1",
    "10.0.0.9:1",
];

pub(crate) fn properties(key: &str, more: &str) -> String {
    format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}g\u{2}UNIQ_KEY\u{1}{key}\u{2}{more}")
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> World {
        let disk = Arc::new(MemoryDisk::new());
        let now = Now {
            wall_ms: START_WALL,
            mono_ms: 0,
        };
        let store = open(&disk, now);
        let coordinator = Coordinator::open(&store, settings.clone(), now);
        World {
            disk,
            settings,
            store,
            coordinator,
            now,
            topics: BTreeMap::from([("t".to_owned(), 4)]),
            manual_sync: false,
            keys: BTreeMap::new(),
        }
    }

    /// The next read of the disk fails, once.
    pub(crate) fn fail_read(&self) {
        self.disk.fail_read_after(0);
    }

    fn sync_unless_manual(&mut self) {
        if !self.manual_sync {
            self.sync();
        }
    }

    /// Makes what was appended durable.
    pub(crate) fn sync(&mut self) {
        self.store.write().expect("the disk works");
        self.store.sync().expect("the disk works");
        self.store.publish();
    }

    /// Loses what is not durable, and comes up again after `down_ms` with a new monotonic clock.
    pub(crate) fn crash(&mut self, down_ms: i64) {
        self.come_up(self.disk.crash(Loss::All), down_ms);
    }

    /// Loses some of what is not durable, as the seed says.
    pub(crate) fn crash_torn(&mut self, seed: u64, down_ms: i64) {
        self.come_up(self.disk.crash(Loss::Torn(seed)), down_ms);
    }

    /// Loses only what was not written.
    pub(crate) fn kill(&mut self, down_ms: i64) {
        self.come_up(self.disk.kill(), down_ms);
    }

    /// Damages the place in the log where `text` is, and comes up again.
    pub(crate) fn damage(&mut self, text: &[u8]) {
        let disk = self.disk.crash(Loss::All);
        let is_it = |bytes: &[u8]| bytes.windows(text.len()).position(|part| part == text);
        let found = disk.names().into_iter().find_map(|name| {
            let bytes = disk.bytes(&name)?;
            Some((name, is_it(&bytes)?, bytes))
        });
        let (name, at, mut bytes) = found.expect("written somewhere");
        bytes[at] ^= 1;
        disk.set_bytes(&name, bytes);
        self.come_up(disk, 1_000);
    }

    fn come_up(&mut self, disk: MemoryDisk, down_ms: i64) {
        self.disk = Arc::new(disk);
        self.now = Now {
            wall_ms: self.now.wall_ms + down_ms,
            mono_ms: 0,
        };
        self.store = open(&self.disk, self.now);
        self.coordinator = Coordinator::open(&self.store, self.settings.clone(), self.now);
    }

    /// Stores a half from a connection under a key.
    pub(crate) fn half(&mut self, connection: u64, key: &str) -> HalfAck {
        self.half_with(connection, key, "")
    }

    pub(crate) fn half_with(&mut self, connection: u64, key: &str, more: &str) -> HalfAck {
        let properties = properties(key, more);
        let ack = self
            .send(half(&properties, connection))
            .expect("a good half");
        self.keys.insert(ack.seq.0, key.to_owned());
        ack
    }

    pub(crate) fn send(&mut self, half: HalfRequest<'_>) -> Result<HalfAck, HalfRefused> {
        let ack = self.coordinator.half(&mut self.store, self.now, half);
        self.sync_unless_manual();
        ack
    }

    /// An END_TRANSACTION as its own client would send it, unless `change` says otherwise.
    pub(crate) fn end_with(
        &mut self,
        ack: &HalfAck,
        resolution: Resolution,
        change: impl FnOnce(&mut EndRequest<'_>),
    ) -> EndOutcome {
        let key = self.keys.get(&ack.seq.0).cloned().unwrap_or_default();
        let mut end = EndRequest {
            group: "g",
            commit_log_offset: i64::try_from(ack.handle.0).expect("small"),
            half_offset: i64::try_from(ack.seq.0).expect("small"),
            resolution,
            from_check: false,
            message_id: &key,
            transaction_id: &key,
            remark: "",
            connection: ConnectionId(1),
            client_id: "c1",
            address: "10.0.0.1:1",
        };
        change(&mut end);
        let topics = &self.topics;
        let write_queues = |topic: &str| topics.get(topic).copied();
        let outcome = self
            .coordinator
            .end(&mut self.store, self.now, &end, &write_queues);
        self.sync_unless_manual();
        outcome
    }

    pub(crate) fn end(&mut self, ack: &HalfAck, resolution: Resolution) -> EndOutcome {
        self.end_with(ack, resolution, |_| {})
    }

    /// The answer of a connection to a check.
    pub(crate) fn answer(
        &mut self,
        connection: u64,
        ack: &HalfAck,
        resolution: Resolution,
    ) -> EndOutcome {
        self.end_with(ack, resolution, |end| {
            end.from_check = true;
            end.connection = ConnectionId(connection);
        })
    }

    /// What an operator decides.
    pub(crate) fn decide(
        &mut self,
        seq: u64,
        decision: Decision,
        operator: Actor<'_>,
    ) -> Result<Decided, DecideRefused> {
        let topics = &self.topics;
        let write_queues = |topic: &str| topics.get(topic).copied();
        let (store, seq) = (&mut self.store, HalfSeq(seq));
        let decided =
            self.coordinator
                .decide(store, self.now, seq, decision, operator, &write_queues);
        self.sync_unless_manual();
        decided
    }

    pub(crate) fn join(&mut self, connection: u64, capable: bool) {
        let at = usize::try_from(connection).expect("small");
        self.join_as(connection, CLIENTS[at % CLIENTS.len()], capable);
    }

    pub(crate) fn join_as(&mut self, connection: u64, client_id: &str, capable: bool) {
        let capability = if capable {
            Capability::Shown
        } else {
            Capability::Unknown
        };
        self.join_with(connection, client_id, capability);
    }

    /// A member that declares that it answers checks.
    pub(crate) fn join_declared(&mut self, connection: u64) {
        let at = usize::try_from(connection).expect("small");
        self.join_with(
            connection,
            CLIENTS[at % CLIENTS.len()],
            Capability::Declared,
        );
    }

    fn join_with(&mut self, connection: u64, client_id: &str, capability: Capability) {
        let at = usize::try_from(connection).expect("small");
        let member = Member {
            group: "g",
            connection: ConnectionId(connection),
            client_id,
            address: ADDRESSES[at % ADDRESSES.len()],
            capability,
        };
        self.coordinator.joined(self.now, member);
    }

    pub(crate) fn leave(&mut self, connection: u64) {
        self.coordinator.left(self.now, ConnectionId(connection));
    }

    /// Lets both clocks run, and gives the checks that go out meanwhile, each at its moment.
    pub(crate) fn run(&mut self, ms: u64) -> Vec<Sent> {
        let end = self.now.mono_ms + ms;
        let mut sent = Vec::new();
        while let Some(checks) = self.next_checks(end) {
            sent.extend(checks);
        }
        self.move_to(end);
        sent
    }

    /// Lets both clocks run to the next check, which must be the only one then.
    pub(crate) fn next_check(&mut self, ms: u64) -> Sent {
        let checks = self.next_checks(self.now.mono_ms + ms).expect("a check");
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.into_iter().next().expect("one")
    }

    /// Lets both clocks run until checks go out, but not beyond `end`.
    fn next_checks(&mut self, end: u64) -> Option<Vec<Sent>> {
        for _ in 0..100_000 {
            let due = self.coordinator.next_due().filter(|due| *due <= end)?;
            self.move_to(due.max(self.now.mono_ms));
            let checks = self.coordinator.due(&mut self.store, self.now);
            let at = self.now.mono_ms;
            if !checks.is_empty() {
                return Some(checks.iter().map(|check| self.sent(at, check)).collect());
            }
        }
        panic!("the coordinator wants to be called for nothing");
    }

    fn sent(&self, at: u64, check: &CheckRequest) -> Sent {
        assert!(
            self.store.undecided_half(check.seq).is_some(),
            "a check for a half that is decided"
        );
        Sent {
            at,
            seq: check.seq.0,
            connection: check.connection.0,
            check_times: check.check_times,
        }
    }

    fn move_to(&mut self, mono_ms: u64) {
        self.now.wall_ms += i64::try_from(mono_ms - self.now.mono_ms).expect("small");
        self.now.mono_ms = mono_ms;
    }

    /// The purge watermark of a group.
    pub(crate) fn watermark(&mut self, group: &str) -> Watermark {
        let watermark = self
            .coordinator
            .watermark(&mut self.store, self.now, group)
            .expect("the disk works");
        self.sync_unless_manual();
        watermark.expect("few halfs")
    }

    /// Halfs that are pending or parked.
    pub(crate) fn undecided(&self) -> u64 {
        let (pending, parked) = self.store.undecided_counts();
        pending + parked
    }

    /// Halfs that are parked.
    pub(crate) fn parked(&self) -> u64 {
        self.store.undecided_counts().1
    }

    /// Steps the wall clock.
    pub(crate) fn step_clock(&mut self, ms: i64) {
        self.now.wall_ms += ms;
    }

    pub(crate) fn view(&self, ack: &HalfAck) -> HalfView {
        let write_queues = |topic: &str| self.topics.get(topic).copied();
        let view = self
            .coordinator
            .view(&self.store, self.now, ack.seq, &write_queues);
        view.expect("kept")
    }

    /// Keys of the messages that consumers of queue `queue_id` can read, in order.
    pub(crate) fn delivered(&self, queue_id: i32) -> Vec<String> {
        let reader = self.store.reader();
        let (min, max) = reader.queue_range("t", queue_id);
        assert_eq!(min.0, 0);
        let entries = reader
            .entries("t", queue_id, min, 1_000_000)
            .expect("readable");
        assert_eq!(u64::try_from(entries.len()).ok(), Some(max.0), "dense");
        (0..)
            .zip(&entries)
            .map(|(offset, entry)| {
                let image = reader
                    .delivered("t", queue_id, escrow_store::QueueOffset(offset), entry)
                    .expect("readable");
                let message = escrow_protocol::message::decode(&image).expect("a message");
                message
                    .properties()
                    .get("UNIQ_KEY")
                    .expect("a key")
                    .to_owned()
            })
            .collect()
    }
}

fn open(disk: &Arc<MemoryDisk>, now: Now) -> Store {
    let settings = escrow_store::Settings::tiny();
    let (store, _) = Store::open(disk.clone(), settings, now.wall_ms).expect("the disk works");
    store
}

/// Moments and receivers of checks.
pub(crate) fn times(sent: &[Sent]) -> Vec<(u64, u64)> {
    sent.iter().map(|sent| (sent.at, sent.connection)).collect()
}

#[track_caller]
pub(crate) fn assert_decided(outcome: &EndOutcome, decision: Decision, repeated: bool) {
    match outcome {
        EndOutcome::Decided(decided) => {
            assert_eq!((decided.decision, decided.repeated), (decision, repeated));
        }
        other => panic!("not decided: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refusal(outcome: EndOutcome) -> EndRefusal {
    match outcome {
        EndOutcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn seq(number: u64) -> HalfSeq {
    HalfSeq(number)
}
