//! PostgreSQL and MariaDB: sessions that can be named, servers that crash, passwords that change.

use escrow_test_databases::{Engine, Server};
use rustix::process::Signal;
use sqlx::{Connection as _, MySqlConnection, PgConnection};

use super::{GROUP, Scene, eventually, health};
use crate::orders::migrated;
use crate::support::{Running, refusal};

/// Sends a half, holds its transaction open, then commits: what was said meanwhile, and how it was decided.
async fn open_then_committed(scene: &Scene, url: &str) -> String {
    let domain = migrated(url);
    let _server = Running::start(&mut scene.check_server(&[format!("{GROUP}={url}")]));
    let half = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    let insert = format!("INSERT INTO escrow_marker (tx_id) VALUES ('{half}')");
    let said;
    if url.starts_with("postgres") {
        let mut service = PgConnection::connect(url).await.unwrap();
        let mut tx = service.begin().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut *tx)
            .await
            .unwrap();
        said = scene.unknown(&half, "the transaction is open in").await;
        tx.commit().await.unwrap();
    } else {
        let mut service = MySqlConnection::connect(url).await.unwrap();
        let mut tx = service.begin().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
            .execute(&mut *tx)
            .await
            .unwrap();
        said = scene.unknown(&half, "the transaction is open in").await;
        tx.commit().await.unwrap();
    }
    assert_eq!(scene.decision(&half).await, "commit");
    let crashed = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    assert_eq!(scene.decision(&crashed).await, "rollback");
    said
}

/// A broker that gives a service two seconds before it asks: time to insert the marker.
fn patient() -> Scene {
    Scene::set_with("2s")
}

#[tokio::test]
async fn on_postgresql_the_session_that_holds_a_half_is_named() {
    let server = Server::shared(Engine::Postgres).unwrap();
    let url = server.fresh_database().await.unwrap();
    let said = open_then_committed(&patient(), &url).await;
    assert!(
        said.contains("in_flight") && said.contains("session"),
        "{said}"
    );
}

#[tokio::test]
async fn on_mariadb_the_session_that_holds_a_half_is_named() {
    let server = Server::shared(Engine::MariaDb).unwrap();
    let url = server.fresh_database().await.unwrap();
    let said = open_then_committed(&patient(), &url).await;
    assert!(
        said.contains("in_flight") && said.contains("session"),
        "{said}"
    );
}

#[tokio::test]
async fn a_database_that_crashed_is_waited_for() {
    let database = Server::start(Engine::Postgres, &[]).unwrap();
    let url = database.fresh_database().await.unwrap();
    let domain = migrated(&url);
    let scene = Scene::set();
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={url}")]));
    database.crash();
    let half = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    scene.unknown(&half, "db_unreachable").await;
    let said = eventually("the lost database in the health", || {
        let (status, said) = health(&server);
        (status == 503 && said["databases"][0]["state"] == "unreachable").then_some(said)
    })
    .await;
    assert_eq!(said["status"], "degraded");
    database.restart().unwrap();
    assert_eq!(scene.decision(&half).await, "rollback");
    eventually("health", || (health(&server).0 == 200).then_some(())).await;
}

#[tokio::test]
async fn a_database_that_is_down_at_the_start_is_waited_for() {
    let database = Server::start(Engine::MariaDb, &[]).unwrap();
    let url = database.fresh_database().await.unwrap();
    let domain = migrated(&url);
    database.crash();
    let scene = Scene::set();
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={url}")]));
    let half = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    scene.unknown(&half, "db_unreachable").await;
    assert_eq!(health(&server).0, 503);
    database.restart().unwrap();
    assert_eq!(scene.decision(&half).await, "rollback");
}

#[tokio::test]
async fn a_changed_password_is_read_from_its_file() {
    let database = Server::shared(Engine::MariaDb).unwrap();
    let url = database.fresh_database().await.unwrap();
    let domain = migrated(&url);
    let mut root = MySqlConnection::connect(&url).await.unwrap();
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    let user = format!("c{}", std::process::id());
    for sql in [
        format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'first-secret'"),
        format!("GRANT SELECT, INSERT ON {name}.escrow_marker TO {user}@'127.0.0.1'"),
        format!("GRANT SELECT ON {name}.escrow_meta TO {user}@'127.0.0.1'"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut root)
            .await
            .unwrap();
    }
    let scene = Scene::set();
    let file = scene.path("url");
    let with = |password: &str| {
        let port = database.port();
        std::fs::write(
            &file,
            format!("mysql://{user}:{password}@127.0.0.1:{port}/{name}\n"),
        )
        .unwrap();
    };
    with("first-secret");
    let server =
        Running::start(&mut scene.check_server(&[format!("{GROUP}=file:{}", file.display())]));
    let half = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    assert_eq!(scene.decision(&half).await, "rollback");

    for sql in [
        format!("ALTER USER {user}@'127.0.0.1' IDENTIFIED BY 'second-secret'"),
        format!("KILL USER {user}@'127.0.0.1'"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut root)
            .await
            .unwrap();
    }
    eventually("the refusal in the health", || {
        (health(&server).0 == 503).then_some(())
    })
    .await;
    with("second-secret");
    let half = scene.half(&[("ESCROW_DOMAIN", &domain)]).await;
    assert_eq!(scene.decision(&half).await, "rollback");
    let stopped = server.stop(Signal::TERM);
    assert!(!stopped.stderr.contains("secret"), "{}", stopped.stderr);
}

#[tokio::test]
async fn a_user_without_the_privileges_and_a_wrong_password_are_refused_at_the_start() {
    let database = Server::shared(Engine::MariaDb).unwrap();
    let url = database.fresh_database().await.unwrap();
    migrated(&url);
    let mut root = MySqlConnection::connect(&url).await.unwrap();
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    let user = format!("r{}", std::process::id());
    for sql in [
        format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'right-secret'"),
        format!("GRANT SELECT ON {name}.* TO {user}@'127.0.0.1'"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut root)
            .await
            .unwrap();
    }
    let at = |password: &str| {
        format!(
            "g=mysql://{user}:{password}@127.0.0.1:{}/{name}",
            database.port()
        )
    };
    let said = refusal(&mut super::refusals::command(&[&at("right-secret")]));
    assert!(said.contains("escrow migrate --grants"), "{said}");
    let said = refusal(&mut super::refusals::command(&[&at("wrong-secret")]));
    assert!(
        said.contains("Access denied") && !said.contains("secret"),
        "{said}"
    );
}

#[tokio::test]
async fn a_marker_table_of_the_wrong_engine_is_refused() {
    let database = Server::shared(Engine::MariaDb).unwrap();
    let url = database.fresh_database().await.unwrap();
    migrated(&url);
    let mut root = MySqlConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE escrow_marker ENGINE = MyISAM")
        .execute(&mut root)
        .await
        .unwrap();
    let said = refusal(&mut super::refusals::command(&[&format!("g={url}")]));
    assert!(said.contains("MyISAM") && said.contains("InnoDB"), "{said}");
}
