//! Pulling without sharing: chosen queues, seeking, and going on.

use crate::stage::{PATIENCE, Stage, body, numbers, queue, send};
use escrow_client::{PullConsumer, PullSettings, Subscription};

async fn take(consumer: &mut PullConsumer, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let batch = tokio::time::timeout(PATIENCE, consumer.next()).await;
        bodies.extend(batch.unwrap().unwrap().messages().iter().map(body));
    }
    bodies
}

#[tokio::test]
async fn an_assigned_queue_can_be_read_from_anywhere() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 2).await;
    send(&client, "T", 2, 0..10).await;
    let (all, chosen) = (Subscription::all("T"), queue("T", 0));
    let mut consumer = PullConsumer::assign(
        &client,
        "audit",
        all,
        [chosen.clone()],
        PullSettings::default(),
    )
    .unwrap();
    assert_eq!(take(&mut consumer, 5).await, ["0", "2", "4", "6", "8"]);
    consumer.seek(&chosen, 3).unwrap();
    assert_eq!(take(&mut consumer, 2).await, ["6", "8"]);
    let start = client.min_offset(&chosen).await.unwrap();
    consumer.seek(&chosen, start).unwrap();
    assert_eq!(take(&mut consumer, 5).await, ["0", "2", "4", "6", "8"]);
    let end = client.max_offset(&chosen).await.unwrap();
    consumer.seek(&chosen, end).unwrap();
    send(&client, "T", 2, 10..12).await;
    assert_eq!(take(&mut consumer, 1).await, ["10"]);
    consumer.close().await;
    assert_eq!(client.group_offset("audit", &chosen).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_committed_does_not_come_again() {
    let stage = Stage::set().await;
    let client = stage.with_topic("T", 1).await;
    send(&client, "T", 1, 0..3).await;
    let consumer = || {
        let all = Subscription::all("T");
        PullConsumer::subscribe(&client, "audit", all, PullSettings::default()).unwrap()
    };
    let mut first = consumer();
    let batch = first.next().await.unwrap();
    let bodies: Vec<String> = batch.messages().iter().map(body).collect();
    assert_eq!(bodies, numbers(0..3));
    first.commit(&batch).await.unwrap();
    first.close().await;
    send(&client, "T", 1, 3..4).await;
    assert_eq!(take(&mut consumer(), 1).await, ["3"]);
}
