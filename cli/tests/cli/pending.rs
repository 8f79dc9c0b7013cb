//! `escrow pending`, `status` and `topic` against a broker with undecided halfs.

use std::time::{Duration, Instant};

use escrow_client::{Check, Client, Half, Message, Resolution, Settings, TransactionProducer};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::{PATIENCE, Served, escrow, printed, refusal};

const TOPIC: &str = "Orders";

/// A broker, and an order service that is asked and says what the test wants.
struct Scene {
    served: Served,
    client: Client,
    producer: TransactionProducer,
    _folder: TempDir,
}

impl Scene {
    async fn set(answer: Resolution) -> Self {
        let folder = tempdir().unwrap();
        let served = Served::on(folder.path());
        let client = Client::start(Settings::new(&served.namesrv)).await.unwrap();
        client.create_topic(TOPIC, 1).await.unwrap();
        let producer = TransactionProducer::new(
            &client,
            "order-service",
            move |_: Check| async move { answer },
        );
        producer.join(TOPIC).await.unwrap();
        Self {
            served,
            client,
            producer,
            _folder: folder,
        }
    }

    async fn half(&self, keys: &str) -> Half {
        let message = Message::new(TOPIC, "an order").keys(keys).unwrap();
        self.producer.send_half(&message).await.unwrap()
    }

    fn pending(&self, words: &[&str]) -> std::process::Command {
        let mut command = escrow();
        command
            .arg("pending")
            .args(words)
            .args(["--admin-addr", &self.served.admin]);
        command
    }

    fn rows(&self, filter: &[&str]) -> Vec<Value> {
        let words: Vec<&str> = ["list", "--json"].iter().chain(filter).copied().collect();
        let answer: Value = serde_json::from_str(&printed(&mut self.pending(&words))).unwrap();
        answer["rows"].as_array().unwrap().clone()
    }

    fn only_id(&self) -> String {
        let rows = self.rows(&[]);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0]["id"].as_str().unwrap().to_owned()
    }

    /// Messages that consumers can see.
    async fn visible(&self) -> i64 {
        let route = self.client.route(TOPIC).await.unwrap();
        self.client.max_offset(&route.readable()[0]).await.unwrap()
    }

    /// Waits until nothing is undecided: answers to checks take a moment.
    async fn settled(&self) {
        let since = Instant::now();
        while !self.rows(&[]).is_empty() {
            assert!(since.elapsed() < PATIENCE, "still undecided");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_what_is_undecided_and_filters_it() {
    let scene = Scene::set(Resolution::Unknown).await;
    let half = scene.half("order-1").await;
    scene.half("order-2").await;
    let rows = scene.rows(&[]);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["topic"], TOPIC);
    assert_eq!(rows[0]["group"], "order-service");
    assert_eq!(rows[0]["state"], "pending");
    assert_eq!(scene.rows(&["--topic", "Other"]).len(), 0);
    assert_eq!(
        scene
            .rows(&["--topic", TOPIC, "--group", "order-service"])
            .len(),
        2
    );
    assert_eq!(scene.rows(&["--state", "parked"]).len(), 0);
    assert_eq!(scene.rows(&["--older-than", "1h"]).len(), 0);
    assert_eq!(scene.rows(&["--key", half.transaction_id()]).len(), 1);
    let table = printed(&mut scene.pending(&["list"]));
    assert!(
        table.contains("order-1") && table.contains("order-2"),
        "{table}"
    );
    let watched = printed(&mut scene.pending(&["watch", "--count", "2", "--interval", "0.01"]));
    assert_eq!(watched.matches("2 undecided").count(), 2, "{watched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_by_cursor() {
    let scene = Scene::set(Resolution::Unknown).await;
    for n in 0..5 {
        scene.half(&format!("order-{n}")).await;
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut words = vec!["list", "--json", "--limit", "2"];
        if let Some(cursor) = &cursor {
            words.extend(["--cursor", cursor]);
        }
        let page: Value = serde_json::from_str(&printed(&mut scene.pending(&words))).unwrap();
        let rows = page["rows"].as_array().unwrap();
        assert!(rows.len() <= 2);
        seen.extend(
            rows.iter()
                .map(|row| row["id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_commit_delivers_and_the_opposite_is_refused_afterwards() {
    let scene = Scene::set(Resolution::Unknown).await;
    scene.half("order-1").await;
    let id = scene.only_id();
    printed(&mut scene.pending(&["commit", &id, "--reason", "the customer paid"]));
    assert_eq!(scene.visible().await, 1);
    assert!(scene.rows(&[]).is_empty());
    let shown = printed(&mut scene.pending(&["show", &id]));
    assert!(shown.contains("the customer paid"), "{shown}");
    assert!(shown.contains("committed"), "{shown}");
    // Once more is fine and delivers nothing; the opposite is not.
    printed(&mut scene.pending(&["commit", &id, "--reason", "again"]));
    refusal(&mut scene.pending(&["rollback", &id, "--reason", "no"]));
    assert_eq!(scene.visible().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_rollback_is_never_delivered() {
    let scene = Scene::set(Resolution::Unknown).await;
    let half = scene.half("order-1").await;
    let id = scene.only_id();
    printed(&mut scene.pending(&["rollback", &id, "--reason", "fraud"]));
    assert!(scene.rows(&[]).is_empty());
    let error = scene
        .producer
        .end(&half, Resolution::Commit)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(604), "{error}");
    assert_eq!(scene.visible().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_asked_for_by_an_operator_is_made_at_once() {
    let scene = Scene::set(Resolution::Commit).await;
    scene.half("order-1").await;
    let asked = Instant::now();
    printed(&mut scene.pending(&["check", &scene.only_id()]));
    scene.settled().await;
    assert_eq!(scene.visible().await, 1);
    // By itself the broker would have asked after ten seconds.
    assert!(
        asked.elapsed() < Duration::from_secs(9),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_said_in_one_line() {
    let scene = Scene::set(Resolution::Unknown).await;
    for words in [
        &["show", "999999"][..],
        &["commit", "999999", "--reason", "x"],
        &["check", "999999"],
        &["show", "no number"],
    ] {
        refusal(&mut scene.pending(words));
    }
    let nobody = "127.0.0.1:1";
    let refused = refusal(escrow().args(["pending", "list", "--admin-addr", nobody]));
    assert!(refused.contains(nobody), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_what_is_pending() {
    let scene = Scene::set(Resolution::Unknown).await;
    scene.half("order-1").await;
    let mut command = escrow();
    command.args(["status", "--json", "--admin-addr", &scene.served.admin]);
    let status: Value = serde_json::from_str(&printed(&mut command)).unwrap();
    assert_eq!(status["pending"], 1);
    assert_eq!(status["parked"], 0);
    let shown = printed(escrow().args(["status", "--admin-addr", &scene.served.admin]));
    assert!(
        shown.lines().any(|line| line.starts_with("pending ")),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go() {
    let scene = Scene::set(Resolution::Unknown).await;
    let topic = |words: &[&str]| {
        let mut command = escrow();
        command
            .arg("topic")
            .args(words)
            .args(["--namesrv-addr", &scene.served.namesrv]);
        command
    };
    printed(&mut topic(&["create", "Fresh", "--queues", "3"]));
    let listed: Value = serde_json::from_str(&printed(&mut topic(&["list", "--json"]))).unwrap();
    let fresh = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["topic"] == "Fresh")
        .unwrap();
    assert_eq!(fresh["queues"], 3);
    printed(&mut topic(&["delete", "Fresh"]));
    assert!(!printed(&mut topic(&["list"])).contains("Fresh"));
    refusal(&mut topic(&["create", "not a name"]));
}
