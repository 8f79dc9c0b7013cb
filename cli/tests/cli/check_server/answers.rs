//! What is answered of which half.

use sqlx::{Connection as _, SqliteConnection};

use super::{GROUP, Scene, eventually, health};
use crate::orders::Orders;
use crate::support::Running;

#[tokio::test]
async fn a_committed_marker_commits_and_a_missing_one_is_ruled_out_for_good() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let committed = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    let crashed = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    orders.commit(&committed).await;
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    assert_eq!(scene.decision(&committed).await, "commit");
    assert_eq!(scene.decision(&crashed).await, "rollback");

    let (state, decided_by) = orders.row(&crashed).await.unwrap();
    assert_eq!(state, 2);
    let decided_by = decided_by.unwrap();
    assert!(decided_by.starts_with("check-server "), "{decided_by}");
    let (status, said) = health(&server);
    assert_eq!((status, &said["status"]), (200, &"ok".into()), "{said}");
    assert_eq!(said["groups"][0]["group"], GROUP);
    assert!(
        said["groups"][0]["answered"].as_u64().unwrap() >= 2,
        "{said}"
    );
}

#[tokio::test]
async fn a_transaction_that_is_open_is_neither_committed_nor_ruled_out() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let _server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    let mut service = SqliteConnection::connect(&orders.url).await.unwrap();
    let mut tx = service.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    sqlx::query("INSERT INTO escrow_marker (tx_id) VALUES (?)")
        .bind(&half)
        .execute(&mut *tx)
        .await
        .unwrap();
    scene.unknown(&half, "in_flight").await;
    tx.commit().await.unwrap();
    assert_eq!(scene.decision(&half).await, "commit");
}

#[tokio::test]
async fn a_half_without_domain_is_committed_but_never_ruled_out() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let (committed, unknown) = (scene.half(&[]).await, scene.half(&[]).await);
    orders.commit(&committed).await;
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    assert_eq!(scene.decision(&committed).await, "commit");
    scene.unknown(&unknown, "no_row").await;
    assert_eq!(orders.row(&unknown).await, None);
    // That is how such a half stays until somebody decides: no alarm.
    let (status, said) = health(&server);
    assert_eq!(status, 200, "{said}");
}

#[tokio::test]
async fn a_half_without_domain_is_ruled_out_where_that_was_asked_for() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let half = scene.half(&[]).await;
    let mut command = scene.check_server(&[format!("{GROUP}={}", orders.url)]);
    let _server = Running::start(command.args(["--untagged", "decide"]));
    assert_eq!(scene.decision(&half).await, "rollback");
    assert_eq!(orders.row(&half).await.unwrap().0, 2);
}

#[tokio::test]
async fn a_half_of_another_database_is_left_alone_and_raises_an_alarm() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let staging = Orders::in_file(scene.path("staging.db"));
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", staging.url)]));
    let said = scene.unknown(&half, "wrong_domain").await;
    assert!(
        said.contains(&orders.domain) && said.contains(&staging.domain),
        "{said}"
    );
    assert_eq!(staging.row(&half).await, None);
    let (status, said) = health(&server);
    assert_eq!(status, 503);
    assert_eq!(
        said["groups"][0]["alarms"][0]["reason"], "wrong_domain",
        "{said}"
    );
}

#[tokio::test]
async fn a_restored_backup_answers_nothing_of_what_was_before_it() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    let adopted = crate::support::printed(crate::support::escrow().args([
        "migrate",
        "--adopt",
        "--database-url",
        &orders.url,
    ]));
    assert!(!adopted.contains(&orders.domain), "{adopted}");
    let _server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    scene.unknown(&half, "wrong_domain").await;
    assert_eq!(orders.row(&half).await, None);
}

#[tokio::test]
async fn each_shard_is_asked_of_its_own_and_an_unknown_one_of_none() {
    let scene = Scene::set();
    let eu = Orders::in_file(scene.path("eu.db"));
    let us = Orders::in_file(scene.path("us.db"));
    let in_eu = scene
        .half(&[("ESCROW_DOMAIN", &eu.domain), ("ESCROW_SHARD", "eu")])
        .await;
    let in_us = scene.half(&[("ESCROW_SHARD", "us")]).await;
    let by_domain = scene.half(&[("ESCROW_DOMAIN", &us.domain)]).await;
    let astray = scene.half(&[("ESCROW_SHARD", "asia")]).await;
    us.commit(&in_us).await;
    let shards = [
        format!("{GROUP}/eu={}", eu.url),
        format!("{GROUP}/us={}", us.url),
    ];
    let _server = Running::start(&mut scene.check_server(&shards));
    assert_eq!(scene.decision(&in_eu).await, "rollback");
    assert_eq!(scene.decision(&in_us).await, "commit");
    assert_eq!(scene.decision(&by_domain).await, "rollback");
    assert_eq!(eu.row(&in_eu).await.unwrap().0, 2);
    assert_eq!(us.row(&by_domain).await.unwrap().0, 2);
    scene.unknown(&astray, "unknown_shard").await;
    assert_eq!((eu.row(&astray).await, us.row(&astray).await), (None, None));
}

#[tokio::test]
async fn metrics_count_answers_by_outcome_and_reason() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    scene.half(&[]).await;
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    assert_eq!(scene.decision(&half).await, "rollback");
    let admin = server.field("admin");
    let expected = [
        "escrow_check_answers_total{group=\"order-service\",outcome=\"rollback\",reason=\"\"} 1",
        "escrow_check_answers_total{group=\"order-service\",outcome=\"unknown\",reason=\"no_row\"}",
    ];
    eventually("both answers in the metrics", || {
        let (status, text) = crate::support::http_get(&admin, "/metrics", &admin);
        assert_eq!(status, 200);
        expected
            .iter()
            .all(|line| text.contains(line))
            .then_some(())
    })
    .await;
}
