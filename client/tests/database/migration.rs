//! The tables are made once, whoever comes and how often, and never taken back to an older version.

use escrow_client::database::grants::{GrantsFor, Users, grants};
use escrow_client::database::migrate::MigrateError;
use escrow_client::database::purge::{Limit, purge};
use escrow_client::database::start_up::{Role, verify};
use escrow_client::database::{Verdict, migrate};
use escrow_test_databases::{Engine, Server};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{MySql, Pool, Postgres};

use crate::support::{TestDb, asking, id, migrated, on_each_engine};

on_each_engine!(
    a_second_run_changes_nothing,
    two_runs_at_once_are_safe,
    two_databases_are_two_domains,
    a_newer_database_is_not_taken_back,
    tables_made_by_another_tool_are_recognised,
    the_applications_own_migrations_are_left_alone,
);

async fn a_second_run_changes_nothing<DB: TestDb>() {
    let database = DB::empty().await;
    let first = migrate(&database.pool).await.unwrap();
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    assert_eq!(migrate(&database.pool).await.unwrap(), first);
    assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
}

async fn two_runs_at_once_are_safe<DB: TestDb>() {
    let database = DB::empty().await;
    let run = || migrate(&database.pool);
    let (one, two, three) = tokio::join!(run(), run(), run());
    let one = one.unwrap();
    assert_eq!(two.unwrap(), one);
    assert_eq!(three.unwrap(), one);
    assert_eq!(database.number("SELECT COUNT(*) FROM escrow_meta").await, 1);
}

async fn two_databases_are_two_domains<DB: TestDb>() {
    let one = DB::empty().await;
    let two = DB::empty().await;
    let one = migrate(&one.pool).await.unwrap();
    assert_ne!(migrate(&two.pool).await.unwrap().domain, one.domain);
}

async fn a_newer_database_is_not_taken_back<DB: TestDb>() {
    let database = migrated::<DB>().await;
    database
        .run("UPDATE escrow_meta SET version = 7")
        .await
        .unwrap();
    let refusal = migrate(&database.pool).await.unwrap_err();
    assert!(
        matches!(refusal, MigrateError::Newer { found: 7 }),
        "{refusal:?}"
    );
}

async fn tables_made_by_another_tool_are_recognised<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let known = migrate(&database.pool).await.unwrap();
    database.run("DROP TABLE escrow_migrations").await.unwrap();
    assert_eq!(migrate(&database.pool).await.unwrap(), known);
}

async fn the_applications_own_migrations_are_left_alone<DB: TestDb>() {
    let database = DB::empty().await;
    // With a version that we do not know.
    database
        .run("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY)")
        .await
        .unwrap();
    database
        .run("INSERT INTO _sqlx_migrations VALUES (20260101)")
        .await
        .unwrap();
    migrate(&database.pool).await.unwrap();
    let theirs = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 20260101";
    assert_eq!(database.number(theirs).await, 1);
}

#[tokio::test]
async fn a_migration_of_mariadb_cut_short_says_what_to_do() {
    let database = migrated::<MySql>().await;
    database
        .run("UPDATE escrow_migrations SET success = FALSE")
        .await
        .unwrap();
    let refusal = migrate(&database.pool).await.unwrap_err();
    assert!(
        matches!(refusal, MigrateError::HalfWay { version: 1 }),
        "{refusal:?}"
    );
    assert!(refusal.to_string().contains("escrow_migrations"));
}

/// Whoever has the grants can do their work, and a checker or purger nothing else.
async fn the_grants_are_enough_and_not_more<DB: TestDb>(
    server: &Pool<DB>,
    [application, checker, purger]: [Pool<DB>; 3],
) {
    for (pool, role) in [
        (&application, Role::Producer),
        (&application, Role::Consumer),
        (&checker, Role::Checker),
    ] {
        verify(pool, role, None).await.unwrap();
    }
    let mut tx = application.begin_with(DB::BEGIN).await.unwrap();
    DB::mark(&mut tx, &[id("A")]).await.unwrap();
    assert!(DB::fence(&mut tx, &[id("A")]).await.unwrap());
    tx.commit().await.unwrap();
    for pool in [&application, &checker] {
        assert_eq!(
            DB::decide(pool, &asking(&id("A"))).await,
            Verdict::Committed
        );
    }
    assert_eq!(
        DB::decide(&checker, &asking(&id("B"))).await,
        Verdict::RolledBack
    );
    for statement in [
        "UPDATE escrow_marker SET state = 2 WHERE tx_id = 'A'",
        "DELETE FROM escrow_marker WHERE tx_id = 'B'",
        "UPDATE escrow_meta SET version = 1",
        "INSERT INTO escrow_inbox (consumer_group, message_id) VALUES ('g', 'm')",
    ] {
        let mut connection = checker.acquire().await.unwrap();
        let refused = DB::run(&mut connection, statement).await;
        assert!(refused.is_err(), "{statement}");
    }
    let old = Limit::OlderThan(std::time::Duration::ZERO);
    assert_eq!(purge(&purger, old).await.unwrap().markers, 0);
    let mut connection = purger.acquire().await.unwrap();
    for statement in [
        "INSERT INTO escrow_marker (tx_id) VALUES ('C')",
        "UPDATE escrow_meta SET domain = domain",
    ] {
        let refused = DB::run(&mut connection, statement).await;
        assert!(refused.is_err(), "{statement}");
    }
    server.close().await;
}

fn users(suffix: &str) -> Users {
    let user = |name| format!("{name}{suffix}");
    Users {
        application: user("grants_app"),
        checker: user("grants_checker"),
        purger: user("grants_purger"),
    }
}

#[tokio::test]
async fn the_grants_of_postgres_are_enough_and_not_more() {
    let database = migrated::<Postgres>().await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let users = users("");
    for user in [&users.application, &users.checker, &users.purger] {
        database
            .run(&format!("CREATE ROLE {user} LOGIN"))
            .await
            .unwrap();
    }
    database
        .run(&grants(GrantsFor::Postgres, &users))
        .await
        .unwrap();
    let pool = async |user: &str| {
        let options = options.clone().username(user);
        PgPoolOptions::new().connect_with(options).await.unwrap()
    };
    let pools = [
        pool(&users.application).await,
        pool(&users.checker).await,
        pool(&users.purger).await,
    ];
    the_grants_are_enough_and_not_more(&database.pool, pools).await;
}

#[tokio::test]
async fn the_grants_of_mariadb_are_enough_and_not_more() {
    let database = migrated::<MySql>().await;
    let options: MySqlConnectOptions = database.url.parse().unwrap();
    for user in ["grants_app", "grants_checker", "grants_purger"] {
        let create = format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'x'");
        database.run(&create).await.unwrap();
    }
    database
        .run(&grants(GrantsFor::MySql, &users("@127.0.0.1")))
        .await
        .unwrap();
    let pool = async |user: &str| {
        let options = options.clone().username(user).password("x");
        MySqlPoolOptions::new().connect_with(options).await.unwrap()
    };
    let pools = [
        pool("grants_app").await,
        pool("grants_checker").await,
        pool("grants_purger").await,
    ];
    the_grants_are_enough_and_not_more(&database.pool, pools).await;
}

#[tokio::test]
async fn a_copied_database_is_the_original_until_it_is_adopted() {
    let server = Server::shared(Engine::Postgres).unwrap();
    let url = server.fresh_database().await.unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(&url)
        .await
        .unwrap();
    let identity = migrate(&pool).await.unwrap();
    assert_eq!(identity.domain.to_string().len(), 36);
    assert_eq!(identity.version, 1);
    pool.close().await;
    // A copy says it is the original, until it is adopted.
    let copy = format!(
        "CREATE DATABASE domain_copy TEMPLATE {}",
        url.rsplit_once('/').unwrap().1
    );
    let home = PgPoolOptions::new()
        .connect(&server.url("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(copy))
        .execute(&home)
        .await
        .unwrap();
    let copied = PgPoolOptions::new()
        .connect(&server.url("domain_copy"))
        .await
        .unwrap();
    assert_eq!(migrate(&copied).await.unwrap(), identity);
    let adopted = escrow_client::database::adopt(&copied).await.unwrap();
    assert_ne!(adopted.domain, identity.domain);
}
