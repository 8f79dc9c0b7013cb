//! The pull consumer: where it begins, what it passes on, how it goes on after trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{FakeServer, Reaction, name_server, ok};
use bytes::BytesMut;
use escrow_client::{Client, MessageQueue, PullConsumer, PullSettings, Settings, Subscription};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{OffsetResponse, PullRequest, PullResponse, UpdateConsumerOffset};
use escrow_protocol::message::{self, Message as Record};

fn offset(frame: &Frame, offset: i64) -> Reaction {
    let mut reply = ok(frame);
    OffsetResponse { offset }.encode(&mut reply.ext);
    Reaction::Reply(reply)
}

fn pulled(frame: &Frame, code: i32, next: i64, body: BytesMut) -> Reaction {
    let mut reply = Frame::response_to(frame, code);
    PullResponse {
        suggested_broker_id: 0,
        next_begin_offset: next,
        min_offset: 0,
        max_offset: 100,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    }
    .encode(&mut reply.ext);
    Reaction::Reply(reply.with_body(body.freeze()))
}

fn record(into: &mut BytesMut, queue_offset: i64, tag: &str, sys_flag: i32, body: &[u8]) {
    let host = "127.0.0.1:10911".parse().unwrap();
    let record = Record {
        queue_id: 0,
        flag: 0,
        queue_offset,
        physical_offset: 0,
        sys_flag,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 2,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic: "T",
        properties: &format!("TAGS\u{1}{tag}\u{2}"),
    };
    message::encode(&record, into).unwrap();
}

/// Queue 0 is at offset 5 for the group and holds three messages; queue 1 is empty.
fn script(frame: &Frame) -> Reaction {
    match frame.code {
        request::QUERY_CONSUMER_OFFSET if frame.ext.get("queueId") == Some("0") => offset(frame, 5),
        request::QUERY_CONSUMER_OFFSET => {
            Reaction::Reply(Frame::response_to(frame, response::QUERY_NOT_FOUND))
        }
        request::GET_MIN_OFFSET => offset(frame, 0),
        request::PULL_MESSAGE => {
            let pull = PullRequest::decode(&frame.ext).unwrap();
            if (pull.queue_id, pull.queue_offset) != (0, 5) {
                return Reaction::Silence;
            }
            let mut body = BytesMut::new();
            record(&mut body, 5, "A", 0, b"first");
            // "Aa" and "BB" have one hash in Java: the broker may pass on the wrong one.
            record(&mut body, 6, "B", 0, b"other tag");
            record(&mut body, 7, "A", 0, b"second");
            pulled(frame, response::SUCCESS, 8, body)
        }
        _ => Reaction::Reply(ok(frame)),
    }
}

async fn consumer(broker: &FakeServer, tags: &str) -> (PullConsumer, FakeServer) {
    let names = name_server(&broker.address).await;
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    let subscription = Subscription::tags("T", tags);
    let settings = PullSettings::default();
    let consumer = PullConsumer::subscribe(&client, "shipping", subscription, settings).unwrap();
    (consumer, names)
}

#[tokio::test]
async fn a_group_goes_on_from_its_offset_and_commits_the_next_one() {
    let mut broker = FakeServer::start(script).await;
    let (mut consumer, _names) = consumer(&broker, "*").await;
    let batch = consumer.next().await.unwrap();
    let bodies: Vec<&[u8]> = batch.messages().iter().map(|m| &m.body[..]).collect();
    assert_eq!(bodies, [&b"first"[..], b"other tag", b"second"]);
    consumer.commit(&batch).await.unwrap();
    let update = broker.expect(request::UPDATE_CONSUMER_OFFSET).await;
    let update = UpdateConsumerOffset::decode(&update.ext).unwrap();
    assert_eq!((update.queue_id, update.commit_offset), (0, 8));
    assert_eq!(update.consumer_group, "shipping");
}

#[tokio::test]
async fn the_tag_itself_decides_what_is_passed_on() {
    let broker = FakeServer::start(script).await;
    let (mut consumer, _names) = consumer(&broker, "A").await;
    let batch = consumer.next().await.unwrap();
    let bodies: Vec<&[u8]> = batch.messages().iter().map(|m| &m.body[..]).collect();
    assert_eq!(bodies, [&b"first"[..], b"second"]);
}

#[tokio::test]
async fn a_pull_that_fails_is_repeated_from_the_same_offset() {
    let failed = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&failed);
    let broker = FakeServer::start(move |frame| {
        let is_first_pull = frame.code == request::PULL_MESSAGE
            && frame.ext.get("queueId") == Some("0")
            && !once.swap(true, Ordering::SeqCst);
        if is_first_pull {
            return Reaction::Hangup;
        }
        script(frame)
    })
    .await;
    let (mut consumer, _names) = consumer(&broker, "*").await;
    let batch = tokio::time::timeout(Duration::from_secs(10), consumer.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(batch.messages()[0].queue_offset, 5);
    assert!(failed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_compressed_body_is_inflated_and_an_unknown_compressor_is_told() {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"plain text").unwrap();
    let compressed = encoder.finish().unwrap();
    let broker = FakeServer::start(move |frame| {
        let pull = PullRequest::decode(&frame.ext);
        match (frame.code, pull) {
            (request::PULL_MESSAGE, Ok(pull)) if pull.queue_id == 0 => {
                let mut body = BytesMut::new();
                match pull.queue_offset {
                    5 => record(&mut body, 5, "A", 1, &compressed),
                    _ => record(&mut body, 6, "A", 1 | 0x500, b"?"),
                }
                pulled(frame, response::SUCCESS, pull.queue_offset + 1, body)
            }
            _ => script(frame),
        }
    })
    .await;
    let (mut consumer, _names) = consumer(&broker, "*").await;
    let batch = consumer.next().await.unwrap();
    assert_eq!(&batch.messages()[0].body[..], b"plain text");
    let error = consumer.next().await.unwrap_err();
    assert!(error.to_string().contains("compressor 5"), "{error}");
}

#[tokio::test]
async fn a_consumer_that_closes_leaves_its_group() {
    let mut broker = FakeServer::start(script).await;
    let (mut consumer, _names) = consumer(&broker, "*").await;
    consumer.next().await.unwrap();
    consumer.close().await;
    let leave = broker.expect(request::UNREGISTER_CLIENT).await;
    assert_eq!(leave.ext.get("consumerGroup"), Some("shipping"));
}

fn queue(queue_id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: "broker-a".to_owned(),
        queue_id,
        topic: "T".to_owned(),
    }
}

/// Every queue is endless: at offset n there is the message n.
fn endless(frame: &Frame) -> Reaction {
    if frame.code != request::PULL_MESSAGE {
        return script(frame);
    }
    let pull = PullRequest::decode(&frame.ext).unwrap();
    let mut body = BytesMut::new();
    for offset in pull.queue_offset..pull.queue_offset + 2 {
        record(&mut body, offset, "A", 0, offset.to_string().as_bytes());
    }
    pulled(frame, response::SUCCESS, pull.queue_offset + 2, body)
}

#[tokio::test]
async fn after_a_seek_nothing_comes_that_was_pulled_before() {
    let broker = FakeServer::start(endless).await;
    let names = name_server(&broker.address).await;
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    let mut consumer = PullConsumer::assign(
        &client,
        "shipping",
        Subscription::all("T"),
        [queue(0)],
        PullSettings::default(),
    )
    .unwrap();
    let first = async |consumer: &mut PullConsumer| {
        let batch = consumer.next().await.unwrap();
        assert_eq!(batch.queue(), &queue(0));
        batch.messages()[0].queue_offset
    };
    assert_eq!(first(&mut consumer).await, 5);
    assert_eq!(first(&mut consumer).await, 7);
    for target in [40, 1, 1] {
        consumer.seek(&queue(0), target).unwrap();
        assert_eq!(first(&mut consumer).await, target);
        assert_eq!(first(&mut consumer).await, target + 2);
    }
    assert!(consumer.seek(&queue(1), 0).is_err());
}

#[tokio::test]
async fn an_application_that_is_slow_slows_the_pulls() {
    let mut broker = FakeServer::start(endless).await;
    let names = name_server(&broker.address).await;
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    let settings = PullSettings {
        ahead_max: 3,
        ..PullSettings::default()
    };
    let all = Subscription::all("T");
    let mut consumer =
        PullConsumer::assign(&client, "shipping", all, [queue(0)], settings).unwrap();
    // Three wait, one more is pulled and finds no room.
    for _ in 0..4 {
        broker.expect(request::PULL_MESSAGE).await;
    }
    let fifth = broker.expect(request::PULL_MESSAGE);
    let fifth = tokio::time::timeout(Duration::from_millis(300), fifth);
    assert!(fifth.await.is_err());
    consumer.next().await.unwrap();
    broker.expect(request::PULL_MESSAGE).await;
}

#[tokio::test]
async fn a_group_has_one_consumer_in_a_client() {
    let broker = FakeServer::start(script).await;
    let names = name_server(&broker.address).await;
    let client = Client::start(Settings::new(&names.address)).await.unwrap();
    let subscribe = || {
        let all = Subscription::all("T");
        PullConsumer::subscribe(&client, "shipping", all, PullSettings::default())
    };
    let first = subscribe().unwrap();
    assert!(subscribe().is_err());
    drop(first);
    assert!(subscribe().is_ok());
}
