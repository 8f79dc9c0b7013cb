//! Groups: who gets what, and what happens when members come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use crate::stage::{
    A_WHILE, Inbox, PATIENCE, Stage, numbers, queue, send, settings, until_assigned,
};
use escrow_client::{
    Client, LocalOffsets, Message, Outcome, Producer, PushConsumer, PushSettings, Start,
    Subscription,
};
use tokio::sync::Semaphore;

fn consume(client: &Client, topic: &str, inbox: &Inbox) -> PushConsumer {
    let all = [Subscription::all(topic)];
    PushConsumer::concurrent(client, "shipping", all, settings(), inbox.everything()).unwrap()
}

#[tokio::test]
async fn two_members_share_the_queues_and_one_takes_over_when_the_other_closes() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 4).await;
    let (mut left, mut right) = (Inbox::new(), Inbox::new());
    let first = consume(&client, "T", &left);
    until_assigned(&first, "T", 4).await;
    let other = stage.client().await;
    let second = consume(&other, "T", &right);
    // The broker tells of the new member: the timer would take 20 s.
    let shared = async {
        until_assigned(&first, "T", 2).await;
        until_assigned(&second, "T", 2).await;
    };
    tokio::time::timeout(Duration::from_secs(10), shared)
        .await
        .unwrap();
    send(&client, "T", 4, 0..20).await;
    let mut got = left.sorted(10).await;
    got.extend(right.sorted(10).await);
    got.sort_by_key(|body| body.parse::<i32>().unwrap());
    assert_eq!(got, numbers(0..20));

    second.close().await;
    until_assigned(&first, "T", 4).await;
    send(&client, "T", 4, 20..28).await;
    assert_eq!(left.sorted(8).await, numbers(20..28));
    left.stays_empty().await;
    right.stays_empty().await;
    first.close().await;
}

/// A process of its own, as far as a broker can tell: dropped, it is gone without a word.
fn doomed_member(names: String, inbox: &Inbox) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handler = inbox.everything();
    let (ready, joined) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let client = Client::start(escrow_client::Settings::new(&names))
            .await
            .unwrap();
        let all = [Subscription::all("T")];
        let consumer =
            PushConsumer::concurrent(&client, "shipping", all, settings(), handler).unwrap();
        until_assigned(&consumer, "T", 2).await;
        ready.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    joined.recv_timeout(PATIENCE).unwrap();
    runtime
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_member_had_is_taken_over_without_its_leave() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 4).await;
    let (mut left, mut right) = (Inbox::new(), Inbox::new());
    let first = consume(&client, "T", &left);
    let names = stage.broker.addresses().namesrv.to_string();
    let doomed = tokio::task::block_in_place(|| doomed_member(names, &right));
    until_assigned(&first, "T", 2).await;
    send(&client, "T", 4, 0..8).await;
    left.sorted(4).await;
    right.sorted(4).await;
    doomed.shutdown_background();
    until_assigned(&first, "T", 4).await;
    send(&client, "T", 4, 8..12).await;
    let mut seen = Vec::new();
    while !numbers(8..12).iter().all(|body| seen.contains(body)) {
        seen.extend(left.bodies(1).await);
    }
    first.close().await;
}

#[tokio::test]
async fn consumers_go_on_when_their_broker_was_restarted() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    let (mut loose, mut strict) = (Inbox::new(), Inbox::new());
    let concurrent = consume(&client, "T", &loose);
    let all = [Subscription::all("T")];
    let orderly =
        PushConsumer::orderly(&client, "billing", all, settings(), strict.everything()).unwrap();
    send(&client, "T", 2, 0..4).await;
    loose.sorted(4).await;
    strict.sorted(4).await;
    let stage = stage.restart().await;
    let other = stage.client().await;
    send(&other, "T", 2, 4..8).await;
    for inbox in [&mut loose, &mut strict] {
        let mut seen = Vec::new();
        while !numbers(4..8).iter().all(|body| seen.contains(body)) {
            seen.extend(inbox.bodies(1).await);
        }
    }
    concurrent.close().await;
    orderly.close().await;
}

#[tokio::test]
async fn a_group_goes_on_where_it_stopped_and_nothing_comes_twice() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    send(&client, "T", 2, 0..10).await;
    let mut inbox = Inbox::new();
    let first = consume(&client, "T", &inbox);
    assert_eq!(inbox.sorted(10).await, numbers(0..10));
    first.close().await;
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(5)
    );
    send(&client, "T", 2, 10..14).await;
    let second = consume(&client, "T", &inbox);
    assert_eq!(inbox.sorted(4).await, numbers(10..14));
    inbox.stays_empty().await;
    second.close().await;
}

#[tokio::test]
async fn a_new_group_begins_where_it_is_told() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..3).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    send(&client, "T", 1, 3..5).await;
    for (group, start, first) in [
        ("from-first", Start::First, Some(0)),
        ("from-time", Start::At(between), Some(3)),
        ("from-last", Start::Last, None),
    ] {
        let mut inbox = Inbox::new();
        let start = PushSettings {
            start,
            ..settings()
        };
        let all = [Subscription::all("T")];
        let consumer =
            PushConsumer::concurrent(&client, group, all, start, inbox.everything()).unwrap();
        // Stored at once, so that a successor begins at the same place.
        let stored = async {
            while client
                .group_offset(group, &queue("T", 0))
                .await
                .unwrap()
                .is_none()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, stored).await.unwrap();
        let end = client.max_offset(&queue("T", 0)).await.unwrap();
        send(&client, "T", 1, 9..10).await;
        assert_eq!(
            inbox.next().await.queue_offset,
            first.unwrap_or(end),
            "{group}"
        );
        consumer.close().await;
    }
}

#[tokio::test]
async fn from_the_end_means_everything_of_a_topic_that_comes_later() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let mut inbox = Inbox::new();
    let last = PushSettings {
        start: Start::Last,
        ..settings()
    };
    let topics = [Subscription::all("Later"), Subscription::all("T")];
    let consumer =
        PushConsumer::concurrent(&client, "shipping", topics, last, inbox.everything()).unwrap();
    // With the queue of one topic it knows that the other is not there yet.
    until_assigned(&consumer, "T", 1).await;
    let other = stage.with_topic("Later", 2).await;
    send(&other, "Later", 2, 0..4).await;
    assert_eq!(inbox.sorted(4).await, numbers(0..4));
    consumer.close().await;
}

#[tokio::test]
async fn tags_are_told_apart_though_their_hashes_are_the_same() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    let producer = Producer::new(&client, "sender");
    for tag in ["Aa", "BB", "TagB", "TagC", "Aa"] {
        let message = Message::new("T", tag.to_owned()).tag(tag).unwrap();
        producer.send(&message).await.unwrap();
    }
    producer.send(&Message::new("T", "no tag")).await.unwrap();
    let mut inbox = Inbox::new();
    let some = [Subscription::tags("T", "Aa || TagB")];
    let one = PushSettings {
        parallel_max: 1,
        ..settings()
    };
    let consumer =
        PushConsumer::concurrent(&client, "shipping", some, one, inbox.everything()).unwrap();
    assert_eq!(inbox.bodies(3).await, ["Aa", "TagB", "Aa"]);
    inbox.stays_empty().await;
    consumer.close().await;
}

#[tokio::test]
async fn handlers_and_cached_messages_are_bounded() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..50).await;
    let bounded = PushSettings {
        parallel_max: 3,
        batch_max: 4,
        cached_messages_max: 8,
        ..settings()
    };
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let inbox = Inbox::new();
    let handler = {
        let (running, most, gate, done) = (
            Arc::clone(&running),
            Arc::clone(&most),
            Arc::clone(&gate),
            inbox.sender(),
        );
        move |message| {
            let (running, most, gate, done) = (
                Arc::clone(&running),
                Arc::clone(&most),
                Arc::clone(&gate),
                done.clone(),
            );
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                let _ = done.send(message);
                Outcome::Consumed
            }
        }
    };
    let all = [Subscription::all("T")];
    let consumer = PushConsumer::concurrent(&client, "shipping", all, bounded, handler).unwrap();
    let busy = async {
        while running.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, busy).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    gate.add_permits(50);
    let mut inbox = inbox;
    assert_eq!(inbox.sorted(50).await, numbers(0..50));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    consumer.close().await;
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(50)
    );
}

#[tokio::test]
async fn closing_waits_for_handlers_and_stores_what_they_did() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..1).await;
    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
        move |_| {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            async move {
                begun.add_permits(1);
                gate.acquire().await.unwrap().forget();
                Outcome::Consumed
            }
        }
    };
    let all = [Subscription::all("T")];
    let consumer = PushConsumer::concurrent(&client, "shipping", all, settings(), handler).unwrap();
    begun.acquire().await.unwrap().forget();
    let closing = tokio::spawn(consumer.close());
    tokio::time::sleep(A_WHILE).await;
    assert!(!closing.is_finished());
    gate.add_permits(1);
    closing.await.unwrap();
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(1)
    );
}

#[tokio::test]
async fn every_broadcasting_member_has_every_message_and_goes_on_by_its_own_file() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let (mut left, mut right) = (Inbox::new(), Inbox::new());
    let member = |client: Client, offsets: LocalOffsets, inbox: &Inbox| {
        let all = [Subscription::all("T")];
        PushConsumer::broadcasting(
            &client,
            "news",
            all,
            offsets,
            settings(),
            inbox.everything(),
        )
        .unwrap()
    };
    let file = || LocalOffsets::file(folder.path().join("left.json"));
    let first = member(client.clone(), file().await.unwrap(), &left);
    let other = stage.client().await;
    let second = member(other.clone(), LocalOffsets::in_memory(), &right);
    send(&client, "T", 2, 0..6).await;
    assert_eq!(left.sorted(6).await, numbers(0..6));
    assert_eq!(right.sorted(6).await, numbers(0..6));
    first.close().await;
    second.close().await;
    assert_eq!(
        client.group_offset("news", &queue("T", 0)).await.unwrap(),
        None
    );

    send(&client, "T", 2, 6..8).await;
    let first = member(client.clone(), file().await.unwrap(), &left);
    assert_eq!(left.sorted(2).await, numbers(6..8));
    let second = member(other, LocalOffsets::in_memory(), &right);
    assert_eq!(right.sorted(8).await, numbers(0..8), "memory forgets");
    first.close().await;
    second.close().await;
}
