//! A producer that says nothing is asked, with the half itself and the ids that it was given.

mod support;

use std::time::Duration;

use escrow_protocol::code::request::{CHECK_TRANSACTION_STATE, HEART_BEAT};
use escrow_protocol::frame::Frame;
use support::{
    COMMIT, Client, Handle, ROLLBACK, Running, UNKNOWN, frame, half, messages, number,
    properties_of,
};

async fn check_for(client: &mut Client, handle: &Handle) -> Frame {
    loop {
        let check = client.asked(CHECK_TRANSACTION_STATE).await;
        if check.ext.get("transactionId") == Some(handle.key.as_str()) {
            return check;
        }
    }
}

#[tokio::test]
async fn the_check_names_the_half_by_its_own_handle() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    let check = check_for(&mut client, &handle).await;
    assert!(check.is_oneway());
    assert_eq!(number(&check, "tranStateTableOffset"), handle.half_offset);
    assert_eq!(number(&check, "commitLogOffset"), handle.commit_log_offset);
    assert_eq!(check.ext.get("msgId"), Some("K1"));
    assert_eq!(
        check.ext.get("offsetMsgId"),
        Some(handle.message_id.as_str())
    );
    let all = messages(&check);
    let [asked] = &all[..] else {
        panic!("one record in {check:?}")
    };
    assert_eq!((asked.message.topic, asked.message.queue_id), ("orders", 0));
    assert_eq!(asked.message.body, b"order 1");
    assert_eq!(asked.message.queue_offset, handle.half_offset);
    assert_eq!(asked.message.physical_offset, handle.commit_log_offset);
    assert_eq!(
        number(&check, "escrowStoredAt"),
        asked.message.store_timestamp
    );
    let times = properties_of(asked).get("TRANSACTION_CHECK_TIMES").cloned();
    assert_eq!(times.as_deref(), Some("1"));
    let id = properties_of(asked).get("__transactionId__").cloned();
    assert_eq!(id.as_deref(), Some("K1"));
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_half_whose_properties_leave_no_room_is_asked_about_all_the_same() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let with = |filler: usize| {
        let mut half = half("orders", "K1", b"order 1");
        let properties = half.ext.get("i").expect("properties").to_owned();
        let filled = format!("{properties}X\u{1}{}\u{2}", "x".repeat(filler));
        half.ext.insert("i", &filled);
        half
    };
    let refused = client.call(with(32_767)).await.remark.expect("a reason");
    let bytes = refused
        .split(' ')
        .find_map(|word| word.parse::<usize>().ok());
    let too_many = bytes.expect("how many it would be") - 32_767;
    let handle = Handle::of(&client.call(with(32_767 - too_many)).await);
    let check = check_for(&mut client, &handle).await;
    assert_eq!(check.ext.get("msgId"), Some("K1"));
    let all = messages(&check);
    assert_eq!(
        all.first().map(|asked| asked.message.body),
        Some(&b"order 1"[..])
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn the_answer_decides() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let committed = client.half("orders", "K1", b"order 1").await;
    let rolled_back = client.half("orders", "K2", b"never").await;
    let check = check_for(&mut client, &committed).await;
    assert_eq!(client.resolve(&check, COMMIT).await.code, 0);
    let check = check_for(&mut client, &rolled_back).await;
    assert_eq!(client.resolve(&check, ROLLBACK).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn after_unknown_it_is_asked_again_and_the_number_counts_up() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"order 1").await;
    for times in 1..=3 {
        let check = check_for(&mut client, &handle).await;
        let asked = messages(&check)[0];
        let counted = properties_of(&asked)
            .get("TRANSACTION_CHECK_TIMES")
            .cloned();
        assert_eq!(counted, Some(times.to_string()));
        assert_eq!(client.resolve(&check, UNKNOWN).await.code, 0);
    }
    let check = check_for(&mut client, &handle).await;
    assert_eq!(client.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(client.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn another_instance_is_asked_when_the_sender_is_gone() {
    let running = Running::start().await;
    let mut sender = running.client().await;
    let mut other = running.client().await;
    // It becomes a member by a half of its own, which it ends at once.
    let own = other.half("orders", "own", b"own").await;
    other.end(&own, ROLLBACK).await;
    let handle = sender.half("orders", "K1", b"order 1").await;
    drop(sender);
    let check = check_for(&mut other, &handle).await;
    assert_eq!(other.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(other.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_decided_half_is_not_asked_about() {
    let running = Running::start_with(|settings| {
        settings.transaction_time_out = Some(Duration::from_millis(300));
    })
    .await;
    let mut client = running.client().await;
    let decided = client.half("orders", "K1", b"order 1").await;
    client.end(&decided, COMMIT).await;
    // The check of a later half comes after the moment at which the first one's was due.
    let later = client.half("orders", "K2", b"order 2").await;
    let first_check = client.asked(CHECK_TRANSACTION_STATE).await;
    assert_eq!(
        first_check.ext.get("transactionId"),
        Some(later.key.as_str())
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn with_nobody_to_ask_it_waits_for_somebody() {
    let running = Running::start().await;
    let mut sender = running.client().await;
    let handle = sender.half("orders", "K1", b"order 1").await;
    drop(sender);
    let running = running.restart_with(|_| {}).await;
    let mut late = running.client().await;
    let own = late.half("orders", "own", b"own").await;
    late.end(&own, ROLLBACK).await;
    let check = check_for(&mut late, &handle).await;
    assert_eq!(number(&check, "commitLogOffset"), handle.commit_log_offset);
    assert_eq!(late.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(late.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn whoever_declares_it_in_its_heartbeat_is_asked_about_halfs_that_name_their_database() {
    let running = Running::start().await;
    let mut checker = running.client().await;
    let producers = ["elsewhere", "pg"].map(|group| serde_json::json!({ "groupName": group }));
    let body = serde_json::json!({
        "clientID": "checker",
        "consumerDataSet": [],
        "producerDataSet": producers,
    });
    let mut heartbeat = frame(HEART_BEAT, &[("escrowChecks", "more;pg")]);
    heartbeat.body = body.to_string().into();
    let answer = checker.call(heartbeat).await;
    assert_eq!(answer.code, 0);
    assert_eq!(answer.ext.get("escrowChecks"), Some("true"));
    let mut sender = running.client().await;
    let mut half = half("orders", "K1", b"order 1");
    let properties = half.ext.get("i").expect("properties");
    let properties = format!("{properties}ESCROW_DOMAIN\u{1}d\u{2}");
    half.ext.insert("i", &properties);
    let handle = Handle::of(&sender.call(half).await);
    let check = check_for(&mut checker, &handle).await;
    assert_eq!(checker.resolve(&check, COMMIT).await.code, 0);
    assert_eq!(sender.consume("orders", 0).await, [b"order 1"]);
    running.broker.shutdown().await;
}
