//! What was acknowledged is there after a restart, under the same handle.

mod support;

use escrow_protocol::code::request::CHECK_TRANSACTION_STATE;
use support::{COMMIT, ROLLBACK, Running, send};

#[tokio::test]
async fn a_half_is_committed_after_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"plain", &[])).await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(client.consume("orders", 0).await, [b"plain"]);
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(
        client.consume("orders", 0).await,
        [&b"plain"[..], b"order 1"]
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_commit_is_not_repeated_by_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    client.end(&handle, COMMIT).await;
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(client.end(&handle, ROLLBACK).await.code, 604);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn numbers_go_on_where_they_were() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"order 1").await;
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    let second = client.half("orders", "K2", b"order 2").await;
    assert_eq!(second.half_offset, first.half_offset + 1);
    assert!(second.commit_log_offset > first.commit_log_offset);
    let check = client.asked(CHECK_TRANSACTION_STATE).await;
    assert_eq!(check.ext.get("transactionId"), Some("K1"));
    running.broker.shutdown().await;
}
