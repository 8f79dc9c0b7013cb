//! Plain sends: which broker, which queue, how long, in what form.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{FakeServer, Reaction, name_server, ok, route_to_brokers, stored};
use escrow_client::{
    Client, Error, Message, MessageQueue, Producer, Resolution, Settings, TransactionProducer,
};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::SendRequest;
use escrow_protocol::properties::{Properties, name};

async fn storing() -> FakeServer {
    FakeServer::start(|frame| match frame.code {
        request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            Reaction::Reply(stored(frame, 4096, 7))
        }
        _ => Reaction::Reply(ok(frame)),
    })
    .await
}

async fn refusing(code: i32) -> FakeServer {
    FakeServer::start(move |frame| match frame.code {
        request::SEND_MESSAGE_V2 => Reaction::Reply(Frame::response_to(frame, code)),
        _ => Reaction::Reply(ok(frame)),
    })
    .await
}

/// A name server that knows the brokers `broker-0`, `broker-1`, … with two queues each.
async fn name_server_of(addresses: Vec<String>) -> FakeServer {
    FakeServer::start(move |frame| Reaction::Reply(route_to_brokers(frame, &addresses))).await
}

async fn producer(names: &FakeServer) -> Producer {
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    Producer::new(&client, "plain")
}

async fn sent(broker: &mut FakeServer) -> Frame {
    broker.expect(request::SEND_MESSAGE_V2).await
}

fn property(frame: &Frame, name: &str) -> Option<String> {
    let header = SendRequest::decode(&frame.ext).unwrap();
    Properties(header.properties.unwrap())
        .get(name)
        .map(str::to_owned)
}

#[tokio::test]
async fn a_refused_send_goes_to_another_broker_under_the_same_key() {
    for code in [
        response::SYSTEM_ERROR,
        response::SYSTEM_BUSY,
        response::SERVICE_NOT_AVAILABLE,
        response::NO_PERMISSION,
        response::TOPIC_NOT_EXIST,
        response::NO_BUYER_ID,
        response::GO_AWAY,
    ] {
        let (mut bad, mut good) = (refusing(code).await, storing().await);
        let names = name_server_of(vec![bad.address.clone(), good.address.clone()]).await;
        let receipt = producer(&names)
            .await
            .send(&Message::new("T", "x"))
            .await
            .unwrap();
        assert_eq!(receipt.queue.broker_name, "broker-1", "code {code}");
        let keys = [sent(&mut bad).await, sent(&mut good).await]
            .map(|frame| property(&frame, name::UNIQ_KEY).unwrap());
        assert_eq!(keys, [receipt.message_id.clone(), receipt.message_id]);
    }
}

#[tokio::test]
async fn a_broker_that_is_gone_is_stepped_over() {
    let (gone, good) = (storing().await, storing().await);
    let gone = gone.stop().await;
    let names = name_server_of(vec![gone, good.address.clone()]).await;
    let producer = producer(&names).await;
    for _ in 0..8 {
        let receipt = producer.send(&Message::new("T", "x")).await.unwrap();
        assert_eq!(receipt.queue.broker_name, "broker-1");
    }
}

#[tokio::test]
async fn a_message_that_no_broker_can_take_is_not_tried_again() {
    let (mut bad, mut other) = (refusing(response::MESSAGE_ILLEGAL).await, storing().await);
    let names = name_server_of(vec![bad.address.clone(), other.address.clone()]).await;
    let error = producer(&names)
        .await
        .send(&Message::new("T", "x"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(response::MESSAGE_ILLEGAL));
    sent(&mut bad).await;
    assert!(other.seen.try_recv().is_err());
}

#[tokio::test]
async fn all_tries_share_one_deadline() {
    let tries = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&tries);
    let silent = FakeServer::start(move |frame| match frame.code {
        request::SEND_MESSAGE_V2 => {
            counted.fetch_add(1, Ordering::SeqCst);
            Reaction::Silence
        }
        _ => Reaction::Reply(ok(frame)),
    })
    .await;
    let names = name_server(&silent.address).await;
    let limit = Duration::from_millis(300);
    let start = Instant::now();
    let error = producer(&names)
        .await
        .within(limit)
        .send(&Message::new("T", "x"))
        .await
        .unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert!(start.elapsed() >= limit && start.elapsed() < 3 * limit);
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_sharding_key_always_means_the_same_queue() {
    let mut broker = storing().await;
    let names = name_server(&broker.address).await;
    let producer = producer(&names).await;
    // "TagA".hashCode() is odd, "polygenelubricants" has the smallest hash there is, an even one.
    for (key, queue) in [("TagA", 1), ("polygenelubricants", 0), ("TagA", 1)] {
        let receipt = producer
            .send_by_key(&Message::new("T", "x"), key)
            .await
            .unwrap();
        assert_eq!(receipt.queue.queue_id, queue);
        let frame = sent(&mut broker).await;
        assert_eq!(property(&frame, name::SHARDING_KEY).as_deref(), Some(key));
    }
}

#[tokio::test]
async fn a_chosen_queue_is_kept_and_a_refusal_there_is_final() {
    let (bad, other) = (refusing(response::SYSTEM_BUSY).await, storing().await);
    let names = name_server_of(vec![bad.address.clone(), other.address.clone()]).await;
    let producer = producer(&names).await;
    let queue = |broker: &str| MessageQueue {
        broker_name: broker.to_owned(),
        queue_id: 1,
        topic: "T".to_owned(),
    };
    let message = Message::new("T", "x");
    let error = producer
        .send_to(&message, &queue("broker-0"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(response::SYSTEM_BUSY));
    let receipt = producer
        .send_to(&message, &queue("broker-1"))
        .await
        .unwrap();
    assert_eq!(receipt.queue, queue("broker-1"));
    let error = producer
        .send_to(&message, &queue("nobody"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoRoute { .. }), "{error}");
}

#[tokio::test]
async fn a_delay_level_travels_as_a_property_and_a_batch_has_none() {
    let mut broker = storing().await;
    let names = name_server(&broker.address).await;
    let producer = producer(&names).await;
    let later = Message::new("T", "x").delay_level(5).delay_level(3);
    producer.send(&later).await.unwrap();
    assert_eq!(
        property(&sent(&mut broker).await, name::DELAY).as_deref(),
        Some("3")
    );
    let error = producer
        .send_batch(std::slice::from_ref(&later))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Message(_)), "{error}");
    producer.send(&later.delay_level(0)).await.unwrap();
    assert_eq!(property(&sent(&mut broker).await, name::DELAY), None);
}

#[tokio::test]
async fn a_large_body_travels_compressed_also_as_a_half_but_not_in_a_batch() {
    let mut broker = storing().await;
    let names = name_server(&broker.address).await;
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    let large = Message::new("T", vec![b'a'; 10_000]);
    let producer = Producer::new(&client, "plain");
    producer.send(&large).await.unwrap();
    let frame = sent(&mut broker).await;
    assert_eq!(SendRequest::decode(&frame.ext).unwrap().sys_flag, 0x301);
    assert!(frame.body.len() < 500);

    let transactions = TransactionProducer::new(&client, "tx", |_| async { Resolution::Unknown });
    transactions.send_half(&large).await.unwrap();
    let frame = sent(&mut broker).await;
    assert_eq!(SendRequest::decode(&frame.ext).unwrap().sys_flag, 0x305);

    producer.send_batch(&[large.clone(), large]).await.unwrap();
    let frame = broker.expect(request::SEND_BATCH_MESSAGE).await;
    assert_eq!(SendRequest::decode(&frame.ext).unwrap().sys_flag, 0);
    assert!(frame.body.len() > 20_000);
}

#[tokio::test]
async fn a_producer_that_closes_leaves_its_group() {
    let mut broker = storing().await;
    let names = name_server(&broker.address).await;
    let producer = producer(&names).await;
    producer.send(&Message::new("T", "x")).await.unwrap();
    producer.close().await;
    let leave = broker.expect(request::UNREGISTER_CLIENT).await;
    assert_eq!(leave.ext.get("producerGroup"), Some("plain"));
}
