//! Producers: what goes out, what is tried again and what is not, and how checks are answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{FakeServer, Reaction, name_server, ok, stored};
use bytes::BytesMut;
use escrow_client::{
    Answer, Check, Client, Delivery, Error, Message, Producer, Resolution, Settings,
    TransactionProducer,
};
use escrow_protocol::body::{self, BrokerData, ClusterInfo, HeartbeatData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{
    CheckTransactionState, EndTransaction, HEARTBEAT_CHECKS, SendRequest,
};
use escrow_protocol::message::{self, Message as Record};
use escrow_protocol::properties::{Properties, name};

async fn client(names: &FakeServer) -> Client {
    Client::start(Settings::new(&names.address)).await.unwrap()
}

/// Stores whatever is sent at physical offset 4096, half or queue offset 7.
async fn storing_broker() -> FakeServer {
    FakeServer::start(|frame| match frame.code {
        request::SEND_MESSAGE_V2 => Reaction::Reply(stored(frame, 4096, 7)),
        _ if frame.is_oneway() => Reaction::Silence,
        _ => Reaction::Reply(ok(frame)),
    })
    .await
}

#[tokio::test]
async fn a_half_carries_the_marks_of_a_transaction_and_its_end_names_it() {
    let mut broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    let order = Message::new("Orders", "42").keys("order-42").unwrap();
    let half = producer.send_half(&order).await.unwrap();

    let sent = broker.expect(request::SEND_MESSAGE_V2).await;
    let header = SendRequest::decode(&sent.ext).unwrap();
    assert_eq!((header.producer_group, header.topic), ("orders", "Orders"));
    assert_eq!(header.sys_flag, 4);
    let properties = Properties(header.properties.unwrap());
    assert_eq!(properties.get(name::TRAN_MSG), Some("true"));
    assert_eq!(properties.get(name::PGROUP), Some("orders"));
    assert_eq!(properties.get(name::KEYS), Some("order-42"));
    assert_eq!(properties.get(name::UNIQ_KEY), Some(half.transaction_id()));

    producer.end(&half, Resolution::Commit).await.unwrap();
    let end = broker.expect(request::END_TRANSACTION).await;
    assert!(!end.is_oneway());
    let header = EndTransaction::decode(&end.ext).unwrap();
    assert_eq!(header.commit_log_offset, 4096);
    assert_eq!(header.half_queue_offset, 7);
    assert_eq!(header.resolution(), Some(Resolution::Commit));
    assert_eq!(header.transaction_id, Some(half.transaction_id()));
    assert!(!header.from_check);

    producer
        .end_oneway(&half, Resolution::Rollback)
        .await
        .unwrap();
    assert!(broker.expect(request::END_TRANSACTION).await.is_oneway());
}

#[tokio::test]
async fn every_half_has_an_id_of_its_own() {
    let broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    let order = Message::new("Orders", "42");
    let first = producer.send_half(&order).await.unwrap();
    let second = producer.send_half(&order).await.unwrap();
    assert_ne!(first.transaction_id(), second.transaction_id());
}

#[tokio::test]
async fn a_half_whose_outcome_is_unknown_is_not_sent_again() {
    let broker = FakeServer::start(|frame| match frame.code {
        request::SEND_MESSAGE_V2 => Reaction::Hangup,
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    let error = producer
        .send_half(&Message::new("Orders", "42"))
        .await
        .err()
        .unwrap();
    assert!(error.outcome_unknown(), "{error}");
    let mut broker = broker;
    let mut sends = 0;
    while let Ok(frame) = broker.seen.try_recv() {
        sends += usize::from(frame.code == request::SEND_MESSAGE_V2);
    }
    assert_eq!(sends, 1);
}

#[tokio::test]
async fn a_half_that_the_broker_could_not_make_safe_is_rolled_back() {
    let mut broker = FakeServer::start(|frame| match frame.code {
        request::SEND_MESSAGE_V2 => {
            let mut reply = stored(frame, 4096, 7);
            reply.code = response::FLUSH_DISK_TIMEOUT;
            Reaction::Reply(reply)
        }
        _ if frame.is_oneway() => Reaction::Silence,
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    let error = producer
        .send_half(&Message::new("Orders", "42"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), Some(response::FLUSH_DISK_TIMEOUT));
    let end = broker.expect(request::END_TRANSACTION).await;
    let header = EndTransaction::decode(&end.ext).unwrap();
    assert_eq!(header.resolution(), Some(Resolution::Rollback));
}

#[tokio::test]
async fn a_plain_send_is_tried_again_under_the_same_key() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let mut broker = FakeServer::start(move |frame| match frame.code {
        request::SEND_MESSAGE_V2 if counted.fetch_add(1, Ordering::SeqCst) == 0 => {
            Reaction::Reply(Frame::response_to(frame, response::SYSTEM_BUSY))
        }
        request::SEND_MESSAGE_V2 => Reaction::Reply(stored(frame, 4096, 7)),
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = Producer::new(&client(&names).await, "plain");
    let receipt = producer.send(&Message::new("T", "x")).await.unwrap();
    for _ in 0..2 {
        let sent = broker.expect(request::SEND_MESSAGE_V2).await;
        let header = SendRequest::decode(&sent.ext).unwrap();
        let key = Properties(header.properties.unwrap()).get(name::UNIQ_KEY);
        assert_eq!(key, Some(receipt.message_id.as_str()));
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_sent_to_by_the_route_of_the_pattern_topic() {
    let mut broker = storing_broker().await;
    let mut names = name_server(&broker.address).await;
    let producer = Producer::new(&client(&names).await, "plain");
    let receipt = producer.send(&Message::new("Absent", "x")).await.unwrap();
    assert_eq!(receipt.queue.topic, "Absent");
    let asked = names.expect(request::GET_ROUTEINFO_BY_TOPIC).await;
    assert_eq!(asked.ext.get("topic"), Some("Absent"));
    let asked = names.expect(request::GET_ROUTEINFO_BY_TOPIC).await;
    assert_eq!(asked.ext.get("topic"), Some("TBW102"));
    let sent = broker.expect(request::SEND_MESSAGE_V2).await;
    assert_eq!(
        SendRequest::decode(&sent.ext).unwrap().default_topic,
        "TBW102"
    );
}

#[tokio::test]
async fn joining_makes_the_group_known_before_anything_is_sent() {
    let mut broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    producer.join("Orders").await.unwrap();
    let heartbeat = broker.expect(request::HEART_BEAT).await;
    let data: HeartbeatData = body::decode(&heartbeat.body).unwrap();
    assert_eq!(data.producer_data_set[0].group_name, "orders");
    assert_eq!(heartbeat.ext.get(HEARTBEAT_CHECKS), Some("orders"));
}

/// A broker that stores halfs and does with each END_TRANSACTION as it is told.
async fn deciding_broker(
    end: impl Fn(&Frame) -> Reaction + Send + Sync + 'static,
) -> (FakeServer, FakeServer, TransactionProducer) {
    let broker = FakeServer::start(move |frame| match frame.code {
        request::SEND_MESSAGE_V2 => Reaction::Reply(stored(frame, 4096, 7)),
        request::END_TRANSACTION => end(frame),
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    (broker, names, producer)
}

/// How often a decision is sent to `broker` whose first reply gets lost, and what comes of it.
async fn decided_without_reply(broker_keeps_first: bool) -> (usize, Delivery) {
    let ends = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ends);
    let broker = FakeServer::start(move |frame| match frame.code {
        request::SEND_MESSAGE_V2 => Reaction::Reply(stored(frame, 4096, 7)),
        request::END_TRANSACTION if count.fetch_add(1, Ordering::SeqCst) == 0 => Reaction::Hangup,
        request::HEART_BEAT if broker_keeps_first => {
            let mut reply = ok(frame);
            reply.ext.insert(HEARTBEAT_CHECKS, "true");
            Reaction::Reply(reply)
        }
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", |_| async {
        Resolution::Unknown
    });
    producer.join("T").await.unwrap();
    let half = producer.send_half(&Message::new("T", "x")).await.unwrap();
    let delivery = producer.settle(&half, Resolution::Commit).await;
    (ends.load(Ordering::SeqCst), delivery)
}

#[tokio::test]
async fn a_decision_whose_reply_is_lost_is_repeated_where_that_does_no_harm() {
    let (ends, delivery) = decided_without_reply(true).await;
    assert!(delivery.is_resolved(), "{delivery:?}");
    assert_eq!(ends, 2);
}

#[tokio::test]
async fn a_decision_whose_reply_is_lost_is_left_to_the_check_elsewhere() {
    let (ends, delivery) = decided_without_reply(false).await;
    assert!(
        matches!(delivery, Delivery::Deferred(Error::Lost { .. })),
        "{delivery:?}"
    );
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn a_decision_that_contradicts_an_earlier_one_is_refused() {
    let (_broker, _names, producer) = deciding_broker(|end| {
        Reaction::Reply(Frame::response_to(end, response::ILLEGAL_OPERATION))
    })
    .await;
    let half = producer.send_half(&Message::new("T", "x")).await.unwrap();
    let delivery = producer.settle(&half, Resolution::Commit).await;
    assert!(matches!(delivery, Delivery::Refused(_)), "{delivery:?}");
}

#[tokio::test]
async fn a_decision_that_could_not_be_sent_is_tried_once_more() {
    let (broker, _names, producer) = deciding_broker(|end| Reaction::Reply(ok(end))).await;
    let half = producer.send_half(&Message::new("T", "x")).await.unwrap();
    let address = broker.stop().await;
    // Which of the two failures is met depends on whether the client has noticed; the retry bears the first kind.
    let delivery = producer.settle(&half, Resolution::Commit).await;
    assert!(matches!(delivery, Delivery::Deferred(_)), "{delivery:?}");
    let _again = FakeServer::start_on(&address, |frame| Reaction::Reply(ok(frame))).await;
    // Two attempts in a row outlast one failed dial, so the second finds the broker that has come back.
    let delivery = producer.settle(&half, Resolution::Commit).await;
    assert!(delivery.is_resolved(), "{delivery:?}");
}

#[tokio::test]
async fn a_name_server_that_is_down_is_skipped() {
    let broker = storing_broker().await;
    let dead = name_server(&broker.address).await.stop().await;
    let names = name_server(&broker.address).await;
    let settings = Settings::new(&format!("{dead};{};{dead}", names.address));
    let client = Client::start(settings).await.unwrap();
    Producer::new(&client, "plain")
        .send(&Message::new("T", "x"))
        .await
        .unwrap();
}

/// A check as Apache's broker sends it.
fn check(transaction_id: &str, stored_at_ms: Option<i64>) -> Frame {
    let properties = format!(
        "UNIQ_KEY\u{1}{transaction_id}\u{2}PGROUP\u{1}orders\u{2}TRAN_MSG\u{1}true\u{2}TRANSACTION_CHECK_TIMES\u{1}3\u{2}"
    );
    let host = "127.0.0.1:10911".parse().unwrap();
    let record = Record {
        queue_id: 1,
        flag: 0,
        queue_offset: 7,
        physical_offset: 4096,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 2,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"order 42",
        topic: "Orders",
        properties: &properties,
    };
    let mut body = BytesMut::new();
    message::encode(&record, &mut body).unwrap();
    let mut frame = Frame::request(request::CHECK_TRANSACTION_STATE).oneway();
    CheckTransactionState {
        topic: Some("RMQ_SYS_TRANS_HALF_TOPIC"),
        half_queue_offset: 7,
        commit_log_offset: 4096,
        message_id: Some(transaction_id),
        transaction_id: Some(transaction_id),
        offset_message_id: None,
        broker_name: Some("broker-a"),
        stored_at_ms,
    }
    .encode(&mut frame.ext);
    frame.with_body(body.freeze())
}

async fn answer_to(checker: impl escrow_client::Checker) -> (Frame, FakeServer) {
    let mut broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let producer = TransactionProducer::new(&client(&names).await, "orders", checker);
    producer.join("Orders").await.unwrap();
    broker.push.send(check("TX1", None)).unwrap();
    (broker.expect(request::END_TRANSACTION).await, broker)
}

#[tokio::test]
async fn a_check_is_answered_with_what_the_checker_found_and_why() {
    let (end, _broker) = answer_to(|check: Check| async move {
        assert_eq!(check.transaction_id, "TX1");
        // The producer's time of birth: this broker does not tell when it stored the half.
        assert_eq!(check.stored_at_ms, 1);
        assert_eq!(check.attempt, Some(3));
        assert_eq!(&check.message.body[..], b"order 42");
        Answer::from(Resolution::Commit).because("row is there")
    })
    .await;
    assert!(end.is_oneway());
    assert_eq!(end.remark.as_deref(), Some("row is there"));
    let header = EndTransaction::decode(&end.ext).unwrap();
    assert!(header.from_check);
    assert_eq!(header.producer_group, "orders");
    assert_eq!(header.resolution(), Some(Resolution::Commit));
    assert_eq!(
        (header.commit_log_offset, header.half_queue_offset),
        (4096, 7)
    );
    assert_eq!(
        (header.message_id, header.transaction_id),
        ("TX1", Some("TX1"))
    );
    assert_eq!(header.broker_name, Some("broker-a"));
}

#[tokio::test]
async fn a_checker_that_panics_has_answered_unknown() {
    let checker = |check: Check| async move {
        assert_ne!(check.transaction_id, "TX1", "this checker fails on purpose");
        Resolution::Commit
    };
    let (end, _broker) = answer_to(checker).await;
    let header = EndTransaction::decode(&end.ext).unwrap();
    assert_eq!(header.resolution(), Some(Resolution::Unknown));
}

#[tokio::test]
async fn what_no_broker_can_take_is_refused_before_sending() {
    let broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let client = client(&names).await;
    let producer = Producer::new(&client, "plain");
    let refused = |error: Error| assert!(matches!(error, Error::Message(_)), "{error}");
    refused(producer.send(&Message::new("T", "")).await.unwrap_err());
    refused(producer.send(&Message::new("", "x")).await.unwrap_err());
    refused(Message::new("T", "x").tag("a\u{1}b").err().unwrap());
    refused(
        producer
            .send(&Message::new("T", vec![0; 4 << 20 | 1]))
            .await
            .unwrap_err(),
    );
    let delayed = Message::new("T", "x").property("DELAY", "3").unwrap();
    let halfs = TransactionProducer::new(&client, "orders", |_| async { Resolution::Unknown });
    refused(halfs.send_half(&delayed).await.err().unwrap());
    assert_eq!(broker.connections(), 0);
}

#[tokio::test]
async fn a_batch_goes_out_as_one_request() {
    let mut broker = FakeServer::start(|frame| match frame.code {
        request::SEND_BATCH_MESSAGE => Reaction::Reply(stored(frame, 4096, 7)),
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&broker.address).await;
    let producer = Producer::new(&client(&names).await, "plain");
    let messages = ["a", "b", "c"].map(|body| Message::new("T", body));
    producer.send_batch(&messages).await.unwrap();
    let sent = broker.expect(request::SEND_BATCH_MESSAGE).await;
    let bodies: Vec<Vec<u8>> = escrow_protocol::batch::decode(&sent.body)
        .map(|one| one.unwrap().body.to_vec())
        .collect();
    assert_eq!(bodies, [b"a", b"b", b"c"]);
}

/// The answer to "which brokers are there": one for each address.
fn cluster_of(ask: &Frame, addresses: &[String]) -> Frame {
    let broker = |(index, address): (usize, &String)| {
        let name = format!("broker-{index}");
        let data = BrokerData {
            broker_addrs: [(0, address.clone())].into(),
            broker_name: name.clone(),
            ..BrokerData::default()
        };
        (name, data)
    };
    let info = ClusterInfo {
        broker_addr_table: addresses.iter().enumerate().map(broker).collect(),
        ..ClusterInfo::default()
    };
    ok(ask).with_body(body::encode(&info).unwrap())
}

fn groups_of(heartbeat: &Frame) -> Vec<String> {
    let data: HeartbeatData = body::decode(&heartbeat.body).unwrap();
    let groups = data.producer_data_set.into_iter();
    groups.map(|producer| producer.group_name).collect()
}

#[tokio::test]
async fn who_joins_all_brokers_meets_those_that_come_later_too() {
    let mut first = storing_broker().await;
    let mut second = storing_broker().await;
    let known = Arc::new(Mutex::new(vec![first.address.clone()]));
    let told = Arc::clone(&known);
    let names = FakeServer::start(move |frame| match frame.code {
        request::GET_BROKER_CLUSTER_INFO => {
            Reaction::Reply(cluster_of(frame, &told.lock().unwrap()))
        }
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let settings = Settings {
        route_interval: Duration::from_millis(20),
        ..Settings::new(&names.address)
    };
    let client = Client::start(settings).await.unwrap();
    let _orders = TransactionProducer::new(&client, "orders", |_| async { Resolution::Unknown });
    let _stock = TransactionProducer::new(&client, "stock", |_| async { Resolution::Unknown });

    assert_eq!(client.join_all().await.unwrap(), 1);
    let heartbeat = first.expect(request::HEART_BEAT).await;
    assert_eq!(groups_of(&heartbeat), ["orders", "stock"]);
    assert_eq!(client.connections(), [(first.address.clone(), true)]);

    known.lock().unwrap().push(second.address.clone());
    let heartbeat = second.expect(request::HEART_BEAT).await;
    assert_eq!(groups_of(&heartbeat), ["orders", "stock"]);
}

#[tokio::test]
async fn the_time_of_storing_is_taken_from_the_broker_where_it_tells() {
    let mut broker = storing_broker().await;
    let names = name_server(&broker.address).await;
    let producer =
        TransactionProducer::new(&client(&names).await, "orders", |check: Check| async move {
            Answer::from(Resolution::Unknown).because(check.stored_at_ms.to_string())
        });
    producer.join("Orders").await.unwrap();
    broker.push.send(check("TX1", Some(77))).unwrap();
    let end = broker.expect(request::END_TRANSACTION).await;
    assert_eq!(end.remark.as_deref(), Some("77"));
}
