//! What `escrow purge` and `escrow verify` go by: a group's watermark, and what was decided.

use serde_json::{Value, json};

use crate::api::{get, post, quiet, word};
use crate::support::{self, COMMIT, send};

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
