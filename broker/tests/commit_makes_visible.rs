//! A committed half is published once, in its own queue, as a consumer of the stock broker would get it.

mod support;

use escrow_protocol::code::request;
use escrow_protocol::message::MessageView;
use support::{COMMIT, Running, frame, messages, number, properties_of, pull};

#[tokio::test]
async fn a_half_is_invisible_until_it_is_committed() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    assert_eq!(client.max_offset("orders", 0).await, 0);
    assert!(client.consume("orders", 0).await.is_empty());

    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(client.max_offset("orders", 0).await, 1);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn the_delivered_message_is_what_the_stock_broker_delivers() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.half("orders", "before", b"").await;
    let handle = client.half("orders", "K1", b"order 1").await;
    client.end(&handle, COMMIT).await;
    let answer = client.call(pull("orders", 0, 0, 0)).await;
    let all = messages(&answer);
    let [delivered] = &all[..] else {
        panic!("one message, not {all:?}")
    };
    check_delivered(delivered, handle.commit_log_offset);
    assert_eq!(number(&answer, "nextBeginOffset"), 1);
    running.broker.shutdown().await;
}

fn check_delivered(view: &MessageView<'_>, handle: i64) {
    let message = &view.message;
    assert!(view.body_is_intact());
    assert_eq!((message.topic, message.body), ("orders", &b"order 1"[..]));
    assert_eq!((message.queue_id, message.queue_offset), (0, 0));
    assert_eq!(message.sys_flag, 8, "committed");
    assert_eq!(message.prepared_transaction_offset, handle);
    assert_eq!(message.born_timestamp, 1_700_000_000_000);
    let properties = properties_of(view);
    for (name, value) in [
        ("TRAN_MSG", "true"),
        ("PGROUP", "pg"),
        ("UNIQ_KEY", "K1"),
        ("__transactionId__", "K1"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
        ("CLUSTER", "DefaultCluster"),
    ] {
        assert_eq!(
            properties.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_sender_gets_the_whole_handle() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"1").await;
    let answer = client.call(support::half("orders", "K2", b"2")).await;
    let second = support::Handle::of(&answer);
    assert_eq!((first.half_offset, second.half_offset), (0, 1));
    assert_eq!(second.key, "K2");
    assert_eq!(number(&answer, "queueId"), 0);
    assert_eq!(answer.ext.get("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(answer.ext.get("TRACE_ON"), Some("true"));
    running.broker.shutdown().await;
}

#[tokio::test]
async fn messages_take_their_places_in_the_order_of_their_commits() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"sent first").await;
    let second = client.half("orders", "K2", b"sent second").await;
    client.end(&second, COMMIT).await;
    client.end(&first, COMMIT).await;
    assert_eq!(
        client.consume("orders", 0).await,
        [&b"sent second"[..], b"sent first"]
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_waiting_consumer_is_woken_by_the_commit() {
    let running = Running::start().await;
    let mut producer = running.client().await;
    let mut consumer = running.client().await;
    let handle = producer.half("orders", "K1", b"order 1").await;
    let waiting = consumer.post(pull("orders", 0, 0, 15_000)).await;
    // A second request on the same connection is answered while the pull waits.
    let queue = [("topic", "orders"), ("queueId", "0")];
    assert_eq!(
        consumer
            .call(frame(request::GET_MIN_OFFSET, &queue))
            .await
            .code,
        0
    );

    producer.end(&handle, COMMIT).await;
    let answer = consumer.answer(waiting).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    assert_eq!(messages(&answer).len(), 1);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn what_the_flush_policy_says_changes_nothing_that_is_seen() {
    use escrow_broker::config::{FlushDiskType, TransactionFlush};
    for disk in [FlushDiskType::Async, FlushDiskType::Sync] {
        for transaction in [TransactionFlush::Sync, TransactionFlush::Follow] {
            let running = Running::start_with(|settings| {
                settings.flush_disk_type = disk;
                settings.transaction_flush = transaction;
            })
            .await;
            let mut client = running.client().await;
            let handle = client.half("orders", "K1", b"half").await;
            assert_eq!(
                client
                    .call(support::send("orders", 0, b"plain", &[]))
                    .await
                    .code,
                0
            );
            client.end(&handle, COMMIT).await;
            assert_eq!(client.consume("orders", 0).await, [&b"plain"[..], b"half"]);
            running.broker.shutdown().await;
        }
    }
}
