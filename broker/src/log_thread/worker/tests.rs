use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use escrow_coordinator::{ConnectionId, Coordinator};
use escrow_protocol::frame::Frame;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::Loss;
use escrow_store::{Disk, Durability, HalfState, MemoryDisk, QueueOffset, Reader, Store};
use tokio::sync::{mpsc, oneshot};

use super::super::{
    Asking, Command, Delivery, EndTransaction, LogHandle, NewHalf, NewMessage, Parts, Request, cost,
};
use super::FlushPolicy;
use crate::clock::Clock;
use crate::config::Settings;
use crate::long_polls::LongPolls;
use crate::remoting::answer::ReplyTo;
use crate::remoting::peer::Peer;
use crate::rpc_latency::RpcLatency;
use crate::topics::{TopicConfig, Topics};

/// What a stock broker's asynchronous setting means here: halfs and decisions are synced.
const SAFE: FlushPolicy = FlushPolicy {
    plain: Durability::Written,
    transaction: Durability::Synced,
};

struct Log {
    handle: LogHandle,
    reader: Reader,
    thread: std::thread::JoinHandle<()>,
    peer: Arc<Peer>,
}

impl Log {
    fn start(disk: &MemoryDisk, policy: FlushPolicy) -> Log {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let (store, _) = Store::open(disk, escrow_store::Settings::tiny(), 0).expect("it opens");
        let clock = Clock::new();
        let settings = escrow_coordinator::Settings {
            durability: policy.transaction,
            ..escrow_coordinator::Settings::default()
        };
        let topics = Topics::open(&Settings::default(), []).expect("no stored topics");
        topics.put(TopicConfig::new("orders", 4, 6));
        let reader = store.reader();
        let parts = Parts {
            coordinator: Coordinator::open(&store, settings, clock.now()),
            store,
            clock,
            policy,
            topics: Arc::new(topics),
            long_polls: Arc::new(LongPolls::default()),
            checks: mpsc::unbounded_channel().0,
            jobs: std::sync::mpsc::channel().0,
        };
        let (handle, thread) = LogHandle::start(parts).expect("a thread");
        let latency = Arc::new(RpcLatency::new(clock));
        let peer = Peer::new(ConnectionId(1), ([127, 0, 0, 1], 9).into(), latency);
        let peer = Arc::new(peer);
        Log {
            handle,
            reader,
            thread,
            peer,
        }
    }

    fn stop(self) {
        self.handle.close();
        self.thread.join().expect("no panic");
    }

    fn half(&self, opaque: i32, key: &str) -> Request {
        let half = Box::new(NewHalf {
            message: message(key),
            producer_group: "pg".to_owned(),
        });
        request(opaque, Asking::Half(half))
    }

    fn end(&self, opaque: i32, handle: &Frame, resolution: Resolution) -> Request {
        let id = handle.ext.get("msgId").expect("an id");
        let (_, offset) = escrow_protocol::ids::decode_offset_message_id(id).expect("an offset id");
        let end = Box::new(EndTransaction {
            group: "pg".to_owned(),
            commit_log_offset: offset,
            half_offset: handle
                .ext
                .get("queueOffset")
                .and_then(|n| n.parse().ok())
                .unwrap_or(-1),
            resolution,
            from_check: false,
            message_id: String::new(),
            transaction_id: String::new(),
            remark: String::new(),
        });
        request(opaque, Asking::End(end))
    }

    fn send(&self, opaque: i32, key: &str) -> Request {
        let send = Asking::Send {
            messages: vec![message(key)],
            queue_id: 0,
            need: SAFE.plain,
        };
        request(opaque, send)
    }

    /// Hands all over at once and waits for as many answers.
    async fn ask(&self, requests: Vec<Request>) -> Vec<Frame> {
        let count = requests.len();
        let room = self.handle.reserve(cost(&requests), None);
        let peer = Arc::clone(&self.peer);
        let command = Command::Requests { peer, requests };
        self.handle.push(room.await.expect("room"), vec![command]);
        let mut answers = Vec::new();
        let mut buffer = BytesMut::new();
        while answers.len() < count {
            let taken = self
                .peer
                .outbox
                .take(&mut buffer, &mut Vec::new())
                .await
                .expect("it is open");
            self.peer.outbox.written(taken);
            while let Some(frame) = Frame::decode(&mut buffer).expect("frames") {
                answers.push(frame);
            }
        }
        answers
    }

    async fn plain(&self, key: &str) -> Result<(), super::LogError> {
        self.handle
            .append(message(key), Durability::Written)
            .await
            .map(drop)
    }

    fn visible(&self) -> u64 {
        self.reader.queue_range("orders", 0).1.0
    }
}

fn request(opaque: i32, what: Asking) -> Request {
    let frame = Frame {
        opaque,
        ..Frame::request(0)
    };
    let reply = ReplyTo::of(&frame, 0);
    Request { what, reply }
}

fn message(key: &str) -> NewMessage {
    let host = ([127, 0, 0, 1], 10911).into();
    NewMessage {
        topic: "orders".into(),
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        properties: format!("UNIQ_KEY\u{1}{key}\u{2}PGROUP\u{1}pg\u{2}"),
        body: Bytes::copy_from_slice(key.as_bytes()),
        unique_key: key.to_owned(),
    }
}

fn codes(answers: &[Frame]) -> Vec<i32> {
    answers.iter().map(|answer| answer.code).collect()
}

#[tokio::test]
async fn what_came_together_is_synced_once_and_answered_in_order() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    let before = disk.syncs();
    let halfs = (0..50).map(|n| log.half(n, &format!("K{n}"))).collect();
    let answers = log.ask(halfs).await;
    let opaques: Vec<i32> = answers.iter().map(|answer| answer.opaque).collect();
    assert_eq!(opaques, (0..50).collect::<Vec<_>>());
    assert_eq!(codes(&answers), [0; 50]);
    assert_eq!(disk.syncs() - before, 1);
    log.stop();
}

#[tokio::test]
async fn an_acknowledged_half_and_its_decision_survive_a_power_loss() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    let halfs = log
        .ask(vec![
            log.half(1, "K1"),
            log.half(2, "K2"),
            log.half(3, "K3"),
        ])
        .await;
    let commit = log.end(4, &halfs[0], Resolution::Commit);
    let rollback = log.end(5, &halfs[1], Resolution::Rollback);
    assert_eq!(codes(&log.ask(vec![commit, rollback]).await), [0, 0]);
    let lost = disk.crash(Loss::All);
    log.stop();

    let log = Log::start(&lost, SAFE);
    assert_eq!(log.visible(), 1);
    let states = log.handle.look(|store, _, _| {
        let state = |n| store.half(escrow_store::HalfSeq(n)).map(|half| half.state);
        [state(0), state(1), state(2)]
    });
    let expected = [
        HalfState::Committed,
        HalfState::RolledBack,
        HalfState::Pending,
    ];
    assert_eq!(states.await.expect("an answer"), expected.map(Some));
    let opposite = log.end(6, &halfs[0], Resolution::Rollback);
    assert_eq!(codes(&log.ask(vec![opposite]).await), [604]);
    log.stop();
}

#[tokio::test]
async fn a_plain_message_does_not_wait_for_the_sync_of_its_neighbours() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    disk.fail_sync_after(0);
    let answers = log.ask(vec![log.half(1, "K1"), log.send(2, "plain")]).await;
    let by_opaque: Vec<_> = answers
        .iter()
        .map(|answer| (answer.opaque, answer.code))
        .collect();
    assert_eq!(
        by_opaque,
        [(2, 0), (1, 14)],
        "first what needs no sync, then the refused half"
    );
    log.stop();
}

#[tokio::test]
async fn a_failed_sync_ends_all_acknowledgements_and_no_reading() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    log.plain("before").await.expect("a healthy store");
    assert_eq!(log.handle.failure(), None);
    disk.fail_sync_after(0);
    assert_eq!(codes(&log.ask(vec![log.half(1, "K1")]).await), [14]);
    log.plain("after").await.expect_err("a poisoned store");
    assert_eq!(
        codes(&log.ask(vec![log.half(2, "K2"), log.send(3, "K3")]).await),
        [14, 14]
    );
    let failure = log.handle.failure().expect("it is known");
    assert!(failure.contains("sync"), "{failure}");

    let entries = log
        .reader
        .entries("orders", 0, QueueOffset(0), 8)
        .expect("reads go on");
    assert_eq!(entries.len(), 1);
    log.stop();
}

#[tokio::test]
async fn a_failed_write_is_told_to_everybody_in_the_batch() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    disk.fail_write_after(0);
    let answers = log
        .ask(vec![log.send(1, "a"), log.half(2, "b"), log.send(3, "c")])
        .await;
    assert_eq!(codes(&answers), [14, 14, 14]);
    assert_eq!(log.visible(), 0);
    log.stop();
}

#[tokio::test]
async fn a_due_message_is_delivered_once() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    let delivery = |place| Delivery {
        level_queue: 2,
        queue_offset: place,
        message: message("late"),
    };
    log.handle
        .deliver(vec![delivery(0), delivery(0)])
        .await
        .expect("delivered");
    assert_eq!(log.visible(), 1);
    log.stop();

    let log = Log::start(&disk.kill(), SAFE);
    log.handle
        .deliver(vec![delivery(0), delivery(1)])
        .await
        .expect("delivered");
    assert_eq!(log.visible(), 2);
    log.stop();
}

#[tokio::test]
async fn without_waiters_a_sync_still_comes_soon() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    log.plain("K1").await.expect("a healthy store");
    let end = log.reader.log_range().1;
    while log.reader.durable() < end {
        // Each look is a turn of the log thread; the background sync is one of them.
        log.handle.look(|_, _, _| ()).await.expect("an answer");
        tokio::task::yield_now().await;
    }
    log.stop();
}

#[tokio::test]
async fn what_is_asked_after_the_close_is_refused() {
    let disk = MemoryDisk::new();
    let log = Log::start(&disk, SAFE);
    log.handle.close();
    log.plain("late").await.expect_err("closed");
    let (done, answer) = oneshot::channel();
    log.handle.inbox.push_at_once(Command::Barrier { done });
    answer.await.expect_err("dropped");
    log.stop();
}
