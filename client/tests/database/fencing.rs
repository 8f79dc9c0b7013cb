//! Ways in which a caller's COMMIT can succeed without the work it believes in: the fence notices each, and a check
//! then finds what is true.

use escrow_client::database::{MarkerDb, MarkerError, Verdict};
use sqlx::{MySql, Postgres, Sqlite};

use crate::support::{TestDb, id, migrated, on_each_engine};

on_each_engine!(
    removing_the_marker_by_a_savepoint_is_noticed,
    a_commit_of_the_callers_own_is_noticed,
    a_rollback_of_the_callers_own_is_noticed,
    a_commit_and_begin_of_the_callers_own_is_noticed,
    a_late_marker_is_not_inserted_after_a_rollback_of_the_callers_own,
    a_late_marker_is_not_inserted_after_a_commit_and_begin_of_the_callers_own,
    savepoints_of_the_caller_do_no_harm,
    another_transactions_marker_is_not_ours,
);

async fn removing_the_marker_by_a_savepoint_is_noticed<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    DB::run(&mut tx, "SAVEPOINT earlier").await.unwrap();
    DB::mark(&mut tx, &ids).await.unwrap();
    DB::run(&mut tx, "ROLLBACK TO SAVEPOINT earlier")
        .await
        .unwrap();
    DB::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    assert!(!DB::fence(&mut tx, &ids).await.unwrap());
    DB::run(&mut tx, "ROLLBACK").await.unwrap();
    assert_eq!(database.decide(&ids[0]).await, Verdict::RolledBack);
}

async fn a_commit_of_the_callers_own_is_noticed<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &ids).await.unwrap();
    DB::run(&mut tx, "COMMIT").await.unwrap();
    assert!(!DB::fence(&mut tx, &ids).await.unwrap());
    assert_eq!(database.decide(&ids[0]).await, Verdict::Committed);
}

async fn a_rollback_of_the_callers_own_is_noticed<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &ids).await.unwrap();
    DB::run(&mut tx, "ROLLBACK").await.unwrap();
    assert!(!DB::fence(&mut tx, &ids).await.unwrap());
    assert_eq!(database.decide(&ids[0]).await, Verdict::RolledBack);
}

async fn a_commit_and_begin_of_the_callers_own_is_noticed<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &ids).await.unwrap();
    DB::run(&mut tx, "COMMIT").await.unwrap();
    DB::run(&mut tx, DB::BEGIN).await.unwrap();
    DB::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    assert!(!DB::fence(&mut tx, &ids).await.unwrap());
    DB::run(&mut tx, "ROLLBACK").await.unwrap();
    assert_eq!(database.decide(&ids[0]).await, Verdict::Committed);
}

async fn a_late_marker_is_not_inserted_after_a_rollback_of_the_callers_own<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.begun().await;
    DB::open_fence(&mut tx).await.unwrap();
    DB::run(&mut tx, "ROLLBACK").await.unwrap();
    let refused = DB::mark_late(&mut tx, &[id("A")]).await;
    assert!(matches!(refused, Err(MarkerError::Split)), "{refused:?}");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
}

async fn a_late_marker_is_not_inserted_after_a_commit_and_begin_of_the_callers_own<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.begun().await;
    DB::open_fence(&mut tx).await.unwrap();
    DB::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    DB::run(&mut tx, "COMMIT").await.unwrap();
    DB::run(&mut tx, DB::BEGIN).await.unwrap();
    let refused = DB::mark_late(&mut tx, &[id("A")]).await;
    assert!(matches!(refused, Err(MarkerError::Split)), "{refused:?}");
    DB::run(&mut tx, "COMMIT").await.unwrap();
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
}

async fn savepoints_of_the_caller_do_no_harm<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A"), id("B")];
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &ids).await.unwrap();
    for statement in [
        "SAVEPOINT attempt",
        "INSERT INTO orders VALUES (1, 'book')",
        "ROLLBACK TO SAVEPOINT attempt",
        "SAVEPOINT another",
        "INSERT INTO orders VALUES (2, 'pen')",
        "RELEASE SAVEPOINT another",
        "SAVEPOINT open",
    ] {
        DB::run(&mut tx, statement).await.unwrap();
    }
    assert!(DB::fence(&mut tx, &ids).await.unwrap());
    DB::run(&mut tx, "COMMIT").await.unwrap();
    assert_eq!(database.decide(&ids[1]).await, Verdict::Committed);
    assert_eq!(database.number("SELECT COUNT(*) FROM orders").await, 1);
}

async fn another_transactions_marker_is_not_ours<DB: TestDb>() {
    let database = migrated::<DB>().await;
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &[id("B")]).await.unwrap();
    assert!(!DB::fence(&mut tx, &[id("B"), id("C")]).await.unwrap());
    DB::run(&mut tx, "ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_swallowed_error_on_postgres_is_noticed_before_a_commit_that_would_roll_back() {
    let database = migrated::<Postgres>().await;
    let ids = [id("A")];
    let mut tx = database.pool.begin_with(Postgres::BEGIN).await.unwrap();
    Postgres::mark(&mut tx, &ids).await.unwrap();
    Postgres::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    let swallowed = Postgres::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')").await;
    assert!(swallowed.is_err());
    assert!(!Postgres::fence(&mut tx, &ids).await.unwrap());
    // What would have happened without the fence.
    tx.commit().await.unwrap();
    assert_eq!(database.number("SELECT COUNT(*) FROM orders").await, 0);
    assert_eq!(database.decide(&ids[0]).await, Verdict::RolledBack);
}

#[tokio::test]
async fn a_late_marker_on_postgres_is_refused_after_a_swallowed_error() {
    let database = migrated::<Postgres>().await;
    let mut tx = database.begun().await;
    Postgres::open_fence(&mut tx).await.unwrap();
    assert!(Postgres::run(&mut tx, "SELECT 1 / 0").await.is_err());
    let refused = Postgres::mark_late(&mut tx, &[id("A")]).await;
    assert!(matches!(refused, Err(MarkerError::Split)), "{refused:?}");
}

#[tokio::test]
async fn a_marker_inside_a_savepoint_of_postgres_does_not_pass() {
    let database = migrated::<Postgres>().await;
    let mut tx = database.begun().await;
    Postgres::run(&mut tx, "SAVEPOINT inside").await.unwrap();
    Postgres::mark(&mut tx, &[id("A")]).await.unwrap();
    // It may still go with the savepoint.
    assert!(!Postgres::fence(&mut tx, &[id("A")]).await.unwrap());
    let back = "ROLLBACK TO SAVEPOINT inside";
    Postgres::run(&mut tx, back).await.unwrap();
    assert!(!Postgres::fence(&mut tx, &[id("A")]).await.unwrap());
}

#[tokio::test]
async fn a_deferred_constraint_of_postgres_that_fails_at_commit_is_rolled_back() {
    let database = migrated::<Postgres>().await;
    database
        .run("CREATE TABLE shelf (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    let ids = [id("A")];
    let mut tx = database.pool.begin_with(Postgres::BEGIN).await.unwrap();
    Postgres::mark(&mut tx, &ids).await.unwrap();
    Postgres::run(&mut tx, "INSERT INTO shelf VALUES (1), (1)")
        .await
        .unwrap();
    assert!(Postgres::fence(&mut tx, &ids).await.unwrap());
    assert!(tx.commit().await.is_err());
    assert_eq!(database.decide(&ids[0]).await, Verdict::RolledBack);
}

#[tokio::test]
async fn ddl_on_mariadb_is_noticed_and_the_message_goes_out() {
    let database = migrated::<MySql>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    MySql::mark(&mut tx, &ids).await.unwrap();
    MySql::run(&mut tx, "CREATE TABLE shelf (n INT)")
        .await
        .unwrap();
    MySql::run(&mut tx, "START TRANSACTION").await.unwrap();
    assert!(!MySql::fence(&mut tx, &ids).await.unwrap());
    MySql::run(&mut tx, "ROLLBACK").await.unwrap();
    // The marker became durable together with what came before the DDL.
    assert_eq!(database.decide(&ids[0]).await, Verdict::Committed);
}

#[tokio::test]
async fn a_nested_start_transaction_on_mariadb_is_noticed() {
    let database = migrated::<MySql>().await;
    let ids = [id("A")];
    let mut tx = database.begun().await;
    MySql::mark(&mut tx, &ids).await.unwrap();
    MySql::run(&mut tx, "START TRANSACTION").await.unwrap();
    assert!(!MySql::fence(&mut tx, &ids).await.unwrap());
    assert_eq!(database.decide(&ids[0]).await, Verdict::Committed);
}

/// Two transactions that lock the rows 1 and 2 crosswise; returns the victim, whose marker `A` is gone.
async fn deadlock_victim(
    database: &crate::support::Database<MySql>,
    late: bool,
) -> sqlx::pool::PoolConnection<MySql> {
    database
        .run("INSERT INTO orders VALUES (1, 'book'), (2, 'pen')")
        .await
        .unwrap();
    database
        .run("CREATE TABLE ballast AS SELECT seq AS n FROM seq_1_to_100")
        .await
        .unwrap();
    let mut victim = database.begun().await;
    let mut winner = database.begun().await;
    if late {
        MySql::open_fence(&mut victim).await.unwrap();
    } else {
        MySql::mark(&mut victim, &[id("A")]).await.unwrap();
    }
    // The lighter transaction is rolled back.
    MySql::run(&mut winner, "UPDATE ballast SET n = n + 1")
        .await
        .unwrap();
    MySql::run(&mut victim, "UPDATE orders SET item = 'v' WHERE id = 1")
        .await
        .unwrap();
    MySql::run(&mut winner, "UPDATE orders SET item = 'w' WHERE id = 2")
        .await
        .unwrap();
    let (lost, won) = tokio::join!(
        MySql::run(&mut victim, "UPDATE orders SET item = 'v' WHERE id = 2"),
        MySql::run(&mut winner, "UPDATE orders SET item = 'w' WHERE id = 1"),
    );
    assert!(lost.unwrap_err().to_string().contains("1213"));
    won.unwrap();
    MySql::run(&mut winner, "COMMIT").await.unwrap();
    victim
}

#[tokio::test]
async fn a_deadlock_victim_on_mariadb_that_goes_on_is_noticed() {
    let database = migrated::<MySql>().await;
    let mut victim = deadlock_victim(&database, false).await;
    // Commits by itself: there is no transaction any more.
    MySql::run(&mut victim, "INSERT INTO orders VALUES (3, 'ink')")
        .await
        .unwrap();
    assert!(!MySql::fence(&mut victim, &[id("A")]).await.unwrap());
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
}

#[tokio::test]
async fn a_deadlock_victim_on_mariadb_inserts_no_late_marker() {
    let database = migrated::<MySql>().await;
    let mut victim = deadlock_victim(&database, true).await;
    let refused = MySql::mark_late(&mut victim, &[id("A")]).await;
    assert!(matches!(refused, Err(MarkerError::Split)), "{refused:?}");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
}

#[tokio::test]
async fn a_lock_wait_timeout_on_mariadb_undoes_its_statement_only() {
    let database = migrated::<MySql>().await;
    database
        .run("INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    let mut other = database.begun().await;
    MySql::run(&mut other, "UPDATE orders SET item = 'o' WHERE id = 1")
        .await
        .unwrap();
    let mut tx = database.begun().await;
    MySql::run(&mut tx, "SET SESSION innodb_lock_wait_timeout = 0")
        .await
        .unwrap();
    MySql::mark(&mut tx, &[id("A")]).await.unwrap();
    let timed_out = MySql::run(&mut tx, "UPDATE orders SET item = 't' WHERE id = 1").await;
    assert!(timed_out.is_err());
    assert!(MySql::fence(&mut tx, &[id("A")]).await.unwrap());
    MySql::run(&mut tx, "COMMIT").await.unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
}

#[tokio::test]
async fn or_rollback_on_sqlite_is_noticed() {
    let database = migrated::<Sqlite>().await;
    database
        .run("INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    let mut tx = database.begun().await;
    Sqlite::mark(&mut tx, &[id("A")]).await.unwrap();
    let ended = Sqlite::run(&mut tx, "INSERT OR ROLLBACK INTO orders VALUES (1, 'pen')").await;
    assert!(ended.is_err());
    // Commits by itself: there is no transaction any more.
    Sqlite::run(&mut tx, "INSERT INTO orders VALUES (2, 'ink')")
        .await
        .unwrap();
    assert!(!Sqlite::fence(&mut tx, &[id("A")]).await.unwrap());
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
}

#[tokio::test]
async fn or_rollback_on_sqlite_lets_no_late_marker_in() {
    let database = migrated::<Sqlite>().await;
    database
        .run("INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    let mut tx = database.begun().await;
    Sqlite::open_fence(&mut tx).await.unwrap();
    let ended = Sqlite::run(&mut tx, "INSERT OR ROLLBACK INTO orders VALUES (1, 'pen')").await;
    assert!(ended.is_err());
    let refused = Sqlite::mark_late(&mut tx, &[id("A")]).await;
    assert!(matches!(refused, Err(MarkerError::Split)), "{refused:?}");
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
}
