//! Offsets of consumer groups and of queues.

mod support;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{Client, Running, frame, number, pull, send, with};

const QUEUE: [(&str, &str); 2] = [("topic", "t"), ("queueId", "0")];

fn query() -> Frame {
    frame(
        request::QUERY_CONSUMER_OFFSET,
        &[("consumerGroup", "cg"), ("topic", "t"), ("queueId", "0")],
    )
}

fn update(offset: &str) -> Frame {
    let frame = with(
        frame(request::UPDATE_CONSUMER_OFFSET, &QUEUE),
        "consumerGroup",
        "cg",
    );
    with(frame, "commitOffset", offset)
}

/// Three messages in topic "t", and a group that has pulled once.
async fn three(running: &Running) -> Client {
    let mut client = running.client().await;
    for body in [b"a", b"b", b"c"] {
        client.call(send("t", 0, body, &[])).await;
    }
    client.call(pull("t", 0, 0, 0)).await;
    client
}

#[tokio::test]
async fn a_committed_offset_is_found_also_after_a_restart() {
    let running = Running::start().await;
    let mut client = three(&running).await;
    assert_eq!(client.call(update("2")).await.code, 0);
    assert_eq!(number(&client.call(query()).await, "offset"), 2);
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(number(&client.call(query()).await, "offset"), 2);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn an_offset_beyond_the_queue_is_clamped_at_the_next_start() {
    let running = Running::start().await;
    let mut client = three(&running).await;
    assert_eq!(client.call(update("99")).await.code, 0);
    assert_eq!(number(&client.call(query()).await, "offset"), 99);
    let running = running.restart_with(|_| {}).await;
    let mut client = running.client().await;
    assert_eq!(number(&client.call(query()).await, "offset"), 3);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_pull_can_commit() {
    let running = Running::start().await;
    let mut client = three(&running).await;
    let committing = with(
        with(pull("t", 0, 0, 0), "sysFlag", "5"),
        "commitOffset",
        "3",
    );
    assert_eq!(client.call(committing).await.code, 0);
    assert_eq!(number(&client.call(query()).await, "offset"), 3);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_group_without_offset_starts_at_0_while_the_queue_has_its_first_message() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let answer = client.call(query()).await;
    assert_eq!(answer.code, 22, "the queue is empty");
    client.call(send("t", 0, b"a", &[])).await;
    let answer = client.call(query()).await;
    assert_eq!((answer.code, number(&answer, "offset")), (0, 0));
    let strict = with(query(), "setZeroIfNotFound", "false");
    assert_eq!(client.call(strict).await.code, 22);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_commit_must_name_what_is_there() {
    let running = Running::start().await;
    let mut client = three(&running).await;
    for (field, value, code) in [
        ("consumerGroup", "other", 26),
        ("topic", "other", 17),
        ("queueId", "4", 29),
        ("queueId", "-1", 29),
        ("commitOffset", "many", 1),
    ] {
        let answer = client.call(with(update("1"), field, value)).await;
        assert_eq!(answer.code, code, "{field} {value}");
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn queues_tell_their_range_and_times() {
    let running = Running::start().await;
    let mut client = three(&running).await;
    let mut offset = async |code, extra: &[(&'static str, &str)]| {
        let mut fields = QUEUE.to_vec();
        fields.extend_from_slice(extra);
        client.call(frame(code, &fields)).await
    };
    assert_eq!(
        number(&offset(request::GET_MIN_OFFSET, &[]).await, "offset"),
        0
    );
    assert_eq!(
        number(&offset(request::GET_MAX_OFFSET, &[]).await, "offset"),
        3
    );
    let earliest = number(
        &offset(request::GET_EARLIEST_MSG_STORETIME, &[]).await,
        "timestamp",
    );
    assert!(earliest > 1_600_000_000_000);
    let search = request::SEARCH_OFFSET_BY_TIMESTAMP;
    assert_eq!(
        number(
            &offset(search, &[("timestamp", &earliest.to_string())]).await,
            "offset"
        ),
        0
    );
    assert_eq!(
        number(
            &offset(search, &[("timestamp", "9999999999999")]).await,
            "offset"
        ),
        3
    );
    let upper = [("timestamp", "9999999999999"), ("boundaryType", "UPPER")];
    assert_eq!(number(&offset(search, &upper).await, "offset"), 2);
    let upper = [("timestamp", "0"), ("boundaryType", "UPPER")];
    assert_eq!(number(&offset(search, &upper).await, "offset"), 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_empty() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let nowhere = [("topic", "nowhere"), ("queueId", "7")];
    for code in [request::GET_MIN_OFFSET, request::GET_MAX_OFFSET] {
        assert_eq!(
            number(&client.call(frame(code, &nowhere)).await, "offset"),
            0
        );
    }
    let earliest = client
        .call(frame(request::GET_EARLIEST_MSG_STORETIME, &nowhere))
        .await;
    assert_eq!(number(&earliest, "timestamp"), -1);
    running.broker.shutdown().await;
}
