//! Where a group starts, and where it goes on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use escrow_client::{Message, Outcome, PushConsumer, PushSettings, Start, Subscription};

use crate::inbox::Inbox;
use crate::scene::{Scene, queue, seconds, send_to, settings, until};
use crate::{Scenario, scenario};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario!("start-first", first),
        scenario!("start-last", last),
        scenario!("start-timestamp", timestamp),
        scenario!("start-where-it-stopped", resume),
        scenario!("offsets", offsets),
    ]
}

async fn first(scene: Arc<Scene>) -> anyhow::Result<()> {
    start(
        scene,
        |_| Start::First,
        &["old-0", "old-1", "new-0", "last"],
    )
    .await
}

async fn last(scene: Arc<Scene>) -> anyhow::Result<()> {
    start(scene, |_| Start::Last, &["last"]).await
}

async fn timestamp(scene: Arc<Scene>) -> anyhow::Result<()> {
    start(scene, Start::At, &["new-0", "last"]).await
}

async fn start(
    scene: Arc<Scene>,
    start: fn(SystemTime) -> Start,
    expected: &[&str],
) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    producer.send(&Message::new(&topic, "old-0")).await?;
    producer.send(&Message::new(&topic, "old-1")).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let between = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    producer.send(&Message::new(&topic, "new-0")).await?;
    let (client, group, inbox) = (scene.client().await?, scene.name("c"), Inbox::default());
    let settings = PushSettings {
        start: start(between),
        parallel_max: 1,
        ..settings()
    };
    let handler = inbox.handler(|_| Outcome::Consumed);
    let all = [Subscription::all(&topic)];
    let _consumer = PushConsumer::concurrent(&client, &*group, all, settings, handler)?;
    // It stores its first offset before it pulls.
    while client
        .group_offset(&group, &queue(&topic, 0))
        .await?
        .is_none()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    producer.send(&Message::new(&topic, "last")).await?;
    until(seconds(15), || {
        inbox.bodies().iter().any(|body| body == "last")
    })
    .await;
    scene
        .report
        .expect("delivered", expected.to_vec(), inbox.bodies());
    Ok(())
}

async fn resume(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    let (group, all) = (scene.name("c"), Subscription::all(&topic));
    producer.send(&Message::new(&topic, "0")).await?;
    let (first, second) = (Inbox::default(), Inbox::default());
    let consumer = scene.consumer(&group, all.clone(), &first).await?;
    first.wait_for(1, 20).await;
    consumer.close().await;
    producer.send(&Message::new(&topic, "1")).await?;
    let _consumer = scene.consumer(&group, all, &second).await?;
    second.wait_for(1, 20).await;
    scene.report.expect("first run", vec!["0"], first.bodies());
    scene
        .report
        .expect("second run", vec!["1"], second.bodies());
    Ok(())
}

async fn offsets(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 2).await?, scene.producer().await?);
    let (client, full, empty) = (scene.client().await?, queue(&topic, 0), queue(&topic, 1));
    send_to(&producer, &topic, 0, "0".to_owned()).await?;
    send_to(&producer, &topic, 0, "1".to_owned()).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    send_to(&producer, &topic, 0, "2".to_owned()).await?;
    let hour = Duration::from_secs(3600);
    // Apache's index of a queue follows the log.
    let mut max = 0;
    for _ in 0..500 {
        max = client.max_offset(&full).await?;
        if max == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.report.expect("max", 3, max);
    scene
        .report
        .expect("min", 0, client.min_offset(&full).await?);
    scene
        .report
        .expect("search between", 2, client.offset_at(&full, between).await?);
    scene.report.expect(
        "search before all",
        0,
        client.offset_at(&full, between - hour).await?,
    );
    scene.report.expect(
        "search after all",
        3,
        client.offset_at(&full, between + hour).await?,
    );
    scene.report.observe(
        "empty",
        vec![
            client.min_offset(&empty).await?,
            client.max_offset(&empty).await?,
            client.offset_at(&empty, between).await?,
        ],
    );
    Ok(())
}
