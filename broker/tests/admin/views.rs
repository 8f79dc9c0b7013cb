//! What is pending, and how the broker is.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::{admin, get, keys, quiet, rows};
use crate::support::{self, COMMIT, Running, send};

#[tokio::test]
async fn what_is_pending_is_listed_oldest_first() {
    let running = quiet().await;
    let mut client = running.client().await;
    let handle = client.half("orders", "K1", b"one").await;
    client.half("orders", "K2", b"two").await;
    client.half("bills", "K3", b"three").await;
    let all = rows(&running, "").await;
    assert_eq!(keys(&all), ["K1", "K2", "K3"]);
    let first = &all[0];
    assert_eq!(first["id"], handle.message_id);
    for (field, expected) in [
        ("state", json!("pending")),
        ("topic", json!("orders")),
        ("group", json!("pg")),
        ("answered", json!(0)),
        ("keys", json!(null)),
        ("waits", json!("next check not due")),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert!(
        first["next_check_in_ms"]
            .as_i64()
            .is_some_and(|ms| (0..=10_000).contains(&ms)),
        "{first}"
    );
    assert!(first["size"].as_u64().is_some_and(|size| size > 0));
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_list_can_be_narrowed_and_paged() {
    let running = quiet().await;
    let mut client = running.client().await;
    for (topic, key) in [("orders", "K1"), ("bills", "K2"), ("orders", "K3")] {
        client.half(topic, key, b"x").await;
    }
    assert_eq!(keys(&rows(&running, "topic=orders").await), ["K1", "K3"]);
    assert_eq!(keys(&rows(&running, "key=K2").await), ["K2"]);
    assert_eq!(keys(&rows(&running, "group=pg&topic=bills").await), ["K2"]);
    assert!(rows(&running, "group=nobody").await.is_empty());
    assert!(rows(&running, "state=parked").await.is_empty());
    assert!(rows(&running, "older_than=1h").await.is_empty());
    assert_eq!(rows(&running, "younger_than=1h").await.len(), 3);

    let page = get(&running, "/api/pending?limit=2").await.json();
    assert_eq!(keys(page["rows"].as_array().expect("rows")), ["K1", "K2"]);
    let next = page["next"].as_str().expect("there is more");
    let page = get(&running, &format!("/api/pending?limit=2&cursor={next}"))
        .await
        .json();
    assert_eq!(keys(page["rows"].as_array().expect("rows")), ["K3"]);
    assert!(page["next"].is_null());
    running.broker.shutdown().await;
}

#[tokio::test]
async fn status_counts_what_is_pending_and_says_who_has_nobody_to_ask() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.half("orders", "K1", b"x").await;
    client.half("orders", "K2", b"x").await;
    let decided = client.half("orders", "K3", b"x").await;
    client.end(&decided, COMMIT).await;
    drop(client);
    let status = loop {
        let status = get(&running, "/api/status").await.json();
        if status["groups_without_checker"]
            .as_array()
            .is_some_and(|groups| !groups.is_empty())
        {
            break status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(
        (&status["pending"], &status["parked"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(status["groups_without_checker"][0]["group"], "pg");
    assert_eq!(status["since_start"]["committed"], 1);
    assert!(status["oldest_pending_ms"].is_u64());
    assert!(
        rows(&running, "").await[0]["waits"]
            .as_str()
            .expect("text")
            .starts_with("nobody to ask")
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn health_topics_and_groups_are_told() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"x", &[])).await;
    let health = get(&running, "/health").await;
    assert_eq!(
        (health.status, health.body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    let topics = get(&running, "/api/topics").await.json();
    let orders = topics["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["topic"] == "orders")
        .cloned();
    assert_eq!(orders.expect("the topic")["messages"], 1);
    let groups = get(&running, "/api/groups").await.json();
    assert!(
        groups["consumers"]
            .as_array()
            .expect("groups")
            .iter()
            .any(|row| row["group"] == "TOOLS_CONSUMER")
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_watcher_gets_the_list_again_and_again() {
    let running = quiet().await;
    let mut client = running.client().await;
    client.half("orders", "K1", b"x").await;
    let mut stream = TcpStream::connect(admin(&running))
        .await
        .expect("it listens");
    let request = "GET /api/pending/watch?interval=200ms HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut seen = String::new();
    while seen.matches("event: pending").count() < 2 {
        let mut buffer = [0; 4096];
        let read = timeout(support::PATIENCE, stream.read(&mut buffer))
            .await
            .expect("in time")
            .expect("it writes");
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    assert!(seen.contains(r#""unique_key":"K1""#));
    running.broker.shutdown().await;
}

#[tokio::test]
async fn bad_questions_are_told_what_is_wrong() {
    let running = quiet().await;
    for (path, status, error) in [
        ("/api/pending?state=lost", 400, "state"),
        ("/api/pending?limit=0", 400, "limit"),
        ("/api/pending?limit=501", 400, "limit"),
        ("/api/pending?cursor=x", 400, "cursor"),
        ("/api/pending?older_than=soon", 400, "older_than: `soon`"),
        ("/api/pending?colour=red", 400, "unknown parameter `colour`"),
        ("/api/pending/watch?interval=x", 400, "interval"),
        (
            "/api/pending/nonsense",
            400,
            "neither a message id nor a half offset",
        ),
        (
            "/api/pending/7F00000100002A9F0000000000001234",
            404,
            "no half message",
        ),
        ("/api/pending/99", 404, "no half message"),
        ("/api/pending/%FF", 400, "Bad Request"),
        ("/nowhere", 404, "no such path"),
        ("/api/decisions?since=yesterday", 400, "since"),
        ("/api/decisions?cursor=x", 400, "cursor"),
        ("/api/decisions?cursor=4097", 400, "cursor"),
        ("/api/decisions?limit=501", 400, "limit"),
        (
            "/api/decisions?state=parked",
            400,
            "unknown parameter `state`",
        ),
        ("/api/pending/99/commit", 405, "method"),
    ] {
        let answer = get(&running, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.error().contains(error), "{path}: {}", answer.body);
    }
    running.broker.shutdown().await;
}
