//! Messages that come later or again: retries, dead letters, delays, bodies of every kind.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::stage::{Inbox, PATIENCE, Stage, body, queue, send, settings};
use bytes::Bytes;
use escrow_client::{
    Client, Message, Outcome, Producer, PullConsumer, PullSettings, PushConsumer, PushSettings,
    ReceivedMessage, Subscription,
};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::SendRequest;

fn failing(
    client: &Client,
    inbox: &Inbox,
    failures: i32,
    retries_max: Option<i32>,
) -> PushConsumer {
    let handler = inbox.taking(move |message| {
        if message.reconsume_times < failures {
            Outcome::RetryLater
        } else {
            Outcome::Consumed
        }
    });
    let settings = PushSettings {
        retries_max,
        ..settings()
    };
    PushConsumer::concurrent(
        client,
        "shipping",
        [Subscription::all("T")],
        settings,
        handler,
    )
    .unwrap()
}

async fn dead_letters(client: &Client) -> Vec<ReceivedMessage> {
    let dead = Subscription::all("%DLQ%shipping");
    let mut dead =
        PullConsumer::subscribe(client, "undertaker", dead, PullSettings::default()).unwrap();
    let batch = tokio::time::timeout(PATIENCE, dead.next())
        .await
        .unwrap()
        .unwrap();
    batch.messages().to_vec()
}

#[tokio::test]
async fn a_message_that_failed_comes_again_under_its_own_topic_and_id() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, 2, None);
    let order = Message::new("T", "42")
        .tag("A")
        .unwrap()
        .keys("order-42")
        .unwrap();
    let sent = Producer::new(&client, "sender").send(&order).await.unwrap();
    for times in 0..3 {
        let message = inbox.next().await;
        assert_eq!(
            (message.topic.as_str(), message.id()),
            ("T", sent.message_id.as_str())
        );
        assert_eq!((message.tag(), message.reconsume_times), (Some("A"), times));
    }
    inbox.stays_empty().await;
    consumer.close().await;
    // Given back is done: the queue itself goes on.
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(1)
    );
}

#[tokio::test]
async fn a_message_that_always_fails_becomes_a_dead_letter_after_sixteen_retries() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, i32::MAX, None);
    send(&client, "T", 1, 0..1).await;
    for times in 0..17 {
        assert_eq!(inbox.next().await.reconsume_times, times);
    }
    let letters = dead_letters(&client).await;
    assert_eq!(letters.iter().map(body).collect::<Vec<_>>(), ["0"]);
    inbox.stays_empty().await;
    consumer.close().await;
}

#[tokio::test]
async fn the_limit_of_retries_can_be_set() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, i32::MAX, Some(1));
    send(&client, "T", 1, 0..1).await;
    assert_eq!(inbox.bodies(2).await, ["0", "0"]);
    assert_eq!(dead_letters(&client).await.len(), 1);
    consumer.close().await;
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_and_the_others_go_on() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let handler = inbox.taking(|message| {
        assert!(
            body(message) != "0" || message.reconsume_times > 0,
            "the first panics once"
        );
        Outcome::Consumed
    });
    let all = [Subscription::all("T")];
    let consumer = PushConsumer::concurrent(&client, "shipping", all, settings(), handler).unwrap();
    send(&client, "T", 1, 0..2).await;
    assert_eq!(inbox.bodies(2).await, ["1", "0"]);
    consumer.close().await;
}

#[tokio::test]
async fn a_delayed_message_waits_its_level() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, 0, None);
    let producer = Producer::new(&client, "sender");
    let start = Instant::now();
    let later = Message::new("T", "later").delay_level(1);
    producer.send(&later).await.unwrap();
    producer.send(&Message::new("T", "now")).await.unwrap();
    assert_eq!(inbox.bodies(2).await, ["now", "later"]);
    assert!(start.elapsed() >= Duration::from_millis(100));
    consumer.close().await;
}

#[tokio::test]
async fn a_large_body_arrives_as_it_was_sent() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, 1, None);
    let large = "abcdefghij".repeat(10_000);
    let message = Message::new("T", large.clone());
    Producer::new(&client, "sender")
        .send(&message)
        .await
        .unwrap();
    // Also as a retry.
    for _ in 0..2 {
        let message = inbox.next().await;
        assert_eq!(
            (body(&message) == large, message.sys_flag & 0x301),
            (true, 0x301)
        );
    }
    consumer.close().await;
}

/// Sends a body compressed as no producer of this crate does.
async fn send_compressed(client: &Client, body: Vec<u8>, sys_flag: i32) {
    let route = client.route("T").await.unwrap();
    let (_, address) = route.brokers().next().unwrap();
    let mut frame = Frame::request(request::SEND_MESSAGE_V2);
    SendRequest {
        producer_group: "other",
        topic: "T",
        default_topic: "TBW102",
        default_topic_queues: 4,
        queue_id: 0,
        sys_flag,
        born_timestamp: 1,
        flag: 0,
        properties: Some(""),
        reconsume_times: None,
        unit_mode: false,
        reconsume_times_max: None,
        batch: false,
        broker_name: None,
    }
    .encode(&mut frame.ext);
    let frame = frame.with_body(Bytes::from(body));
    let reply = client
        .broker(address)
        .request(frame, PATIENCE)
        .await
        .unwrap();
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

#[tokio::test]
async fn bodies_of_other_compressors_are_inflated_and_a_broken_one_is_set_aside() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(b"by lz4").unwrap();
    send_compressed(&client, lz4.finish().unwrap(), 0x101).await;
    send_compressed(&client, b"broken".to_vec(), 0x201).await;
    send_compressed(
        &client,
        zstd::encode_all(&b"by zstd"[..], 0).unwrap(),
        0x201,
    )
    .await;
    let mut inbox = Inbox::new();
    let consumer = failing(&client, &inbox, 0, None);
    let mut bodies = inbox.bodies(2).await;
    bodies.sort();
    assert_eq!(bodies, ["by lz4", "by zstd"]);
    let dead = queue("%DLQ%shipping", 0);
    assert_eq!(client.max_offset(&dead).await.unwrap(), 1);
    consumer.close().await;
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(3)
    );
}
