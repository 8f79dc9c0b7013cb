//! A rolled-back half leaves no trace that a consumer could see.

mod support;

use support::{COMMIT, ROLLBACK, Running};

#[tokio::test]
async fn a_rolled_back_half_takes_no_place_in_its_queue() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"never").await;
    let second = client.half("orders", "K2", b"order 2").await;
    assert_eq!(client.end(&first, ROLLBACK).await.code, 0);
    assert_eq!(client.max_offset("orders", 0).await, 0);
    assert_eq!(client.end(&second, COMMIT).await.code, 0);
    assert_eq!(client.max_offset("orders", 0).await, 1);
    assert_eq!(client.consume("orders", 0).await, [b"order 2"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn it_stays_rolled_back_after_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"never").await;
    client.end(&handle, ROLLBACK).await;
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(client.end(&handle, ROLLBACK).await.code, 0);
    assert_eq!(client.end(&handle, COMMIT).await.code, 604);
    assert!(client.consume("orders", 0).await.is_empty());
    running.broker.shutdown().await;
}
