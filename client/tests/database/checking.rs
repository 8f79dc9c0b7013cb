//! Whom a checker answers for, and what it says when it cannot know.

use std::time::Duration;

use escrow_client::database::start_up::{Refusal, Role, verify};
use escrow_client::database::{
    CheckQuery, DatabaseChecker, Domain, MarkerDb, Verdict, adopt, migrate,
};
use escrow_client::{Check, Checker, ReceivedMessage, Resolution};
use escrow_protocol::message::Message as Record;
use escrow_test_databases::{Engine, Server};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySql, Postgres, Sqlite};

use crate::support::{Database, TestDb, asking, id, migrated, on_each_engine, unknown};

on_each_engine!(
    a_half_of_this_database_is_decided,
    a_half_of_another_database_is_not_decided,
    a_half_that_names_no_database_is_never_ruled_out,
    after_adoption_halfs_of_the_former_domain_are_not_ruled_out,
    a_transaction_id_that_fits_into_no_marker_is_unknown,
    missing_tables_are_unknown,
    an_exhausted_pool_is_unknown_soon,
);

fn check(id: &str, properties: &str) -> Check {
    let host = "127.0.0.1:10911".parse().unwrap();
    let record = Record {
        queue_id: 1,
        flag: 0,
        queue_offset: 7,
        physical_offset: 4096,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_timestamp: 1_700_000_000_000,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"order 42",
        topic: "Orders",
        properties,
    };
    Check {
        message: ReceivedMessage::from_record(&record).unwrap(),
        transaction_id: id.to_owned(),
        attempt: Some(1),
        stored_at_ms: 1_700_000_000_000,
    }
}

fn of_domain(domain: &str) -> String {
    format!("ESCROW_DOMAIN\u{1}{domain}\u{2}")
}

async fn checker<DB: TestDb>(database: &Database<DB>) -> (DatabaseChecker<DB>, Domain) {
    let domain = migrate(&database.pool).await.unwrap().domain;
    (
        DatabaseChecker::new(database.pool.clone(), domain, "test"),
        domain,
    )
}

async fn a_half_of_this_database_is_decided<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let (checker, domain) = checker(&database).await;
    let half = of_domain(&domain.to_string());
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    let found = async |id| checker.check(check(id, &half)).await.resolution();
    assert_eq!(found("A").await, Resolution::Commit);
    assert_eq!(found("B").await, Resolution::Rollback);
}

async fn a_half_of_another_database_is_not_decided<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let (checker, _) = checker(&database).await;
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    for other in ["11111111-1111-4111-8111-111111111111", "no UUID"] {
        for id in ["A", "B"] {
            let verdict = checker.decide(&check(id, &of_domain(other))).await;
            assert_eq!(unknown(verdict), "wrong_domain");
        }
    }
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        1
    );
}

async fn a_half_that_names_no_database_is_never_ruled_out<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let (checker, _) = checker(&database).await;
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    assert_eq!(checker.decide(&check("A", "")).await, Verdict::Committed);
    assert_eq!(unknown(checker.decide(&check("B", "")).await), "no_row");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        1
    );
}

async fn after_adoption_halfs_of_the_former_domain_are_not_ruled_out<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let (former_checker, former) = checker(&database).await;
    let adopted = adopt(&database.pool).await.unwrap().domain;
    // Whoever still believes in the former domain is told by the database itself.
    let half = check("A", &of_domain(&former.to_string()));
    assert_eq!(unknown(former_checker.decide(&half).await), "wrong_domain");
    let checker = DatabaseChecker::new(database.pool.clone(), adopted, "test");
    assert_eq!(unknown(checker.decide(&half).await), "wrong_domain");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
}

async fn a_transaction_id_that_fits_into_no_marker_is_unknown<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let (checker, domain) = checker(&database).await;
    let half = of_domain(&domain.to_string());
    for id in [String::new(), "x".repeat(65)] {
        unknown(checker.decide(&check(&id, &half)).await);
    }
}

async fn missing_tables_are_unknown<DB: TestDb>() {
    let database = DB::empty().await;
    assert_eq!(unknown(database.decide(&id("A")).await), "not_migrated");
}

async fn an_exhausted_pool_is_unknown_soon<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let pool = database.pool_of_one().await;
    let _kept = pool.acquire().await.unwrap();
    let asked = asking(&id("A"));
    let verdict = tokio::time::timeout(Duration::from_secs(5), DB::decide(&pool, &asked));
    assert_eq!(unknown(verdict.await.unwrap()), "db_unreachable");
}

/// Asks about a half for which `query` differs from the ordinary.
fn reading_only(text: &str) -> CheckQuery {
    CheckQuery {
        may_tombstone: false,
        ..asking(&id(text))
    }
}

#[tokio::test]
async fn a_check_writes_although_the_role_reads_by_default() {
    let database = migrated::<Postgres>().await;
    let options: PgConnectOptions = database.url.parse().unwrap();
    let read_only = options.options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().connect_with(read_only).await.unwrap();
    assert_eq!(
        Postgres::decide(&pool, &asking(&id("A"))).await,
        Verdict::RolledBack
    );
}

#[tokio::test]
async fn a_standby_of_postgres_answers_only_for_markers_that_it_has() {
    let server = Server::start(Engine::Postgres, &[]).unwrap();
    let url = server.fresh_database().await.unwrap();
    let pool = PgPoolOptions::new().connect(&url).await.unwrap();
    migrate(&pool).await.unwrap();
    pool.execute("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    server.crash();
    std::fs::write(server.data_folder().join("standby.signal"), "").unwrap();
    server.restart().unwrap();
    let standby = PgPoolOptions::new().connect(&url).await.unwrap();
    assert_eq!(
        verify(&standby, Role::Checker, None).await,
        Err(Refusal::ReadOnly)
    );
    for asked in ["A", "B"] {
        let verdict = Postgres::decide(&standby, &asking(&id(asked))).await;
        assert_eq!(unknown(verdict), "read_only");
    }
    assert_eq!(
        Postgres::decide(&standby, &reading_only("A")).await,
        Verdict::Committed
    );
    assert_eq!(
        unknown(Postgres::decide(&standby, &reading_only("B")).await),
        "no_row"
    );
}

#[tokio::test]
async fn a_replica_of_mariadb_answers_only_for_markers_that_it_has() {
    let server = Server::start(Engine::MariaDb, &[]).unwrap();
    let url = server.fresh_database().await.unwrap();
    let pool = MySqlPoolOptions::new().connect(&url).await.unwrap();
    migrate(&pool).await.unwrap();
    pool.execute("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    // As on a replica: a user without the privilege to write in spite of it.
    let name = url.rsplit_once('/').unwrap().1;
    for statement in [
        "CREATE USER checker@'127.0.0.1' IDENTIFIED BY 'x'".to_owned(),
        format!("GRANT SELECT, INSERT ON {name}.* TO checker@'127.0.0.1'"),
        "SET GLOBAL read_only = ON".to_owned(),
    ] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let url = url.replace("escrow:escrow@", "checker:x@");
    let replica = MySqlPoolOptions::new().connect(&url).await.unwrap();
    for id_asked in ["A", "B"] {
        let verdict = MySql::decide(&replica, &asking(&id(id_asked))).await;
        assert_eq!(unknown(verdict), "read_only");
    }
    assert_eq!(
        MySql::decide(&replica, &reading_only("A")).await,
        Verdict::Committed
    );
}

#[tokio::test]
async fn a_read_only_file_of_sqlite_answers_only_for_markers_that_it_has() {
    let database = migrated::<Sqlite>().await;
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    let read_only = SqliteConnectOptions::new()
        .filename(database.url.trim_start_matches("sqlite://"))
        .read_only(true);
    let pool = SqlitePoolOptions::new()
        .connect_with(read_only)
        .await
        .unwrap();
    assert_eq!(
        Sqlite::decide(&pool, &asking(&id("A"))).await,
        Verdict::Committed
    );
    assert_eq!(
        unknown(Sqlite::decide(&pool, &asking(&id("B"))).await),
        "read_only"
    );
}

#[tokio::test]
async fn statement_based_replication_of_mariadb_is_no_obstacle() {
    let settings = ["log-bin=binlog", "binlog-format=STATEMENT", "server-id=1"];
    let server = Server::start(Engine::MariaDb, &settings).unwrap();
    let url = server.fresh_database().await.unwrap();
    let pool = MySqlPoolOptions::new()
        .max_connections(4)
        .connect(&url)
        .await
        .unwrap();
    migrate(&pool).await.unwrap();
    for (end, right) in [
        ("COMMIT", Verdict::Committed),
        ("ROLLBACK", Verdict::RolledBack),
    ] {
        let id = id(end);
        let mut tx = pool.acquire().await.unwrap();
        MySql::run(&mut tx, "START TRANSACTION").await.unwrap();
        MySql::mark(&mut tx, std::slice::from_ref(&id))
            .await
            .unwrap();
        assert_eq!(
            unknown(MySql::decide(&pool, &asking(&id)).await),
            "in_flight"
        );
        let asked = asking(&id);
        let (waited, ()) = tokio::join!(MySql::decide(&pool, &asked), async {
            // The check waits by now; whether it still does when the transaction ends, it must be right.
            tokio::time::sleep(Duration::from_millis(200)).await;
            MySql::run(&mut tx, end).await.unwrap();
        });
        assert!(
            waited == right || unknown(waited.clone()) == "in_flight",
            "{waited:?}"
        );
        assert_eq!(MySql::decide(&pool, &asking(&id)).await, right);
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unknown_and_right_when_it_is_back() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let server = Server::start(engine, &[]).unwrap();
        let url = server.fresh_database().await.unwrap();
        match engine {
            Engine::Postgres => outage::<Postgres>(&server, &url).await,
            Engine::MariaDb => outage::<MySql>(&server, &url).await,
        }
    }
}

async fn outage<DB: TestDb>(server: &Server, url: &str) {
    let pool = sqlx::pool::PoolOptions::<DB>::new()
        .connect(url)
        .await
        .unwrap();
    migrate(&pool).await.unwrap();
    let mut committed = pool.begin_with(DB::BEGIN).await.unwrap();
    DB::mark(&mut committed, &[id("A")]).await.unwrap();
    committed.commit().await.unwrap();
    let mut open = pool.begin_with(DB::BEGIN).await.unwrap();
    DB::mark(&mut open, &[id("B")]).await.unwrap();
    server.crash();
    for asked in ["A", "B"] {
        let verdict = DB::decide(&pool, &asking(&id(asked))).await;
        assert_eq!(unknown(verdict), "db_unreachable");
    }
    server.restart().unwrap();
    assert_eq!(
        DB::decide(&pool, &asking(&id("A"))).await,
        Verdict::Committed
    );
    assert_eq!(
        DB::decide(&pool, &asking(&id("B"))).await,
        Verdict::RolledBack
    );
}

#[tokio::test]
async fn a_trigger_that_swallows_tombstones_is_no_rollback() {
    let database = migrated::<Postgres>().await;
    for statement in [
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE INSERT ON escrow_marker FOR EACH ROW EXECUTE FUNCTION swallow()",
    ] {
        database.run(statement).await.unwrap();
    }
    assert_eq!(unknown(database.decide(&id("A")).await), "no_row");
}
