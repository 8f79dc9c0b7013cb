//! Every request by which an undecided or rolled-back half could be read, and what it answers.

mod support;

use std::time::Duration;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{COMMIT, Client, Handle, ROLLBACK, Running, UNKNOWN, frame, messages, pull, send};

const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const PARKED_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

fn view(handle: &Handle) -> Frame {
    let offset = handle.commit_log_offset.to_string();
    frame(request::VIEW_MESSAGE_BY_ID, &[("offset", offset.as_str())])
}

fn send_back(handle: &Handle) -> Frame {
    let offset = handle.commit_log_offset.to_string();
    let fields = [
        ("offset", offset.as_str()),
        ("group", "cg"),
        ("delayLevel", "0"),
    ];
    frame(request::CONSUMER_SEND_MSG_BACK, &fields)
}

fn query(topic: &str, key: &str, unique: bool) -> Frame {
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", "32"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9000000000000"),
        ("_UNIQUE_KEY_QUERY", if unique { "true" } else { "false" }),
    ];
    frame(request::QUERY_MESSAGE, &fields)
}

async fn code(client: &mut Client, request: Frame) -> i32 {
    client.call(request).await.code
}

/// Every door, for a half that must not be seen.
async fn all_closed(client: &mut Client, handle: &Handle) {
    assert_eq!(code(client, view(handle)).await, 1, "view");
    assert_eq!(code(client, send_back(handle)).await, 1, "send back");
    for topic in ["orders", HALF_TOPIC, OP_TOPIC, PARKED_TOPIC] {
        for unique in [true, false] {
            assert_eq!(
                code(client, query(topic, &handle.key, unique)).await,
                22,
                "query {topic}"
            );
        }
    }
    for topic in [HALF_TOPIC, OP_TOPIC] {
        assert_eq!(code(client, pull(topic, 0, 0, 0)).await, 16, "pull {topic}");
    }
    assert!(client.consume("orders", 0).await.is_empty());
}

#[tokio::test]
async fn an_undecided_half_is_behind_closed_doors() {
    let running = Running::start_with(|settings| {
        settings.transaction_time_out = Some(Duration::from_secs(60));
    })
    .await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    client.consume("orders", 0).await;
    all_closed(&mut client, &handle).await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn so_is_a_rolled_back_one_also_after_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"never").await;
    client.consume("orders", 0).await;
    client.end(&handle, ROLLBACK).await;
    all_closed(&mut client, &handle).await;
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    all_closed(&mut client, &handle).await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_committed_one_is_found_in_its_delivered_form() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    client.end(&handle, COMMIT).await;
    for request in [
        view(&handle),
        query("orders", "K1", true),
        query("orders", "K1", false),
    ] {
        let answer = client.call(request).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let all = messages(&answer);
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].message.topic, all[0].message.sys_flag),
            ("orders", 8)
        );
        assert_eq!(all[0].message.body, b"order 1");
    }
    client.consume("orders", 0).await;
    assert_eq!(code(&mut client, send_back(&handle)).await, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_parked_one_is_open_to_tools_and_closed_to_consumers() {
    let running = Running::start_with(|settings| settings.transaction_check_max = Some(1)).await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let check = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(client.resolve(&check, UNKNOWN).await.code, 0);

    let answer = client.call(view(&handle)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(messages(&answer)[0].message.body, b"order 1");
    assert_eq!(code(&mut client, query(PARKED_TOPIC, "K1", true)).await, 0);
    assert_eq!(code(&mut client, query("orders", "K1", true)).await, 22);
    assert!(client.consume("orders", 0).await.is_empty());
    assert_eq!(code(&mut client, send_back(&handle)).await, 1);

    let resume = [
        ("topic", PARKED_TOPIC),
        ("msgId", handle.message_id.as_str()),
    ];
    let resume = || frame(request::RESUME_CHECK_HALF_MESSAGE, &resume);
    assert_eq!(code(&mut client, resume()).await, 0);
    assert_eq!(code(&mut client, resume()).await, 1, "no longer parked");
    let check = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(client.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn only_a_parked_half_can_be_resumed() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let pending = client.half("orders", "K1", b"order 1").await;
    let plain = client
        .call(send("orders", 0, b"plain", &[("UNIQ_KEY", "K2")]))
        .await;
    for id in [
        pending.message_id,
        Handle::of(&plain).message_id,
        "7F".to_owned(),
    ] {
        let resume = frame(
            request::RESUME_CHECK_HALF_MESSAGE,
            &[("msgId", id.as_str())],
        );
        assert_eq!(code(&mut client, resume).await, 1, "{id}");
    }
    assert_eq!(client.consume("orders", 0).await, [b"plain"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn nothing_can_be_sent_to_the_transaction_topics() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for topic in [HALF_TOPIC, OP_TOPIC, PARKED_TOPIC, "SCHEDULE_TOPIC_XXXX"] {
        assert_eq!(
            code(&mut client, send(topic, 0, b"x", &[])).await,
            16,
            "{topic}"
        );
    }
    running.broker.shutdown().await;
}
