//! What a broken or hostile client sends: the stock broker's code and what to change, or a closed
//! connection where framing is lost, and everybody else is served meanwhile.

mod support;

use std::time::Duration;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{Client, Running, frame, half, pull, send, with};

async fn refused(client: &mut Client, request: Frame, code: i32, remark: &str) {
    let answer = client.call(request).await;
    let said = answer.remark.unwrap_or_default();
    assert_eq!(answer.code, code, "{said}");
    assert!(said.contains(remark), "`{said}` does not say `{remark}`");
}

#[tokio::test]
async fn lost_framing_closes_the_connection_and_no_other() {
    let running = Running::start().await;
    let mut bystander = running.client().await;
    let huge = [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1];
    let negative = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1];
    let empty = [0, 0, 0, 0, 0, 0, 0, 0];
    let serialization = [0, 0, 0, 8, 9, 0, 0, 4, 1, 2, 3, 4];
    let header_too_long = [0, 0, 0, 8, 0, 0, 0, 99, 1, 2, 3, 4];
    let no_json = [0, 0, 0, 8, 0, 0, 0, 4, b'{', b'{', b'{', b'{'];
    let http = *b"GET / HTTP/1.1\r\n\r\n";
    let all: [&[u8]; 7] = [
        &huge,
        &negative,
        &empty,
        &serialization,
        &header_too_long,
        &no_json,
        &http,
    ];
    for bytes in all {
        let mut client = running.client().await;
        client.raw(bytes).await;
        assert!(
            client.next().await.is_none(),
            "{bytes:?} keeps its connection"
        );
        assert_eq!(bystander.call(send("orders", 0, b"x", &[])).await.code, 0);
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn whole_requests_before_the_garbage_are_answered() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"first", &[])).await;
    let opaque = client.post(send("orders", 0, b"second", &[])).await;
    client.raw(&[0xFF; 16]).await;
    assert_eq!(client.answer(opaque).await.code, 0);
    assert!(client.next().await.is_none());
    running.broker.shutdown().await;
}

#[tokio::test]
async fn an_unknown_code_gets_the_stock_answer() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for code in [9999, 0, -5, 200_050] {
        let remark = format!(" request type {code} not supported");
        let answer = client.call(Frame::request(code)).await;
        assert_eq!((answer.code, answer.remark), (3, Some(remark)));
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_header_without_its_fields_names_the_first_that_is_missing() {
    let running = Running::start().await;
    let mut client = running.client().await;
    refused(
        &mut client,
        Frame::request(request::SEND_MESSAGE_V2),
        1,
        "producerGroup",
    )
    .await;
    refused(
        &mut client,
        Frame::request(request::END_TRANSACTION),
        1,
        "producerGroup",
    )
    .await;
    refused(
        &mut client,
        Frame::request(request::PULL_MESSAGE),
        1,
        "consumerGroup",
    )
    .await;
    refused(
        &mut client,
        Frame::request(request::VIEW_MESSAGE_BY_ID),
        1,
        "offset",
    )
    .await;
    let wrong = with(send("orders", 0, b"x", &[]), "e", "many");
    refused(&mut client, wrong, 1, "queueId").await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn names_against_the_rules_are_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for topic in ["a b", "ä", "", &"t".repeat(128)] {
        refused(&mut client, send(topic, 0, b"x", &[]), 29, "topic name").await;
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"x", &[])).await;
    refused(&mut client, send("orders", 4, b"x", &[]), 29, "queueId[4]").await;
    refused(&mut client, pull("orders", 4, 0, 0), 29, "queueId[4]").await;
    // Below zero the broker chooses.
    assert_eq!(client.call(send("orders", -1, b"x", &[])).await.code, 0);
    refused(&mut client, pull("orders", -1, 0, 0), 29, "queueId[-1]").await;
    refused(&mut client, pull("missing", 0, 0, 0), 17, "missing").await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_just_fits_is_not() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let largest = vec![b'x'; 4 * 1024 * 1024];
    assert_eq!(client.call(send("orders", 0, &largest, &[])).await.code, 0);
    let larger = vec![b'x'; 4 * 1024 * 1024 + 1];
    refused(&mut client, send("orders", 0, &larger, &[]), 13, "4194304").await;
    refused(&mut client, half("orders", "K", &larger), 13, "4194304").await;
    let long = "p".repeat(32 * 1024);
    refused(
        &mut client,
        send("orders", 0, b"x", &[("p", &long)]),
        13,
        "32767",
    )
    .await;
    // The largest message is still served, alone in its answer.
    assert_eq!(client.consume("orders", 0).await, [largest]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn delays_that_a_message_cannot_have_are_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let transactional = [
        ("TRAN_MSG", "true"),
        ("PGROUP", "pg"),
        ("UNIQ_KEY", "K"),
        ("DELAY", "3"),
    ];
    refused(
        &mut client,
        send("orders", 0, b"x", &transactional),
        13,
        "DELAY",
    )
    .await;
    for timer in ["TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"] {
        refused(
            &mut client,
            send("orders", 0, b"x", &[(timer, "5")]),
            13,
            "TIMER",
        )
        .await;
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_topic_without_write_permission_takes_no_message() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let topic = |perm| {
        let fields = [
            ("topic", "closed"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", perm),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        frame(request::UPDATE_AND_CREATE_TOPIC, &fields)
    };
    assert_eq!(client.call(topic("4")).await.code, 0);
    refused(&mut client, send("closed", 0, b"x", &[]), 16, "closed").await;
    refused(&mut client, half("closed", "K", b"x"), 16, "closed").await;
    assert_eq!(client.call(topic("2")).await.code, 0);
    refused(&mut client, pull("closed", 0, 0, 0), 16, "closed").await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_missing_topic_is_not_created_where_that_is_forbidden() {
    let running = Running::start_with(|s| s.auto_create_topic_enable = false).await;
    let mut client = running.client().await;
    refused(&mut client, send("orders", 0, b"x", &[]), 17, "orders").await;
    refused(&mut client, half("orders", "K", b"x"), 17, "orders").await;
    running.broker.shutdown().await;
}

#[tokio::test]
async fn halfs_are_refused_where_they_are_forbidden() {
    let running = Running::start_with(|s| s.reject_transaction_message = true).await;
    let mut client = running.client().await;
    refused(
        &mut client,
        half("orders", "K", b"x"),
        16,
        "rejectTransactionMessage",
    )
    .await;
    assert_eq!(client.call(send("orders", 0, b"x", &[])).await.code, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_sends_half_a_frame_holds_nobody_up() {
    let running = Running::start().await;
    let mut slow = running.client().await;
    slow.raw(&[0, 0, 16, 0, 0, 0, 0, 200, b'{']).await;
    let mut client = running.client().await;
    assert_eq!(client.call(send("orders", 0, b"x", &[])).await.code, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_up_neither_others_nor_the_shutdown() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let body = vec![b'x'; 250_000];
    client.call(send("orders", 0, &body, &[])).await;
    let mut deaf = running.client().await;
    for _ in 0..400 {
        deaf.post(pull("orders", 0, 0, 0)).await;
    }
    for _ in 0..3 {
        assert_eq!(client.call(pull("orders", 0, 0, 0)).await.code, 0);
    }
    let shutdown = tokio::time::timeout(Duration::from_secs(8), running.broker.shutdown());
    shutdown.await.expect("a shutdown within its limit");
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"first", &[])).await;
    let batch = |body: &[u8]| {
        let mut frame = with(send("orders", 0, body, &[]), "m", "true");
        frame.code = request::SEND_BATCH_MESSAGE;
        frame
    };
    let mut two = Vec::new();
    for body in [b"one", b"two"] {
        let message = escrow_protocol::batch::BatchMessage {
            flag: 0,
            body,
            properties: "",
        };
        escrow_protocol::batch::encode(&message, &mut two).expect("it fits");
    }
    refused(&mut client, batch(&two[..two.len() - 1]), 13, "batch").await;
    refused(&mut client, batch(b""), 13, "batch").await;
    let answer = client.call(batch(&two)).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(support::number(&answer, "queueOffset"), 1);
    assert_eq!(
        answer
            .ext
            .get("msgId")
            .unwrap_or_default()
            .split(',')
            .count(),
        2
    );
    assert_eq!(
        client.consume("orders", 0).await,
        [&b"first"[..], b"one", b"two"]
    );
    running.broker.shutdown().await;
}
