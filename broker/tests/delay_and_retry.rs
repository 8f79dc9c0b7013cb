//! Delay levels for plain messages, and what a consumer sends back: again later, or a dead letter.

mod support;

use std::time::Duration;

use escrow_broker::config::DelayLevels;
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{Client, Handle, Running, frame, messages, number, properties_of, pull, send, with};

async fn quick() -> Running {
    Running::start_with(|settings| {
        settings.message_delay_level = DelayLevels(vec![Duration::from_millis(200); 4]);
    })
    .await
}

fn send_back(handle: &Handle, level: &str, limit: &str) -> Frame {
    let offset = handle.commit_log_offset.to_string();
    let fields = [
        ("offset", offset.as_str()),
        ("group", "cg"),
        ("delayLevel", level),
        ("originTopic", "orders"),
        ("originMsgId", &handle.key),
        ("maxReconsumeTimes", limit),
    ];
    frame(request::CONSUMER_SEND_MSG_BACK, &fields)
}

async fn delivered(client: &mut Client, topic: &str) -> Frame {
    let answer = client.call(pull(topic, 0, 0, 15_000)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    answer
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_is_due_and_not_before() {
    let running = quick().await;
    let mut client = running.client().await;
    let sent = client
        .call(send("orders", 0, b"later", &[("DELAY", "1")]))
        .await;
    assert_eq!((sent.code, number(&sent, "queueId")), (0, 0));
    assert_eq!(client.call(send("orders", 1, b"now", &[])).await.code, 0);
    assert_eq!(client.max_offset("orders", 0).await, 0);
    let answer = delivered(&mut client, "orders").await;
    let all = messages(&answer);
    assert_eq!(all[0].message.body, b"later");
    let waited = all[0].message.store_timestamp - number_of_now_minus(&answer);
    assert!(waited >= 0, "{waited}");
    let properties = properties_of(&all[0]);
    assert_eq!(properties.get("DELAY").map(String::as_str), Some("1"));
    assert_eq!(
        properties.get("REAL_TOPIC").map(String::as_str),
        Some("orders")
    );
    running.broker.shutdown().await;
}

/// The store timestamp of a delivery is its own, not that of the send.
fn number_of_now_minus(answer: &Frame) -> i64 {
    messages(answer)[0].message.born_timestamp
}

#[tokio::test]
async fn delayed_messages_survive_a_restart_and_come_once() {
    let running = quick().await;
    let mut client = running.client().await;
    for body in [b"1", b"2"] {
        client
            .call(send("orders", 0, body, &[("DELAY", "9")]))
            .await;
    }
    let running = running
        .restart_with(|settings| {
            settings.message_delay_level = DelayLevels(vec![Duration::from_millis(200); 4]);
        })
        .await;
    let mut client = running.client().await;
    delivered(&mut client, "orders").await;
    let answer = client.call(pull("orders", 0, 1, 15_000)).await;
    assert_eq!(answer.code, 0);
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(client.consume("orders", 0).await, [b"1", b"2"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn what_is_sent_back_comes_again_in_the_retry_topic() {
    let running = quick().await;
    let mut client = running.client().await;
    let handle = Handle::of(&client.call(send("orders", 0, b"order 1", &[])).await);
    client.consume("orders", 0).await;
    assert_eq!(client.call(send_back(&handle, "0", "16")).await.code, 0);
    let answer = delivered(&mut client, "%RETRY%cg").await;
    let all = messages(&answer);
    let again = &all[0];
    assert_eq!(
        (again.message.body, again.message.reconsume_times),
        (&b"order 1"[..], 1)
    );
    let properties = properties_of(again);
    assert_eq!(
        properties.get("RETRY_TOPIC").map(String::as_str),
        Some("orders")
    );
    assert_eq!(
        properties.get("ORIGIN_MESSAGE_ID"),
        Some(&handle.message_id)
    );

    // The client names the first topic again, though the message now lies in the retry topic.
    let retried = Handle {
        commit_log_offset: again.message.physical_offset,
        ..handle
    };
    assert_eq!(client.call(send_back(&retried, "0", "16")).await.code, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn what_came_often_enough_becomes_a_dead_letter() {
    let running = quick().await;
    let mut client = running.client().await;
    let handle = Handle::of(&client.call(send("orders", 0, b"order 1", &[])).await);
    client.consume("orders", 0).await;
    for (level, limit) in [("0", "0"), ("-1", "16")] {
        assert_eq!(client.call(send_back(&handle, level, limit)).await.code, 0);
    }
    assert_eq!(client.consume("%DLQ%cg", 0).await, [b"order 1", b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn an_unknown_group_or_message_cannot_be_sent_back() {
    let running = quick().await;
    let mut client = running.client().await;
    let handle = Handle::of(&client.call(send("orders", 0, b"order 1", &[])).await);
    assert_eq!(client.call(send_back(&handle, "0", "16")).await.code, 26);
    client.consume("orders", 0).await;
    let nowhere = Handle {
        commit_log_offset: handle.commit_log_offset + 1,
        ..handle
    };
    assert_eq!(client.call(send_back(&nowhere, "0", "16")).await.code, 1);
    running.broker.shutdown().await;
}

/// A consumer's own send to the retry topic, as Java does when sending back fails.
fn retry(reconsumed: &str) -> Frame {
    let frame = send(
        "%RETRY%cg",
        0,
        b"order 1",
        &[("DELAY", "1"), ("TRAN_MSG", "true")],
    );
    with(with(frame, "j", reconsumed), "l", "3")
}

#[tokio::test]
async fn a_retry_that_a_consumer_sends_itself_ends_in_the_dead_letters_too() {
    let running = quick().await;
    let mut client = running.client().await;
    assert_eq!(client.call(retry("3")).await.code, 0, "it makes the group");
    assert_eq!(
        client.call(pull("%DLQ%cg", 0, 0, 0)).await.code,
        17,
        "not needed yet"
    );
    let answer = delivered(&mut client, "%RETRY%cg").await;
    assert_eq!(messages(&answer)[0].message.reconsume_times, 3);
    assert_eq!(client.call(retry("4")).await.code, 0);
    assert_eq!(client.consume("%DLQ%cg", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn what_waits_in_a_level_that_is_no_longer_set_is_delivered_all_the_same() {
    let running = Running::start_with(|settings| {
        settings.message_delay_level = DelayLevels(vec![Duration::from_secs(3600); 9]);
    })
    .await;
    let mut client = running.client().await;
    client
        .call(send("orders", 0, b"later", &[("DELAY", "9")]))
        .await;
    let running = running
        .restart_with(|settings| {
            settings.message_delay_level = DelayLevels(vec![Duration::from_millis(50); 2]);
        })
        .await;
    let mut client = running.client().await;
    assert_eq!(
        messages(&delivered(&mut client, "orders").await)[0]
            .message
            .body,
        b"later"
    );
    running.broker.shutdown().await;
}
