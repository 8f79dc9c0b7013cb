//! The operator's API: what is pending, deciding it, metrics, and who is kept out.

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{COMMIT, Client, Running, end, half, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer of the API.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn error(&self) -> String {
        self.json()["error"]
            .as_str()
            .expect("an error says why")
            .to_owned()
    }
}

/// Sends a request with these further header lines; the connection closes behind it.
async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the admin API listens");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    timeout(support::PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("in time")
        .expect("it answers");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Answer {
        status,
        body: body.to_owned(),
    }
}

fn admin(running: &Running) -> SocketAddr {
    running.broker.addresses().admin
}

async fn get(running: &Running, path: &str) -> Answer {
    http(admin(running), "GET", path, &["Host: localhost"], "").await
}

async fn post(running: &Running, path: &str, body: &Value) -> Answer {
    let headers = ["Host: localhost", "Content-Type: application/json"];
    http(admin(running), "POST", path, &headers, &body.to_string()).await
}

fn word() -> Value {
    json!({ "reason": "the order was paid", "operator": "kim" })
}

/// A broker that does not check by itself while a test looks.
async fn quiet() -> Running {
    Running::start_with(|settings| settings.transaction_time_out = None).await
}

async fn rows(running: &Running, query: &str) -> Vec<Value> {
    let answer = get(running, &format!("/api/pending?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["rows"].as_array().expect("rows").clone()
}

fn keys(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["unique_key"].as_str().expect("a key"))
        .collect()
}

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
async fn latencies_of_requests_have_the_names_and_labels_of_rocketmq() {
    let running = quiet().await;
    let mut client = running.client().await;
    let done = client.half("orders", "K1", b"x").await;
    client.end(&done, COMMIT).await;
    client.end(&done, support::ROLLBACK).await;
    let done = client.half("orders", "K2", b"x").await;
    client.post(support::end(&done, COMMIT).oneway()).await;
    client.call(support::frame(9999, &[])).await;
    client.call(support::pull("orders", 3, 0, 300)).await;
    // What is answered after them on their connection says that they are counted.
    client.half("orders", "K3", b"x").await;
    let answer = get(&running, "/metrics").await;
    let labels = r#"cluster="DefaultCluster",node_type="broker",node_id="broker-a",protocol_type="remoting""#;
    for (sample, value) in [
        (
            r#"bucket{L,request_code="end_transaction",response_code="success",is_long_polling="false",result="success",le="+Inf"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="end_transaction",response_code="illegal_operation",is_long_polling="false",result="success"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="end_transaction",response_code="success",is_long_polling="false",result="oneway"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="(others)",response_code="request_code_not_supported",is_long_polling="false",result="success"}"#,
            "1",
        ),
        (
            r#"bucket{L,request_code="pull_message",response_code="pull_not_found",is_long_polling="true",result="success",le="100"}"#,
            "0",
        ),
        (
            r#"count{L,request_code="pull_message",response_code="pull_not_found",is_long_polling="true",result="success"}"#,
            "1",
        ),
    ] {
        let line = format!(
            "rocketmq_rpc_latency_{} {value}",
            sample.replace('L', labels)
        );
        assert!(
            answer.body.lines().any(|seen| seen == line),
            "{line} not in\n{}",
            answer.body
        );
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn metrics_have_the_names_of_rocketmq() {
    let running = quiet().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"plain", &[])).await;
    client.half("orders", "K1", b"x").await;
    let done = client.half("orders", "K2", b"x").await;
    client.end(&done, COMMIT).await;
    let undone = client.half("orders", "K3", b"x").await;
    client.end(&undone, support::ROLLBACK).await;
    client.consume("orders", 0).await;
    client.call(support::frame(9999, &[])).await;
    let bad = [
        ("topic", "a b"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    client.call(support::frame(17, &bad)).await;
    let answer = get(&running, "/metrics").await;
    assert_eq!(answer.status, 200);
    let labels = r#"cluster="DefaultCluster",node_type="broker",node_id="broker-a""#;
    for sample in [
        r#"rocketmq_half_messages{L,topic="orders"} 1"#,
        r#"rocketmq_commit_messages_total{L,topic="orders"} 1"#,
        r#"rocketmq_rollback_messages_total{L,topic="orders"} 1"#,
        r#"rocketmq_finish_message_latency_bucket{L,topic="orders",le="5"} 1"#,
        r#"rocketmq_finish_message_latency_count{L,topic="orders"} 1"#,
        r#"escrow_decision_latency_milliseconds_count{L} 2"#,
        r#"rocketmq_message_size_bucket{L,topic="orders",message_type="transaction",is_system="false",le="1024"} 3"#,
        r#"rocketmq_consumer_group_create_execution_time_count{L,invocation_status="success"} 1"#,
        r#"rocketmq_topic_create_execution_time_count{L,invocation_status="failure",is_system="false"} 1"#,
        r#"rocketmq_messages_in_total{L,topic="orders",message_type="normal",is_system="false"} 1"#,
        r#"rocketmq_messages_in_total{L,topic="orders",message_type="transaction",is_system="false"} 3"#,
        r#"rocketmq_messages_out_total{L,topic="orders",consumer_group="cg",is_system="false"} 2"#,
        r#"rocketmq_topic_number{L} 14"#,
        r#"rocketmq_consumer_group_number{L} 9"#,
        r#"rocketmq_processor_watermark{L,processor="log"} "#,
        r#"rocketmq_storage_flush_behind_bytes{L,storage_type="local",storage_medium="disk"} "#,
        r#"escrow_pending_halfs{L} 1"#,
        r#"escrow_unsupported_requests_total{L,request_code="9999"} 1"#,
    ] {
        let sample = sample.replace('L', labels);
        assert!(
            answer.body.lines().any(|line| line.starts_with(&sample)),
            "{sample} not in\n{}",
            answer.body
        );
    }
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
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
async fn foreign_hosts_and_origins_are_kept_out() {
    let running = quiet().await;
    let try_with = async |headers: &[&str]| {
        http(admin(&running), "GET", "/api/pending", headers, "")
            .await
            .status
    };
    assert_eq!(try_with(&["Host: 127.0.0.1:8088"]).await, 200);
    assert_eq!(try_with(&["Host: evil.example"]).await, 403);
    assert_eq!(
        try_with(&["Host: localhost", "Origin: http://evil.example"]).await,
        403
    );
    assert_eq!(
        try_with(&["Host: localhost", "Origin: http://localhost:8088"]).await,
        200
    );
    let health = http(
        admin(&running),
        "GET",
        "/health",
        &["Host: evil.example"],
        "",
    )
    .await;
    assert_eq!(health.status, 403);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn with_a_token_set_nothing_but_health_goes_without() {
    let token = "0123456789abcdef";
    let set = |settings: &mut escrow_broker::config::Settings| {
        settings.admin_token = Some(escrow_broker::config::Secret(token.to_owned()));
    };
    let running = Running::start_with(set).await;
    assert_eq!(get(&running, "/health").await.status, 200);
    for path in [
        "/api/pending",
        "/api/status",
        "/metrics",
        "/api/pending/watch",
    ] {
        assert_eq!(get(&running, path).await.status, 401, "{path}");
    }
    let with = async |token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        http(
            admin(&running),
            "GET",
            "/api/status",
            &["Host: localhost", &bearer],
            "",
        )
        .await
        .status
    };
    assert_eq!(with(token).await, 200);
    assert_eq!(with("0123456789abcdeX").await, 401);
    assert_eq!(with("").await, 401);
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

#[tokio::test]
async fn a_groups_watermark_is_held_by_its_oldest_undecided_half_also_across_a_restart() {
    let running = quiet().await;
    let mut client = running.client().await;
    let first = client.half("orders", "K1", b"x").await;
    let second = client.half("orders", "K2", b"x").await;
    let path = "/api/groups/pg/watermark";
    let held = get(&running, path).await.json();
    assert_eq!(held["group"], "pg");
    assert_eq!(held["undecided"], 2);
    assert_eq!(held["oldest"], first.message_id);
    let running = running
        .restart_with(|settings| settings.transaction_time_out = None)
        .await;
    assert_eq!(
        get(&running, path).await.json()["watermark"],
        held["watermark"]
    );
    let mut client = running.client().await;
    client.end(&first, COMMIT).await;
    client.end(&second, support::ROLLBACK).await;
    let free = get(&running, path).await.json();
    assert_eq!(
        (&free["undecided"], &free["oldest"]),
        (&json!(0), &json!(null))
    );
    assert!(free["watermark"].as_i64() >= held["watermark"].as_i64());
    let unknown = get(&running, "/api/groups/never%20heard%20of/watermark").await;
    assert_eq!(unknown.status, 200);
    assert_eq!(unknown.json()["group"], "never heard of");
    running.broker.shutdown().await;
}

#[tokio::test]
async fn decisions_are_listed_with_their_halfs_also_across_a_restart() {
    let running = quiet().await;
    let mut client = running.client().await;
    let domain = "5f0c9e1e-9b8e-4b67-9d6a-1f2a3b4c5d6e";
    let props = [
        ("TRAN_MSG", "true"),
        ("PGROUP", "pg"),
        ("UNIQ_KEY", "K1"),
        ("ESCROW_DOMAIN", domain),
    ];
    let mut tagged = send("orders", 0, b"x", &props);
    tagged.ext.insert("f", "4");
    let first = support::Handle::of(&client.call(tagged).await);
    let second = client.half("bills", "K2", b"x").await;
    client.half("bills", "K3", b"undecided").await;
    let path = format!("/api/pending/{}/rollback", second.message_id);
    assert_eq!(post(&running, &path, &word()).await.status, 200);
    client.end(&first, COMMIT).await;
    let before = get(&running, "/api/decisions?group=pg&since=0")
        .await
        .json();
    let decisions = before["decisions"].as_array().expect("decisions");
    assert_eq!(decisions.len(), 2, "{before}");
    let fields = |of: &Value| {
        [
            "transaction_id",
            "topic",
            "group",
            "outcome",
            "source",
            "domain",
        ]
        .map(|name| of[name].clone())
    };
    assert_eq!(
        fields(&decisions[0]),
        ["K2", "bills", "pg", "rollback", "operator"]
            .map(|text| json!(text))
            .into_iter()
            .chain([json!(null)])
            .collect::<Vec<_>>()[..]
    );
    assert_eq!(
        fields(&decisions[1]),
        ["K1", "orders", "pg", "commit", "producer", domain].map(|text| json!(text))
    );
    assert_eq!(decisions[1]["id"], first.message_id);
    assert!(decisions[1]["stored_at"].as_i64() <= decisions[1]["decided_at"].as_i64());
    assert!(before["next"].is_null());
    assert_eq!(before["unreadable_bytes"], 0);

    let running = running
        .restart_with(|settings| settings.transaction_time_out = None)
        .await;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/decisions?limit=1{cursor}");
        let page = get(&running, &path).await.json();
        found.extend(page["decisions"].as_array().expect("decisions").clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let keys: Vec<_> = found
        .iter()
        .map(|row| row["transaction_id"].clone())
        .collect();
    assert_eq!(keys, [json!("K2"), json!("K1")]);
    let later = found[1]["decided_at"].as_i64().expect("a time") + 1;
    for query in [format!("since={later}"), "group=nobody".to_owned()] {
        let none = get(&running, &format!("/api/decisions?{query}"))
            .await
            .json();
        assert_eq!(
            (&none["decisions"], &none["next"]),
            (&json!([]), &json!(null))
        );
    }
    running.broker.shutdown().await;
}
