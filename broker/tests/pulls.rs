//! Pulling: offsets, tags, and waiting for a message.

mod support;

use escrow_protocol::frame::Frame;
use support::{Client, Running, messages, number, pull, send, with};

async fn check(client: &mut Client, offset: i64, code: i32, next: i64) {
    let answer = client.call(pull("orders", 0, offset, 0)).await;
    let got = (answer.code, number(&answer, "nextBeginOffset"));
    assert_eq!(got, (code, next), "pull at {offset}: {:?}", answer.remark);
    for field in ["suggestWhichBrokerId", "minOffset", "maxOffset"] {
        number(&answer, field);
    }
}

#[tokio::test]
async fn every_offset_has_its_answer() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 1, b"elsewhere", &[])).await;
    check(&mut client, 0, 19, 0).await;
    check(&mut client, 5, 21, 0).await;
    for body in [b"0", b"1", b"2"] {
        client.call(send("orders", 0, body, &[])).await;
    }
    check(&mut client, 0, 0, 3).await;
    check(&mut client, 2, 0, 3).await;
    check(&mut client, 3, 19, 3).await;
    check(&mut client, 4, 21, 3).await;
    check(&mut client, -1, 21, 0).await;
    running.broker.shutdown().await;
}

fn tagged(expression: &str, offset: i64, hold_ms: u64) -> Frame {
    with(
        pull("orders", 0, offset, hold_ms),
        "subscription",
        expression,
    )
}

#[tokio::test]
async fn a_tag_filter_passes_its_tags() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for tag in ["A", "B", "C", "A"] {
        client
            .call(send("orders", 0, tag.as_bytes(), &[("TAGS", tag)]))
            .await;
    }
    let answer = client.call(tagged("A || C", 0, 0)).await;
    let all = messages(&answer);
    let bodies: Vec<&[u8]> = all.iter().map(|view| view.message.body).collect();
    assert_eq!(bodies, [b"A", b"C", b"A"]);
    let answer = client.call(tagged("D", 0, 0)).await;
    assert_eq!((answer.code, number(&answer, "nextBeginOffset")), (20, 4));
    let answer = client
        .call(with(tagged("a > 1", 0, 0), "expressionType", "SQL92"))
        .await;
    assert_eq!(answer.code, 1);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_waiting_pull_sleeps_through_what_it_does_not_want() {
    let running = Running::start().await;
    let mut producer = running.client().await;
    let mut consumer = running.client().await;
    producer
        .call(send("orders", 0, b"0", &[("TAGS", "A")]))
        .await;
    let waiting = consumer.post(tagged("A", 1, 15_000)).await;
    // Its answer shows that the pull before it is waiting by now.
    consumer.call(tagged("A", 0, 0)).await;
    producer
        .call(send("orders", 0, b"1", &[("TAGS", "B")]))
        .await;
    producer
        .call(send("orders", 0, b"2", &[("TAGS", "A")]))
        .await;
    let answer = consumer.answer(waiting).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(messages(&answer)[0].message.body, b"2");
    assert_eq!(number(&answer, "nextBeginOffset"), 3);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_pull_waits_no_longer_than_it_asked_for() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"0", &[])).await;
    let answer = client.call(pull("orders", 0, 1, 50)).await;
    assert_eq!((answer.code, number(&answer, "nextBeginOffset")), (19, 1));
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_answers_the_waiting_pulls() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"0", &[])).await;
    let waiting = client.post(pull("orders", 0, 1, 15_000)).await;
    client.call(pull("orders", 0, 0, 0)).await;
    let (answer, ()) = tokio::join!(client.answer(waiting), running.broker.shutdown());
    assert_eq!(answer.code, 19);
}

#[tokio::test]
async fn an_answer_is_bounded_and_the_rest_follows() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let body = vec![b'x'; 100_000];
    for _ in 0..5 {
        client.call(send("orders", 0, &body, &[])).await;
    }
    let answer = client.call(pull("orders", 0, 0, 0)).await;
    assert_eq!(messages(&answer).len(), 2, "256 KiB at most");
    assert_eq!(client.consume("orders", 0).await.len(), 5);
    running.broker.shutdown().await;
}
