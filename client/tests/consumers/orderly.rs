//! Order: one message of a queue after the other, over failures and changes of owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::stage::{
    A_WHILE, Inbox, PATIENCE, Stage, body, numbers, queue, send, settings, until_assigned,
};
use escrow_client::{
    Client, Message, Outcome, Producer, PullConsumer, PullSettings, PushConsumer, PushSettings,
    Subscription,
};
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_failure_holds_up_its_queue_and_no_other() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    send(&client, "T", 2, 0..10).await;
    let failures = AtomicUsize::new(0);
    let mut inbox = Inbox::new();
    let handler = inbox.taking(move |message| {
        // The first of queue 0 fails twice.
        if body(message) == "0" && failures.fetch_add(1, Ordering::SeqCst) < 2 {
            Outcome::RetryLater
        } else {
            Outcome::Consumed
        }
    });
    let all = [Subscription::all("T")];
    let consumer = PushConsumer::orderly(&client, "shipping", all, settings(), handler).unwrap();
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let message = inbox.next().await;
        let of_queue = if message.queue_id == 0 {
            &mut even
        } else {
            &mut odd
        };
        of_queue.push((body(&message), message.reconsume_times));
    }
    let seen = |list: &[(&str, i32)]| {
        list.iter()
            .map(|(b, n)| ((*b).to_owned(), *n))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        even,
        seen(&[
            ("0", 0),
            ("0", 1),
            ("0", 2),
            ("2", 0),
            ("4", 0),
            ("6", 0),
            ("8", 0)
        ])
    );
    assert_eq!(
        odd,
        seen(&[("1", 0), ("3", 0), ("5", 0), ("7", 0), ("9", 0)])
    );
    consumer.close().await;
}

#[tokio::test]
async fn after_too_many_failures_a_message_makes_way_and_is_a_dead_letter() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..3).await;
    let mut inbox = Inbox::new();
    let handler = inbox.taking(|message| match body(message).as_str() {
        "1" => Outcome::RetryLater,
        _ => Outcome::Consumed,
    });
    let limited = PushSettings {
        retries_max: Some(2),
        ..settings()
    };
    let all = [Subscription::all("T")];
    let consumer = PushConsumer::orderly(&client, "shipping", all, limited, handler).unwrap();
    assert_eq!(inbox.bodies(5).await, ["0", "1", "1", "1", "2"]);
    let dead = Subscription::all("%DLQ%shipping");
    let mut dead =
        PullConsumer::subscribe(&client, "undertaker", dead, PullSettings::default()).unwrap();
    let letters = tokio::time::timeout(PATIENCE, dead.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(body(&letters.messages()[0]), "1");
    consumer.close().await;
}

/// Takes a permit for each message, before it tells of it.
fn gated(
    client: &Client,
    inbox: &Inbox,
    gate: &Arc<Semaphore>,
    active: &Arc<AtomicUsize>,
) -> PushConsumer {
    let (done, gate, active) = (inbox.sender(), Arc::clone(gate), Arc::clone(active));
    let handler = move |message| {
        let (done, gate, active) = (done.clone(), Arc::clone(&gate), Arc::clone(&active));
        async move {
            assert_eq!(
                active.fetch_add(1, Ordering::SeqCst),
                0,
                "two at work on one queue"
            );
            gate.acquire().await.unwrap().forget();
            active.fetch_sub(1, Ordering::SeqCst);
            let _ = done.send(message);
            Outcome::Consumed
        }
    };
    let all = [Subscription::all("T")];
    PushConsumer::orderly(client, "shipping", all, settings(), handler).unwrap()
}

#[tokio::test]
async fn order_holds_when_a_queue_changes_hands() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..20).await;
    let (mut inbox, gate, active) = (Inbox::new(), Arc::new(Semaphore::new(0)), Arc::default());
    let first = gated(&client, &inbox, &gate, &active);
    until_assigned(&first, "T", 1).await;
    gate.add_permits(5);
    assert_eq!(inbox.bodies(5).await, numbers(0..5));
    let other = stage.client().await;
    let second = gated(&other, &inbox, &gate, &active);
    // The sixth is being handled when its owner begins to close.
    let closing = tokio::spawn(first.close());
    tokio::time::sleep(A_WHILE).await;
    assert!(!closing.is_finished());
    gate.add_permits(15);
    assert_eq!(
        inbox.bodies(15).await,
        numbers(5..20),
        "each once, in order"
    );
    closing.await.unwrap();
    inbox.stays_empty().await;
    second.close().await;
    assert_eq!(
        client
            .group_offset("shipping", &queue("T", 0))
            .await
            .unwrap(),
        Some(20)
    );
}

#[tokio::test]
async fn order_holds_when_members_join() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    let (mut inbox, order) = (Inbox::new(), Producer::new(&client, "sender"));
    let one = |client: &Client| {
        let all = [Subscription::all("T")];
        PushConsumer::orderly(client, "shipping", all, settings(), inbox.everything()).unwrap()
    };
    let first = one(&client);
    until_assigned(&first, "T", 2).await;
    let sending = tokio::spawn(async move {
        for number in 0..200 {
            let key = if number % 2 == 0 { "TagA" } else { "TagB" };
            let message = Message::new("T", number.to_string());
            order.send_by_key(&message, key).await.unwrap();
        }
    });
    let other = stage.client().await;
    let second = one(&other);
    until_assigned(&second, "T", 1).await;
    sending.await.unwrap();
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let number: i32 = body(&*inbox.next().await).parse().unwrap();
        if number % 2 == 0 { &mut even } else { &mut odd }.push(number);
    }
    assert!(even.is_sorted() && odd.is_sorted(), "{even:?} {odd:?}");
    inbox.stays_empty().await;
    first.close().await;
    second.close().await;
}
