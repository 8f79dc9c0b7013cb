//! What is said twice, the other way round or about the wrong half: the first durable decision wins,
//! and nothing is delivered twice.

mod support;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{COMMIT, Client, Handle, ROLLBACK, Running, UNKNOWN, end, frame, send, with};

const NOT_FOUND: &str = "Find prepared transaction message failed";

async fn refused(client: &mut Client, request: Frame, code: i32, remark: &str) {
    let answer = client.call(request).await;
    assert_eq!(answer.code, code, "{:?}", answer.remark);
    let said = answer.remark.unwrap_or_default();
    assert!(said.contains(remark), "`{said}` does not say `{remark}`");
}

#[tokio::test]
async fn committing_twice_delivers_once() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    for _ in 0..3 {
        assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    }
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn the_second_of_two_opposite_decisions_is_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let committed = client.half("orders", "K1", b"order 1").await;
    client.end(&committed, COMMIT).await;
    refused(&mut client, end(&committed, ROLLBACK), 604, "committed").await;
    let rolled_back = client.half("orders", "K2", b"never").await;
    client.end(&rolled_back, ROLLBACK).await;
    refused(&mut client, end(&rolled_back, COMMIT), 604, "rolled back").await;
    // UNKNOWN contradicts nothing.
    assert_eq!(client.end(&committed, UNKNOWN).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn opposite_decisions_in_one_batch_leave_one_standing() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let mut answers = Vec::new();
    for resolution in [COMMIT, ROLLBACK, COMMIT, ROLLBACK] {
        answers.push(client.post(end(&handle, resolution)).await);
    }
    let mut codes = Vec::new();
    for opaque in answers {
        codes.push(client.answer(opaque).await.code);
    }
    assert_eq!(codes, [0, 604, 0, 604]);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_wrong_name_for_the_half_decides_nothing() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let commit = || end(&handle, COMMIT);
    let group = with(commit(), "producerGroup", "other");
    refused(&mut client, group, 1, "The producer group wrong").await;
    let half_offset = with(commit(), "tranStateTableOffset", "7");
    refused(
        &mut client,
        half_offset,
        1,
        "The transaction state table offset wrong",
    )
    .await;
    let id = with(commit(), "transactionId", "K2");
    refused(&mut client, id, 1, "transaction id").await;
    for offset in [handle.commit_log_offset + 1, 0, -1, i64::MAX] {
        let offset = with(commit(), "commitLogOffset", &offset.to_string());
        refused(&mut client, offset, 1, NOT_FOUND).await;
    }
    assert!(client.consume("orders", 0).await.is_empty());
    // The header's topic is not compared.
    assert_eq!(client.call(with(commit(), "topic", "other")).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn the_group_is_checked_before_the_half_offset() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let wrong = with(end(&handle, COMMIT), "producerGroup", "other");
    let wrong = with(wrong, "tranStateTableOffset", "7");
    refused(&mut client, wrong, 1, "The producer group wrong").await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_plain_message_cannot_be_ended() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let answer = client
        .call(send("orders", 0, b"plain", &[("UNIQ_KEY", "K1")]))
        .await;
    let handle = Handle::of(&answer);
    for resolution in [COMMIT, ROLLBACK, UNKNOWN] {
        refused(&mut client, end(&handle, resolution), 1, NOT_FOUND).await;
    }
    assert_eq!(client.consume("orders", 0).await, [b"plain"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn an_end_names_the_half_by_any_of_its_ids() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for (key, no_transaction_id, message_id) in
        [("K1", false, ""), ("K2", true, "K2"), ("K3", true, "")]
    {
        let handle = client.half("orders", key, key.as_bytes()).await;
        let mut commit = end(&handle, COMMIT);
        if no_transaction_id {
            commit.ext.remove("transactionId");
        }
        let id = if message_id.is_empty() {
            &handle.message_id
        } else {
            message_id
        };
        let commit = with(commit, "msgId", id);
        assert_eq!(client.call(commit).await.code, 0, "{key}");
    }
    assert_eq!(client.consume("orders", 0).await, [b"K1", b"K2", b"K3"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_half_of_a_deleted_topic_waits_for_the_topic() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let delete = || frame(request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]);
    assert_eq!(client.call(delete()).await.code, 0);
    refused(&mut client, end(&handle, COMMIT), 17, "orders").await;
    // A plain message makes the topic anew, with queues that begin at 0.
    assert_eq!(client.call(send("orders", 1, b"plain", &[])).await.code, 0);
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_half_sent_again_is_the_same_half() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"order 1").await;
    let again = client.half("orders", "K1", b"order 1").await;
    assert_eq!(again.commit_log_offset, first.commit_log_offset);
    assert_eq!(again.half_offset, first.half_offset);
    assert_eq!(client.end(&again, COMMIT).await.code, 0);
    assert_eq!(client.end(&first, COMMIT).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_commit_that_races_a_check_is_delivered_once() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let check = client.asked(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(client.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(client.resolve(&check, ROLLBACK).await.code, 604);
    assert_eq!(client.resolve(&check, UNKNOWN).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_oneway_end_is_carried_out_and_not_answered() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let opaque = client.post(end(&handle, COMMIT).oneway()).await;
    // The next request is answered after it, and nothing came in between.
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert!(!client.has_answer(opaque));
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}
