//! Messages that come later or again: delay levels, retries, dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use escrow_client::{
    Message, Outcome, PushConsumer, PushSettings, ReceivedMessage, Resolution, Subscription,
    TransactionProducer,
};

use crate::inbox::{Inbox, body, property_names};
use crate::scene::{Scene, seconds, settings, take};
use crate::{Scenario, scenario};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario!("retry-then-success", retry),
        scenario!("retry-then-dead-letter", dead_letter),
        scenario!("retry-transactional", transactional),
        scenario!("orderly-dead-letter", orderly_dead_letter),
        scenario!("delay-level", delay),
    ]
}

async fn failing(
    scene: &Scene,
    topic: &str,
    failures: i32,
    retries_max: i32,
) -> anyhow::Result<(PushConsumer, Inbox)> {
    let inbox = Inbox::default();
    let handler = inbox.handler(move |message| {
        if message.reconsume_times < failures {
            Outcome::RetryLater
        } else {
            Outcome::Consumed
        }
    });
    let settings = PushSettings {
        retries_max: Some(retries_max),
        ..settings()
    };
    let (client, all) = (scene.client().await?, [Subscription::all(topic)]);
    let consumer = PushConsumer::concurrent(&client, scene.name("c"), all, settings, handler)?;
    Ok((consumer, inbox))
}

fn tagged(topic: &str, body: &str) -> anyhow::Result<Message> {
    Ok(Message::new(topic, body.to_owned())
        .tag("TagA")?
        .keys("key")?)
}

fn describe(scene: &Scene, message: &ReceivedMessage) {
    scene.report.observe("properties", property_names(message));
    let keys: Vec<&str> = message.keys().collect();
    let seen = format!("{:?} {keys:?} {}", message.tag(), message.reconsume_times);
    scene.report.observe("tag, keys, times", seen);
    scene.report.observe("system flag", message.sys_flag);
    scene.report.observe(
        "prepared offset is set",
        message.prepared_transaction_offset != 0,
    );
}

async fn retry(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let (_consumer, inbox) = failing(&scene, &topic, 1, 16).await?;
    let sent = scene
        .producer()
        .await?
        .send(&tagged(&topic, "body")?)
        .await?;
    inbox.wait_for(2, 60).await;
    let arrived = inbox.all();
    scene
        .report
        .expect("delivered", vec!["body", "body"], inbox.bodies());
    let [first, again] = &arrived[..] else {
        return Ok(());
    };
    scene
        .report
        .expect_same("topic", &topic, &again.message.topic);
    scene
        .report
        .expect_same("message id", &sent.message_id, again.message.id());
    describe(&scene, &again.message);
    // Level 3, which is 3 s here.
    let waited = again.at.duration_since(first.at);
    scene
        .report
        .expect("waited level 3", true, waited > Duration::from_millis(2500));
    Ok(())
}

async fn dead_letter(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let (_consumer, inbox) = failing(&scene, &topic, 99, 2).await?;
    scene
        .producer()
        .await?
        .send(&tagged(&topic, "body")?)
        .await?;
    inbox.wait_for(3, 60).await;
    let times: Vec<i32> = inbox
        .all()
        .iter()
        .map(|a| a.message.reconsume_times)
        .collect();
    scene.report.expect("reconsume times", vec![0, 1, 2], times);
    let mut dead = scene
        .pull("dead", &format!("%DLQ%{}", scene.name("c")))
        .await?;
    let batch = tokio::time::timeout(seconds(30), dead.next()).await??;
    scene
        .report
        .expect("dead letter", "body", body(&batch.messages()[0]));
    describe(&scene, &batch.messages()[0]);
    tokio::time::sleep(seconds(3)).await;
    scene.report.expect("no more deliveries", 3, inbox.len());
    Ok(())
}

async fn transactional(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let (_consumer, inbox) = failing(&scene, &topic, 1, 16).await?;
    let checks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&checks);
    let producer = TransactionProducer::new(&scene.client().await?, scene.name("p"), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Resolution::Commit)
    });
    let half = producer.send_half(&tagged(&topic, "body")?).await?;
    producer.end(&half, Resolution::Commit).await?;
    inbox.wait_for(2, 60).await;
    // Long enough for a check or a duplicate to show itself.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    scene
        .report
        .expect("delivered", vec!["body", "body"], inbox.bodies());
    scene
        .report
        .expect("checks", 0, checks.load(Ordering::SeqCst));
    if let Some(again) = inbox.all().get(1) {
        describe(&scene, &again.message);
    }
    Ok(())
}

async fn orderly_dead_letter(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    let inbox = Inbox::default();
    let handler = inbox.handler(|message| match body(message).as_str() {
        "bad" => Outcome::RetryLater,
        _ => Outcome::Consumed,
    });
    let settings = PushSettings {
        retries_max: Some(1),
        suspend: Duration::from_millis(200),
        ..settings()
    };
    let (client, all) = (scene.client().await?, [Subscription::all(&topic)]);
    let _consumer = PushConsumer::orderly(&client, scene.name("c"), all, settings, handler)?;
    producer.send(&Message::new(&topic, "bad")).await?;
    producer.send(&Message::new(&topic, "good")).await?;
    inbox.wait_for(3, 40).await;
    scene
        .report
        .expect("delivered", vec!["bad", "bad", "good"], inbox.bodies());
    let mut dead = scene
        .pull("dead", &format!("%DLQ%{}", scene.name("c")))
        .await?;
    scene
        .report
        .expect("dead letter", vec!["bad"], take(&mut dead, 1).await?);
    Ok(())
}

async fn delay(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    let inbox = Inbox::default();
    let tagged_only = Subscription::tags(&topic, "TagA");
    let _consumer = scene
        .consumer(&scene.name("c"), tagged_only, &inbox)
        .await?;
    let mut sent = Vec::new();
    for level in [3, 2, 1] {
        sent.push(Instant::now());
        let message = tagged(&topic, &format!("level-{level}"))?.delay_level(level);
        producer.send(&message).await?;
    }
    sent.reverse();
    inbox.wait_for(3, 30).await;
    scene.report.expect(
        "delivered",
        vec!["level-1", "level-2", "level-3"],
        inbox.bodies(),
    );
    for (index, (arrival, sent)) in inbox.all().iter().zip(sent).enumerate() {
        let level = index as u32 + 1;
        let (waited, due) = (
            arrival.at.duration_since(sent),
            Duration::from_secs(level.into()),
        );
        let in_time = waited + Duration::from_millis(50) >= due && waited < due + seconds(15);
        scene
            .report
            .expect(&format!("level {level} waited"), true, in_time);
    }
    if let Some(first) = inbox.all().first() {
        scene
            .report
            .observe("properties", property_names(&first.message));
    }
    Ok(())
}
