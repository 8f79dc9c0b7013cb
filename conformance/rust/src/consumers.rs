//! Groups of consumers: who gets what, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use escrow_client::{
    LocalOffsets, Message, Outcome, PullConsumer, PullSettings, PushConsumer, PushSettings,
    ReceivedMessage, Subscription,
};
use serde_json::json;

use crate::inbox::{Inbox, body};
use crate::scene::{Scene, held, queue, seconds, send_to, settings, take, until};
use crate::{Scenario, scenario};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario!("clustering-two-instances", clustering),
        scenario!("broadcasting", broadcasting),
        scenario!("orderly", orderly),
        scenario!("orderly-two-instances", orderly_two),
        scenario!("tag-filter", tag_filter),
        scenario!("lite-pull-assign", pull_assign),
        scenario!("lite-pull-subscribe", pull_subscribe),
    ]
}

async fn clustering(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 4).await?;
    let (group, all) = (scene.name("c"), Subscription::all(&topic));
    let (left, right) = (Inbox::default(), Inbox::default());
    let first = scene.consumer(&group, all.clone(), &left).await?;
    let alone = until(seconds(15), || held(&first, &topic) == 4).await;
    scene.report.expect("alone it has all queues", true, alone);
    let second = scene.consumer(&group, all, &right).await?;
    let start = Instant::now();
    let two_each = || held(&first, &topic) == 2 && held(&second, &topic) == 2;
    scene
        .report
        .expect("two each", true, until(seconds(30), two_each).await);
    // Not by the 20 s timer.
    scene
        .report
        .expect("told by the broker", true, start.elapsed() < seconds(10));
    let producer = scene.producer().await?;
    let bodies: Vec<String> = (0..20).map(|i| format!("body-{i:02}")).collect();
    for (i, body) in bodies.iter().enumerate() {
        send_to(&producer, &topic, i % 4, body.clone()).await?;
    }
    until(seconds(20), || left.len() + right.len() >= 20).await;
    let mut got = [left.bodies(), right.bodies()].concat();
    got.sort();
    scene.report.expect("each once", bodies, got);
    scene
        .report
        .expect("halves", vec![10, 10], vec![left.len(), right.len()]);
    second.close().await;
    let took_over = until(seconds(30), || held(&first, &topic) == 4).await;
    scene.report.expect("the rest takes over", true, took_over);
    for i in 20..28 {
        send_to(&producer, &topic, i % 4, format!("late-{i}")).await?;
    }
    left.wait_for(18, 20).await;
    scene.report.expect("after one left", 18, left.len());
    first.close().await;
    Ok(())
}

async fn broadcasting(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 2).await?;
    let inboxes = [Inbox::default(), Inbox::default()];
    let mut members = Vec::new();
    for inbox in &inboxes {
        let handler = inbox.handler(|_| Outcome::Consumed);
        let (client, all) = (scene.client().await?, [Subscription::all(&topic)]);
        let (group, memory) = (scene.name("c"), LocalOffsets::in_memory());
        members.push(PushConsumer::broadcasting(
            &client,
            group,
            all,
            memory,
            settings(),
            handler,
        )?);
    }
    let producer = scene.producer().await?;
    let bodies: Vec<String> = (0..6).map(|i| format!("body-{i}")).collect();
    for body in &bodies {
        producer.send(&Message::new(&topic, body.clone())).await?;
    }
    for (i, inbox) in inboxes.iter().enumerate() {
        inbox.wait_for(6, 20).await;
        scene
            .report
            .expect(&format!("delivered to {i}"), bodies.clone(), inbox.sorted());
    }
    Ok(())
}

/// First arrivals by queue: when a queue changes hands, what its old owner had not stored comes again.
fn by_queue(inbox: &Inbox) -> BTreeMap<i32, Vec<String>> {
    let mut queues: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for arrival in inbox.all() {
        let of_queue = queues.entry(arrival.message.queue_id).or_default();
        let body = body(&arrival.message);
        if !of_queue.contains(&body) {
            of_queue.push(body);
        }
    }
    queues
}

async fn orderly(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 3).await?, scene.producer().await?);
    for i in 0..15 {
        send_to(&producer, &topic, i % 3, format!("{i:02}")).await?;
    }
    let (inbox, failed) = (Inbox::default(), Arc::new(AtomicBool::new(false)));
    let (good, once) = (inbox.clone(), Arc::clone(&failed));
    let handler = move |message: Arc<ReceivedMessage>| {
        let outcome = if body(&message) == "03" && !once.swap(true, Ordering::SeqCst) {
            Outcome::RetryLater
        } else {
            good.add(&message);
            Outcome::Consumed
        };
        std::future::ready(outcome)
    };
    let settings = PushSettings {
        suspend: Duration::from_millis(200),
        ..settings()
    };
    let (client, all) = (scene.client().await?, [Subscription::all(&topic)]);
    let _consumer = PushConsumer::orderly(&client, scene.name("c"), all, settings, handler)?;
    inbox.wait_for(15, 30).await;
    scene.report.expect("count", 15, inbox.len());
    scene
        .report
        .expect("failed once", true, failed.load(Ordering::SeqCst));
    let expected = json!({"0": ["00", "03", "06", "09", "12"], "1": ["01", "04", "07", "10", "13"],
        "2": ["02", "05", "08", "11", "14"]});
    scene
        .report
        .expect("by queue", expected, json!(by_queue(&inbox)));
    Ok(())
}

async fn orderly_two(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, inbox) = (scene.topic("t", 2).await?, Inbox::default());
    let mut members = Vec::new();
    for _ in 0..2 {
        let handler = inbox.handler(|_| Outcome::Consumed);
        let (client, all) = (scene.client().await?, [Subscription::all(&topic)]);
        members.push(PushConsumer::orderly(
            &client,
            scene.name("c"),
            all,
            settings(),
            handler,
        )?);
    }
    let one_each = until(seconds(60), || members.iter().all(|m| held(m, &topic) == 1)).await;
    scene.report.expect("one each", true, one_each);
    let producer = scene.producer().await?;
    for i in 0..10 {
        send_to(&producer, &topic, i % 2, i.to_string()).await?;
    }
    inbox.wait_for(10, 60).await;
    let first = json!({"0": ["0", "2", "4", "6", "8"], "1": ["1", "3", "5", "7", "9"]});
    scene
        .report
        .expect("by queue", first, json!(by_queue(&inbox)));
    // It gives up its lock at once, so the other need not wait for the lock to expire.
    if let Some(leaving) = members.pop() {
        leaving.close().await;
    }
    for i in 10..14 {
        send_to(&producer, &topic, i % 2, i.to_string()).await?;
    }
    inbox.wait_for(14, 45).await;
    let rest = json!({"0": ["0", "2", "4", "6", "8", "10", "12"], "1": ["1", "3", "5", "7", "9", "11", "13"]});
    scene
        .report
        .expect("after one left", rest, json!(by_queue(&inbox)));
    Ok(())
}

async fn tag_filter(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    let (chosen, everything) = (Inbox::default(), Inbox::default());
    let some = Subscription::tags(&topic, "Aa || TagB");
    let _one = scene.consumer(&scene.name("c"), some, &chosen).await?;
    let all = Subscription::all(&topic);
    let _other = scene.consumer(&scene.name("all"), all, &everything).await?;
    // "Aa" and "BB" have one hash code: the broker lets both through, the client tells them apart.
    for tag in ["Aa", "BB", "TagB", "TagC", "", "Aa"] {
        let message = Message::new(&topic, format!("tag {tag}"));
        let message = if tag.is_empty() {
            message
        } else {
            message.tag(tag)?
        };
        producer.send(&message).await?;
    }
    everything.wait_for(6, 20).await;
    chosen.wait_for(3, 20).await;
    scene.report.expect("everything", 6, everything.len());
    scene.report.expect(
        "chosen",
        vec!["tag Aa", "tag Aa", "tag TagB"],
        chosen.sorted(),
    );
    Ok(())
}

async fn pull_assign(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    for i in 0..5 {
        producer.send(&Message::new(&topic, i.to_string())).await?;
    }
    let (client, only) = (scene.client().await?, queue(&topic, 0));
    let (group, all) = (scene.name("c"), Subscription::all(&topic));
    let queues = [only.clone()];
    let mut pull = PullConsumer::assign(&client, &*group, all, queues, PullSettings::default())?;
    pull.seek(&only, 2)?;
    scene.report.expect(
        "from offset 2",
        vec!["2", "3", "4"],
        take(&mut pull, 3).await?,
    );
    pull.seek(&only, client.min_offset(&only).await?)?;
    scene.report.expect(
        "from the begin",
        vec!["0", "1", "2", "3", "4"],
        take(&mut pull, 5).await?,
    );
    pull.seek(&only, client.max_offset(&only).await?)?;
    producer.send(&Message::new(&topic, "5")).await?;
    scene
        .report
        .expect("from the end", vec!["5"], take(&mut pull, 1).await?);
    scene.report.expect(
        "committed",
        json!(null),
        json!(client.group_offset(&group, &only).await?),
    );
    Ok(())
}

async fn pull_subscribe(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    for i in 0..3 {
        producer.send(&Message::new(&topic, i.to_string())).await?;
    }
    let mut first = scene.pull("c", &topic).await?;
    let mut bodies = Vec::new();
    while bodies.len() < 3 {
        let batch = first.next().await?;
        bodies.extend(batch.messages().iter().map(body));
        first.commit(&batch).await?;
    }
    scene
        .report
        .expect("first run", vec!["0", "1", "2"], bodies);
    first.close().await;
    producer.send(&Message::new(&topic, "3")).await?;
    let mut second = scene.pull("c", &topic).await?;
    scene
        .report
        .expect("second run", vec!["3"], take(&mut second, 1).await?);
    Ok(())
}
