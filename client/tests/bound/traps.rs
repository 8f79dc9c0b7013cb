//! Ways in which a program can believe one thing of its transaction and the database another.

use escrow_client::database::{
    BoundSettings, Cause, CommitError, FenceError, MarkerError, PrepareError, RunError,
};
use sqlx::{Connection, Executor, MySql, Postgres, Sqlite};

use crate::broker::in_time;
use crate::engine::{Engine, on_every_engine, order};
use crate::shop::{A_WHILE, NEVER, Shop, placed};

on_every_engine!(
    a_commit_of_the_callers_own_is_reported_and_delivered,
    a_commit_of_the_callers_own_is_delivered_though_the_guard_is_dropped,
    a_rollback_of_the_callers_own_delivers_nothing,
    a_savepoint_older_than_the_marker_does_not_get_rid_of_it,
    a_nested_transaction_that_was_forgotten_is_not_taken_for_a_commit,
    a_late_transaction_that_ended_behind_our_back_sends_nothing,
);

fn gone(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::RolledBack(Cause::Fence(FenceError::Gone))
    )
}

fn split(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Split {
            cause: Cause::Fence(FenceError::Gone),
            ..
        }
    )
}

async fn a_commit_of_the_callers_own_is_reported_and_delivered<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    DB::statement(&mut tx, "COMMIT".to_owned()).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(split(&error), "{error}");
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_commit_of_the_callers_own_is_delivered_though_the_guard_is_dropped<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    DB::statement(&mut tx, "COMMIT".to_owned()).await.unwrap();
    drop(tx);
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_rollback_of_the_callers_own_delivers_nothing<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    for statement in ["ROLLBACK", "BEGIN"] {
        DB::statement(&mut tx, statement.to_owned()).await.unwrap();
    }
    order::<DB>(&mut tx, "a").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(gone(&error), "{error}");
    assert!(shop.agree().await.is_empty());
}

async fn a_savepoint_older_than_the_marker_does_not_get_rid_of_it<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    DB::statement(&mut tx, "SAVEPOINT mine".to_owned())
        .await
        .unwrap();
    let mut tx = tx.prepare([placed("a")]).await.unwrap();
    let back = "ROLLBACK TO SAVEPOINT mine".to_owned();
    let went_back = DB::statement(&mut tx, back).await.is_ok();
    let outcome = tx.commit().await;
    if went_back {
        let error = outcome.unwrap_err();
        assert!(gone(&error), "{error}");
        assert!(shop.agree().await.is_empty());
    } else {
        // Where the fence is a savepoint itself, setting it anew has removed what was above it.
        outcome.unwrap();
        assert_eq!(shop.agree().await, ["a"]);
    }
}

async fn a_nested_transaction_that_was_forgotten_is_not_taken_for_a_commit<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    order::<DB>(&mut nested, "a").await.unwrap();
    std::mem::forget(nested);
    let error = tx.commit().await.unwrap_err();
    assert!(
        matches!(
            error,
            CommitError::RolledBack(Cause::Fence(FenceError::Nested))
        ),
        "{error}"
    );
    assert!(shop.agree().await.is_empty());
}

async fn a_late_transaction_that_ended_behind_our_back_sends_nothing<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    for end in ["ROLLBACK", "COMMIT"] {
        let mut tx = shop.producer.begin_late().await.unwrap();
        DB::statement(&mut tx, end.to_owned()).await.unwrap();
        let refused = tx.prepare([placed("a")]).await.err().unwrap();
        assert!(
            matches!(refused, PrepareError::Marker(MarkerError::Split)),
            "{refused}"
        );
    }
    assert!(shop.agree().await.is_empty());
    // Not even a marker that committed by itself.
    let count = DB::markers(&shop.database.pool).await;
    assert_eq!(count, 0);
}

#[tokio::test]
async fn postgres_a_swallowed_error_is_not_taken_for_a_commit() {
    let shop = Shop::<Postgres>::open(NEVER).await;
    let work = async |connection: &mut sqlx::PgConnection| {
        order::<Postgres>(connection, "a").await?;
        let ignored = connection.execute("SELECT 1 / 0").await;
        assert!(ignored.is_err());
        Ok::<(), sqlx::Error>(())
    };
    let failed = shop.producer.run(placed("a"), work).await;
    assert!(
        matches!(&failed, Err(RunError::Commit(error)) if gone(error)),
        "{failed:?}"
    );
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn postgres_a_session_that_forgets_its_statements_is_told_them_again() {
    let shop = Shop::<Postgres>::with(NEVER, 1, BoundSettings::default()).await;
    for id in ["a", "b"] {
        let work = async |connection: &mut sqlx::PgConnection| {
            order::<Postgres>(connection, id).await?;
            connection
                .execute(sqlx::raw_sql("DEALLOCATE escrow_mark"))
                .await
        };
        shop.producer.run(placed(id), work).await.unwrap();
    }
    assert_eq!(shop.agree().await, ["a", "b"]);
}

#[tokio::test]
async fn postgres_a_session_that_knows_some_statements_is_told_the_others() {
    let shop = Shop::<Postgres>::with(NEVER, 1, BoundSettings::default()).await;
    let by_hand = "PREPARE escrow_open AS SELECT set_config('escrow.fence', 'open', true)";
    shop.database.pool.execute(by_hand).await.unwrap();
    let work = async |connection: &mut sqlx::PgConnection| order::<Postgres>(connection, "a").await;
    shop.producer.run(placed("a"), work).await.unwrap();
    let mut tx = shop.producer.begin_late().await.unwrap();
    order::<Postgres>(&mut tx, "b").await.unwrap();
    let tx = tx.prepare([placed("b")]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shop.agree().await, ["a", "b"]);
}

#[tokio::test]
async fn postgres_a_session_that_forgets_its_fence_commits_nothing_and_is_not_used_again() {
    let shop = Shop::<Postgres>::with(NEVER, 1, BoundSettings::default()).await;
    let work = async |connection: &mut sqlx::PgConnection| {
        order::<Postgres>(connection, "a").await?;
        connection
            .execute(sqlx::raw_sql("DEALLOCATE escrow_fence"))
            .await
    };
    let failed = shop.producer.run(placed("a"), work).await;
    assert!(
        matches!(&failed, Err(RunError::Commit(CommitError::RolledBack(_)))),
        "{failed:?}"
    );
    let work = async |connection: &mut sqlx::PgConnection| order::<Postgres>(connection, "b").await;
    shop.producer.run(placed("b"), work).await.unwrap();
    assert_eq!(shop.agree().await, ["b"]);
}

#[tokio::test]
async fn postgres_a_connection_comes_back_without_a_transaction() {
    let shop = Shop::<Postgres>::with(NEVER, 1, BoundSettings::default()).await;
    let work = async |connection: &mut sqlx::PgConnection| order::<Postgres>(connection, "a").await;
    shop.producer.run(placed("a"), work).await.unwrap();
    assert!(shop.is_outside_a_transaction().await);
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_constraint_that_fails_at_commit_rolls_the_message_back<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let lines = "CREATE TABLE lines (id text REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)";
    let mut connection = shop.database.pool.acquire().await.unwrap();
    let made = DB::statement(&mut connection, lines.to_owned()).await;
    made.unwrap();
    drop(connection);
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    let line = "INSERT INTO lines VALUES ('nowhere')".to_owned();
    DB::statement(&mut tx, line).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(
        matches!(error, CommitError::RolledBack(Cause::Commit(_))),
        "{error}"
    );
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn postgres_a_constraint_that_fails_at_commit_rolls_the_message_back() {
    a_constraint_that_fails_at_commit_rolls_the_message_back::<Postgres>().await;
}

#[tokio::test]
async fn sqlite_a_constraint_that_fails_at_commit_rolls_the_message_back() {
    a_constraint_that_fails_at_commit_rolls_the_message_back::<Sqlite>().await;
}

#[tokio::test]
async fn postgres_a_session_that_was_terminated_rolls_the_message_back() {
    let shop = Shop::<Postgres>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<Postgres>(&mut tx, "a").await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(pid)
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    assert!(ended);
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, CommitError::RolledBack(_)), "{error}");
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn mariadb_ddl_commits_the_message_with_what_came_before() {
    let shop = Shop::<MySql>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("before")).await.unwrap();
    order::<MySql>(&mut tx, "before").await.unwrap();
    tx.execute("CREATE TABLE aside (id INT)").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(split(&error), "{error}");

    let work = async |connection: &mut sqlx::MySqlConnection| {
        order::<MySql>(connection, "too early").await?;
        connection.execute("CREATE TABLE another (id INT)").await?;
        Err::<(), sqlx::Error>(sqlx::Error::RowNotFound)
    };
    let failed = shop.producer.run(placed("too early"), work).await;
    assert!(matches!(failed, Err(RunError::App(_))), "{failed:?}");
    assert_eq!(shop.agree().await, ["before", "too early"]);
}

#[tokio::test]
async fn mariadb_a_nested_start_transaction_commits_the_message_with_what_came_before() {
    let shop = Shop::<MySql>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("before")).await.unwrap();
    order::<MySql>(&mut tx, "before").await.unwrap();
    tx.execute(sqlx::raw_sql("START TRANSACTION"))
        .await
        .unwrap();
    order::<MySql>(&mut tx, "after").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(split(&error), "{error}");
    assert_eq!(shop.agree().await, ["before"]);
}

#[tokio::test]
async fn mariadb_a_deadlock_victim_that_goes_on_delivers_nothing() {
    let shop = Shop::<MySql>::open(NEVER).await;
    let pool = &shop.database.pool;
    pool.execute("CREATE TABLE stock (id INT PRIMARY KEY, n INT)")
        .await
        .unwrap();
    pool.execute("INSERT INTO stock VALUES (1, 9), (2, 9), (3, 9), (4, 9)")
        .await
        .unwrap();
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<MySql>(&mut tx, "a").await.unwrap();
    tx.execute("UPDATE stock SET n = 8 WHERE id = 1")
        .await
        .unwrap();
    let mut other = pool.begin().await.unwrap();
    // The one that has written less is the victim.
    other
        .execute("UPDATE stock SET n = 7 WHERE id >= 2")
        .await
        .unwrap();
    for more in 0..20 {
        let more = format!("INSERT INTO stock VALUES ({}, 1)", 10 + more);
        MySql::statement(&mut other, more).await.unwrap();
    }
    let blocked = async { other.execute("UPDATE stock SET n = 7 WHERE id = 1").await };
    let victim = async { tx.execute("UPDATE stock SET n = 8 WHERE id = 2").await };
    let (won, lost) = in_time(async { tokio::join!(blocked, victim) }).await;
    won.unwrap();
    let lost = lost.unwrap_err();
    assert_eq!(lost.as_database_error().unwrap().code().unwrap(), "40001");
    other.rollback().await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(gone(&error), "{error}");
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn sqlite_or_rollback_delivers_nothing() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    let taken = "INSERT INTO orders (id) VALUES ('taken')";
    let work = async |connection: &mut sqlx::SqliteConnection| {
        connection.execute(taken).await?;
        let ignored = connection
            .execute("INSERT OR ROLLBACK INTO orders (id) VALUES ('taken')")
            .await;
        assert!(ignored.is_err());
        Ok::<(), sqlx::Error>(())
    };
    let failed = shop.producer.run(placed("taken"), work).await;
    assert!(
        matches!(&failed, Err(RunError::Commit(error)) if gone(error)),
        "{failed:?}"
    );
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn sqlite_a_commit_that_readers_hold_up_is_in_doubt_and_rolls_back() {
    let shop = Shop::<Sqlite>::open(A_WHILE).await;
    let mut reader = shop.database.pool.begin().await.unwrap();
    reader.execute("SELECT * FROM orders").await.unwrap();
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    tx.execute("PRAGMA busy_timeout = 50").await.unwrap();
    order::<Sqlite>(&mut tx, "a").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    // Nor can the tombstone be committed now.
    let at_commit = |cause: &Cause| matches!(cause, Cause::Commit(_));
    assert!(
        matches!(&error, CommitError::InDoubt { cause, .. } if at_commit(cause)),
        "{error}"
    );
    reader.rollback().await.unwrap();
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn sqlite_a_connection_comes_back_without_a_transaction() {
    let shop = Shop::<Sqlite>::with(NEVER, 1, BoundSettings::default()).await;
    let work =
        async |connection: &mut sqlx::SqliteConnection| order::<Sqlite>(connection, "a").await;
    shop.producer.run(placed("a"), work).await.unwrap();
    let mut connection = in_time(shop.database.pool.acquire()).await.unwrap();
    // It refuses within a transaction.
    connection.execute("VACUUM").await.unwrap();
    drop(connection);
    assert_eq!(shop.agree().await, ["a"]);
}

/// Two guards that exchange their connections: neither holds the marker of the other.
async fn exchanged_connections_commit_nothing<DB: Engine>() {
    let shop = Shop::<DB>::open(A_WHILE).await;
    let mut first = shop.producer.begin(placed("a")).await.unwrap();
    let mut second = shop.producer.begin(placed("b")).await.unwrap();
    order::<DB>(&mut first, "a").await.unwrap();
    order::<DB>(&mut second, "b").await.unwrap();
    std::mem::swap(&mut *first, &mut *second);
    // Its marker is in the other's transaction, which is still open: nobody can tell yet.
    let error = first.commit().await.unwrap_err();
    assert!(!matches!(error, CommitError::Split { .. }), "{error}");
    let error = second.commit().await.unwrap_err();
    assert!(!matches!(error, CommitError::Split { .. }), "{error}");
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn postgres_exchanged_connections_commit_nothing() {
    exchanged_connections_commit_nothing::<Postgres>().await;
}

#[tokio::test]
async fn mariadb_exchanged_connections_commit_nothing() {
    exchanged_connections_commit_nothing::<MySql>().await;
}
