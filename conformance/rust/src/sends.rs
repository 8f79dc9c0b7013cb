//! Every way to send a plain message.

use std::sync::Arc;

use escrow_client::{Message, Subscription};
use tokio::task::JoinSet;

use crate::inbox::{Inbox, body, property_names};
use crate::scene::{Scene, queue};
use crate::{Scenario, scenario};

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        scenario!("send-sync", sync),
        scenario!("send-async", at_once),
        scenario!("send-oneway", oneway),
        scenario!("send-batch", batch),
        scenario!("send-auto-create", auto_create),
        scenario!("send-compressed", compressed),
        scenario!("send-refused", refused),
    ]
}

async fn sync(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 2).await?;
    let (producer, inbox) = (scene.producer().await?, Inbox::default());
    let all = Subscription::all(&topic);
    let _consumer = scene.consumer(&scene.name("c"), all, &inbox).await?;
    let (mut results, mut ids) = (Vec::new(), Vec::new());
    for i in 0..4 {
        let message = Message::new(&topic, format!("body-{i}"))
            .tag("TagA")?
            .keys(&format!("key{i}"))?
            .property("colour", "blue")?
            .flag(9);
        let receipt = producer.send_to(&message, &queue(&topic, i % 2)).await?;
        let (at, offset) = (receipt.queue.queue_id, receipt.queue_offset);
        results.push(format!("{:?} queue {at} offset {offset}", receipt.stored));
        scene
            .report
            .observe("offset id length", receipt.offset_id.len());
        ids.push(receipt.message_id);
    }
    inbox.wait_for(4, 20).await;
    let expected = [
        "queue 0 offset 0",
        "queue 1 offset 0",
        "queue 0 offset 1",
        "queue 1 offset 1",
    ];
    let expected = expected.map(|place| format!("Fully {place}")).to_vec();
    scene.report.expect("results", expected, results);
    let bodies: Vec<String> = (0..4).map(|i| format!("body-{i}")).collect();
    scene.report.expect("delivered", bodies, inbox.sorted());
    let arrived = inbox.all();
    let Some(first) = arrived.iter().find(|a| body(&a.message) == "body-0") else {
        return Ok(());
    };
    let message = &first.message;
    scene
        .report
        .expect_same("message id", &ids[0], message.id());
    scene.report.observe("properties", property_names(message));
    let colour = message.get("colour");
    let (tag, keys) = (message.tag(), message.keys().collect::<Vec<_>>());
    scene
        .report
        .observe("tag, keys, colour", format!("{tag:?} {keys:?} {colour:?}"));
    scene.report.observe(
        "flag, system flag",
        format!("{} {}", message.flag, message.sys_flag),
    );
    scene
        .report
        .observe("prepared offset", message.prepared_transaction_offset);
    Ok(())
}

async fn at_once(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let (producer, inbox) = (scene.producer().await?, Inbox::default());
    let all = Subscription::all(&topic);
    let _consumer = scene.consumer(&scene.name("c"), all, &inbox).await?;
    let mut sends = JoinSet::new();
    for i in 0..20 {
        let (producer, message) = (
            producer.clone(),
            Message::new(&topic, format!("body-{i:02}")),
        );
        sends.spawn(async move { producer.send(&message).await });
    }
    let mut offsets = Vec::new();
    while let Some(sent) = sends.join_next().await {
        offsets.push(sent??.queue_offset);
    }
    offsets.sort_unstable();
    inbox.wait_for(20, 20).await;
    scene
        .report
        .expect("offsets", (0..20).collect::<Vec<i64>>(), offsets);
    let bodies: Vec<String> = (0..20).map(|i| format!("body-{i:02}")).collect();
    scene.report.expect("delivered", bodies, inbox.sorted());
    Ok(())
}

async fn oneway(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let (producer, inbox) = (scene.producer().await?, Inbox::default());
    let all = Subscription::all(&topic);
    let _consumer = scene.consumer(&scene.name("c"), all, &inbox).await?;
    let bodies: Vec<String> = (0..5).map(|i| format!("body-{i}")).collect();
    for body in &bodies {
        producer
            .send_oneway(&Message::new(&topic, body.clone()))
            .await?;
    }
    inbox.wait_for(5, 20).await;
    scene.report.expect("delivered", bodies, inbox.sorted());
    Ok(())
}

async fn batch(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let producer = scene.producer().await?;
    let message = |i: usize| {
        Message::new(&topic, format!("body-{i}"))
            .tag("TagA")?
            .keys(&format!("key{i}"))?
            .property("number", &i.to_string())
    };
    let messages = (0..4).map(message).collect::<Result<Vec<_>, _>>()?;
    let receipt = producer.send_batch(&messages).await?;
    let after = producer.send(&Message::new(&topic, "after")).await?;
    scene.report.expect("first offset", 0, receipt.queue_offset);
    scene.report.expect("next offset", 4, after.queue_offset);
    scene
        .report
        .observe("broker's ids", receipt.offset_id.split(',').count());
    let mut pull = scene.pull("c", &topic).await?;
    let mut arrived = Vec::new();
    while arrived.len() < 5 {
        arrived.extend(pull.next().await?.messages().iter().cloned());
    }
    let bodies: Vec<String> = arrived.iter().map(body).collect();
    scene.report.expect(
        "delivered",
        vec!["body-0", "body-1", "body-2", "body-3", "after"],
        bodies,
    );
    let ids: Vec<&str> = arrived.iter().take(4).map(|m| m.id()).collect();
    scene
        .report
        .expect_same("ids delivered", &receipt.message_id, &ids.join(","));
    let second = &arrived[1];
    let keys: Vec<&str> = second.keys().collect();
    let seen = format!("{:?} {keys:?} {:?}", second.tag(), second.get("number"));
    scene
        .report
        .expect("second", r#"Some("TagA") ["key1"] Some("1")"#, seen);
    scene.report.observe("properties", property_names(second));
    Ok(())
}

async fn auto_create(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.name("t"), scene.producer().await?);
    producer.send(&Message::new(&topic, "body")).await?;
    let mut pull = scene.pull("c", &topic).await?;
    let batch = pull.next().await?;
    scene.report.expect(
        "delivered",
        vec!["body"],
        batch.messages().iter().map(body).collect::<Vec<_>>(),
    );
    let route = scene.client().await?.route(&topic).await?;
    scene.report.observe("queues", route.writable().len());
    Ok(())
}

async fn compressed(scene: Arc<Scene>) -> anyhow::Result<()> {
    let topic = scene.topic("t", 1).await?;
    let sent = "abcdefghij".repeat(10_000);
    scene
        .producer()
        .await?
        .send(&Message::new(&topic, sent.clone()))
        .await?;
    let batch = scene.pull("c", &topic).await?.next().await?;
    scene
        .report
        .expect("same body", true, body(&batch.messages()[0]) == sent);
    scene
        .report
        .observe("system flag", batch.messages()[0].sys_flag);
    Ok(())
}

async fn refused(scene: Arc<Scene>) -> anyhow::Result<()> {
    let (topic, producer) = (scene.topic("t", 1).await?, scene.producer().await?);
    let too_large = producer
        .send(&Message::new(&topic, vec![0; (4 << 20) + 1]))
        .await;
    scene
        .report
        .expect("body too large is refused", true, too_large.is_err());
    // Random enough not to shrink.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(4 << 20)
    .collect();
    let largest = producer.send(&Message::new(&topic, noise)).await;
    scene
        .report
        .expect("largest body is taken", true, largest.is_ok());
    let late = producer
        .send(&Message::new(&topic, "late").delay_level(99))
        .await;
    scene
        .report
        .expect("delay level 99 is taken", true, late.is_ok());
    let wide = Message::new(&topic, "wide").property("wide", &"x".repeat(33_000))?;
    scene.report.expect(
        "properties too large are refused",
        true,
        producer.send(&wide).await.is_err(),
    );
    Ok(())
}
