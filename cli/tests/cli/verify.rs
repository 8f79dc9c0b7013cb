//! `escrow verify`: a broker and a database that agree, and each way in which they can disagree.

use std::process::{Command, Output};

use escrow_client::{Check, Client, Message, Resolution, Settings, TransactionProducer};
use serde_json::Value;

use crate::orders::{Engine, Orders, on_each_engine};
use crate::support::{Served, escrow, refusal};

on_each_engine!(
    agreement_is_no_difference_and_neither_is_what_is_pending,
    every_kind_of_difference_is_found,
    a_marker_that_is_older_than_the_time_asked_for_is_found_all_the_same,
    more_markers_than_fit_on_a_page_are_all_compared,
    a_comparison_that_cannot_be_made_has_an_exit_code_of_its_own,
    markers_from_before_the_brokers_log_are_counted_and_not_called_lost,
);

struct Scene {
    served: Served,
    orders: Orders,
    client: Client,
    producer: TransactionProducer,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn set(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let served = Served::on(&folder.path().join("broker"));
        let orders = Orders::fresh(engine, folder.path()).await;
        let client = Client::start(Settings::new(&served.namesrv)).await.unwrap();
        let unsaid = |_: Check| async { Resolution::Unknown };
        let producer = TransactionProducer::new(&client, "orders", unsaid);
        Self {
            served,
            orders,
            client,
            producer,
            _folder: folder,
        }
    }

    /// A half with this marker (1 committed, 2 ruled out, 0 none), decided so; its transaction id.
    async fn transaction(&self, marker: i64, decided: Resolution) -> String {
        let order = Message::new("Orders", "x");
        let order = order
            .property("ESCROW_DOMAIN", &self.orders.domain)
            .unwrap();
        let half = self.producer.send_half(&order).await.unwrap();
        let id = half.transaction_id().to_owned();
        if marker != 0 {
            self.orders.insert(&id, marker).await;
        }
        if decided != Resolution::Unknown {
            self.producer.end(&half, decided).await.unwrap();
        }
        id
    }

    fn command(&self) -> Command {
        let mut command = escrow();
        command
            .args(["verify", "--since", "1h", "--leave-out", "0s"])
            .args(["--group", &format!("orders={}", self.orders.url)])
            .args(["--broker-admin", &self.served.admin]);
        command
    }

    /// Exit code, the findings as kind and transaction id, and the sum.
    fn verify(&self) -> (i32, Vec<(String, String)>, Value) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command().arg("--json").output().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let sum = lines
            .pop()
            .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stderr)));
        let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let mut found: Vec<_> = lines
            .iter()
            .map(|line| (text(line, "kind"), text(line, "transaction_id")))
            .collect();
        found.sort();
        (status.code().unwrap(), found, sum)
    }
}

async fn agreement_is_no_difference_and_neither_is_what_is_pending(engine: Engine) {
    use Resolution::{Commit, Rollback, Unknown};
    let scene = Scene::set(engine).await;
    scene.transaction(1, Commit).await;
    scene.transaction(2, Rollback).await;
    scene.transaction(0, Rollback).await;
    scene.transaction(0, Unknown).await;
    let pending = scene.transaction(1, Unknown).await;
    let (code, found, sum) = scene.verify();
    assert_eq!(found, [("pending".to_owned(), pending)]);
    assert_eq!(
        (code, &sum["differences"], &sum["pending"]),
        (0, &0.into(), &1.into()),
        "{sum}"
    );
    assert_eq!(
        (&sum["markers"], &sum["decisions"]),
        (&3.into(), &3.into()),
        "{sum}"
    );
    scene.client.close().await;
}

async fn every_kind_of_difference_is_found(engine: Engine) {
    use Resolution::{Commit, Rollback};
    let scene = Scene::set(engine).await;
    scene.transaction(1, Commit).await;
    let expected = [
        (
            "committed-and-rolled-back",
            scene.transaction(1, Rollback).await,
        ),
        (
            "delivered-without-marker",
            scene.transaction(0, Commit).await,
        ),
        ("lost", "of-a-half-that-was-lost".to_owned()),
        (
            "ruled-out-and-delivered",
            scene.transaction(2, Commit).await,
        ),
    ];
    scene.orders.commit("of-a-half-that-was-lost").await;
    let (code, found, sum) = scene.verify();
    let expected: Vec<(String, String)> = expected
        .into_iter()
        .map(|(kind, id)| (kind.to_owned(), id))
        .collect();
    assert_eq!(found, expected);
    assert_eq!((code, &sum["differences"]), (1, &4.into()), "{sum}");

    let output = scene.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for (kind, id) in expected {
        assert!(text.contains(&format!("{kind}  {id}")), "{text}");
    }
    assert!(text.contains("4 differences"), "{text}");
    scene.client.close().await;
}

async fn a_marker_that_is_older_than_the_time_asked_for_is_found_all_the_same(engine: Engine) {
    let scene = Scene::set(engine).await;
    let long = scene.transaction(1, Resolution::Commit).await;
    scene.orders.age(&long, 2 * 3600).await;
    let (code, found, _) = scene.verify();
    assert_eq!((code, found), (0, Vec::new()));
    scene.client.close().await;
}

async fn more_markers_than_fit_on_a_page_are_all_compared(engine: Engine) {
    let scene = Scene::set(engine).await;
    for _ in 0..30 {
        scene.transaction(1, Resolution::Commit).await;
    }
    // 2500 lost ones, over three pages of markers.
    let lost: Vec<String> = (0..2500).map(|n| format!("('lost-{n}')")).collect();
    let insert = "INSERT INTO escrow_marker (tx_id) VALUES";
    scene
        .orders
        .run(&format!("{insert} {}", lost.join(", ")))
        .await;
    let (code, found, sum) = scene.verify();
    assert_eq!((code, found.len()), (1, 2500));
    assert_eq!(
        (&sum["markers"], &sum["decisions"]),
        (&2530.into(), &30.into()),
        "{sum}"
    );
    scene.client.close().await;
}

async fn a_comparison_that_cannot_be_made_has_an_exit_code_of_its_own(engine: Engine) {
    let scene = Scene::set(engine).await;
    let group = format!("orders={}", scene.orders.url);
    let mut command = escrow();
    command.args([
        "verify",
        "--since",
        "1h",
        "--group",
        &group,
        "--broker-admin",
        "127.0.0.1:1",
    ]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
    let mut command = escrow();
    command.args(["verify", "--since", "1h", "--group", &group]);
    assert!(refusal(&mut command).contains("--broker-admin"));
    scene.client.close().await;
}

async fn markers_from_before_the_brokers_log_are_counted_and_not_called_lost(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::fresh(engine, folder.path()).await;
    orders.commit("of-another-life").await;
    let scene = Scene {
        orders,
        ..Scene::set(engine).await
    };
    scene.transaction(1, Resolution::Commit).await;
    let (code, found, sum) = scene.verify();
    assert_eq!(
        (code, found, &sum["unjudged"]),
        (0, Vec::new(), &1.into()),
        "{sum}"
    );
    scene.client.close().await;
}
