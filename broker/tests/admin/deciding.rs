//! What an operator may do about a half.

use serde_json::json;

use crate::api::{admin, get, http, post, quiet, rows, word};
use crate::support::{self, COMMIT, Client, Running, end, half};

#[tokio::test]
async fn an_operators_commit_is_delivered_and_remembered_with_its_reason() {
    let running = quiet().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"paid").await;
    let path = format!("/api/pending/{}", handle.message_id);
    let answer = post(&running, &format!("{path}/commit"), &word()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["published"]["topic"], "orders");
    assert_eq!(answer.json()["published"]["queue_offset"], 0);
    assert_eq!(client.consume("orders", 0).await, [b"paid"]);

    let shown = get(&running, &path).await.json();
    assert_eq!(shown["state"], "committed");
    let step = &shown["history"][0];
    assert_eq!(step["kind"], "committed");
    assert_eq!(step["source"], "operator");
    assert_eq!(step["client_id"], "kim");
    assert_eq!(step["reason"], "the order was paid");
    assert!(rows(&running, "").await.is_empty());

    let again = post(&running, &format!("{path}/commit"), &word()).await;
    assert_eq!(
        (again.status, &again.json()["repeated"]),
        (200, &json!(true))
    );
    let opposite = post(&running, &format!("{path}/rollback"), &word()).await;
    assert_eq!(opposite.status, 409);
    assert!(
        opposite.error().starts_with("already committed"),
        "{}",
        opposite.error()
    );
    assert_eq!(client.end(&handle, COMMIT).await.code, 0);
    assert_eq!(client.consume("orders", 0).await.len(), 1);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn an_operators_rollback_is_never_delivered() {
    let running = quiet().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"unpaid").await;
    let path = format!("/api/pending/{}/rollback", handle.half_offset);
    let answer = post(&running, &path, &word()).await;
    assert_eq!(
        (answer.status, &answer.json()["decision"]),
        (200, &json!("rolled back"))
    );
    assert_eq!(client.end(&handle, COMMIT).await.code, 604);
    assert!(client.consume("orders", 0).await.is_empty());
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_check_can_be_asked_for() {
    let running = quiet().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"x").await;
    let path = format!("/api/pending/{}/check", handle.message_id);
    let answer = post(&running, &path, &json!({})).await;
    assert_eq!(
        (answer.status, &answer.json()["check"]),
        (200, &json!("queued"))
    );
    let check = client.asked(39).await;
    client.resolve(&check, COMMIT).await;
    assert_eq!(client.consume("orders", 0).await, [b"x"]);
    assert_eq!(post(&running, &path, &json!({})).await.status, 409);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn only_a_parked_half_can_be_resumed() {
    let running = Running::start_with(|settings| settings.transaction_check_max = Some(1)).await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"x").await;
    let path = format!("/api/pending/{}", handle.message_id);
    assert_eq!(
        post(&running, &format!("{path}/resume"), &word())
            .await
            .status,
        409
    );
    let check = client.asked(39).await;
    client.resolve(&check, support::UNKNOWN).await;
    while rows(&running, "state=parked").await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let shown = get(&running, &path).await.json();
    assert_eq!(shown["state"], "parked");
    assert_eq!(shown["answered"], 1);
    let kinds: Vec<_> = shown["history"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| &step["kind"])
        .collect();
    assert_eq!(kinds, ["answered unknown", "parked"]);
    let resumed = post(&running, &format!("{path}/resume"), &word()).await;
    assert_eq!(resumed.status, 200, "{}", resumed.body);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_decision_needs_a_reason_and_a_name() {
    let running = quiet().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"x").await;
    let path = format!("/api/pending/{}/commit", handle.message_id);
    for (body, error) in [
        (json!({}), "reason"),
        (json!({ "reason": "because" }), "operator"),
        (json!({ "reason": " ", "operator": "kim" }), "reason"),
        (
            json!({ "reason": "x".repeat(257), "operator": "kim" }),
            "reason",
        ),
        (
            json!({ "reason": "because", "operator": "kim", "force": true }),
            "force",
        ),
        (json!([]), "body"),
    ] {
        let answer = post(&running, &path, &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.error().contains(error), "{body}: {}", answer.body);
    }
    let form = http(
        admin(&running),
        "POST",
        &path,
        &["Host: localhost"],
        &word().to_string(),
    )
    .await;
    assert_eq!(form.status, 415, "{}", form.body);
    let huge = json!({ "reason": "x".repeat(20_000), "operator": "kim" });
    let refused = post(&running, &path, &huge).await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (413, "Payload Too Large")
    );
    assert_eq!(
        post(&running, "/api/pending/99/commit", &word())
            .await
            .status,
        404
    );
    assert_eq!(rows(&running, "").await.len(), 1, "nothing was decided");
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_half_whose_topic_is_gone_says_so() {
    let running = quiet().await;
    let mut client: Client = running.client().await;
    let handle = client.half("orders", "K1", b"x").await;
    let delete = support::frame(215, &[("topic", "orders")]);
    assert_eq!(client.call(delete).await.code, 0);
    let path = format!("/api/pending/{}", handle.message_id);
    let shown = get(&running, &path).await.json();
    assert!(
        shown["waits"]
            .as_str()
            .expect("text")
            .ends_with("topic missing"),
        "{shown}"
    );
    let refused = post(&running, &format!("{path}/commit"), &word()).await;
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("orders"), "{}", refused.body);
    assert_eq!(client.call(end(&handle, COMMIT)).await.code, 17);
    assert_eq!(client.call(half("orders", "K2", b"x")).await.code, 0);
    assert_eq!(client.call(end(&handle, COMMIT)).await.code, 0);
    running.broker.shutdown().await;
}
