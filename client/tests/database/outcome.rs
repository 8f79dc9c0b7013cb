//! What a check finds is what the transaction did, and stays so.

use escrow_client::database::{MarkerDb, MarkerError, TxId, Verdict};
use sqlx::sqlite::SqliteJournalMode;
use sqlx::{MySql, Postgres, Sqlite};

use crate::support::{
    Database, TestDb, asking, blocked_by, id, migrated, on_each_engine, sqlite_file, unknown,
    with_tables,
};

on_each_engine!(
    a_marker_commits_with_its_transaction,
    a_marker_vanishes_with_its_transaction,
    a_transaction_that_was_never_begun_is_ruled_out,
    a_check_before_the_marker_stops_the_transaction,
    one_ruled_out_message_of_several_stops_them_all,
    a_check_while_in_flight_is_unknown_and_right_afterwards,
    a_late_marker_is_as_good,
    several_checkers_at_once_agree,
    a_checker_that_may_not_rule_out_leaves_no_trace,
    a_check_leaves_the_waits_of_its_session_as_they_were,
    one_connection_is_enough_for_a_check_in_flight,
    a_session_that_died_counts_as_rolled_back,
    a_transaction_is_ruled_out_once_the_wait_for_it_ends,
);

async fn a_marker_commits_with_its_transaction<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A"), id("B")];
    let mut tx = database.pool.begin_with(DB::BEGIN).await.unwrap();
    DB::mark(&mut tx, &ids).await.unwrap();
    DB::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    assert!(DB::fence(&mut tx, &ids).await.unwrap());
    tx.commit().await.unwrap();
    for id in &ids {
        assert_eq!(database.decide(id).await, Verdict::Committed);
        assert_eq!(database.decide(id).await, Verdict::Committed);
    }
}

async fn a_marker_vanishes_with_its_transaction<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.pool.begin_with(DB::BEGIN).await.unwrap();
    DB::mark(&mut tx, &[id("A")]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
}

async fn a_transaction_that_was_never_begun_is_ruled_out<DB: TestDb>() {
    let database = migrated::<DB>().await;
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
    let tombstones = "SELECT COUNT(*) FROM escrow_marker WHERE state = 2 AND decided_by = 'test'";
    assert_eq!(database.number(tombstones).await, 1);
}

async fn a_check_before_the_marker_stops_the_transaction<DB: TestDb>() {
    let database = migrated::<DB>().await;
    // The snapshot, where there is one, is older than the tombstone.
    let mut tx = database.pool.acquire().await.unwrap();
    DB::run(&mut tx, "BEGIN").await.unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::RolledBack);
    let refused = DB::mark(&mut tx, &[id("A")]).await;
    assert!(
        matches!(refused, Err(MarkerError::TooLate(_))),
        "{refused:?}"
    );
    assert!(!DB::fence(&mut tx, &[id("A")]).await.unwrap());
}

async fn one_ruled_out_message_of_several_stops_them_all<DB: TestDb>() {
    let database = migrated::<DB>().await;
    assert_eq!(database.decide(&id("B")).await, Verdict::RolledBack);
    let mut tx = database.pool.begin_with(DB::BEGIN).await.unwrap();
    let refused = DB::mark(&mut tx, &[id("A"), id("B"), id("C")]).await;
    assert!(
        matches!(refused, Err(MarkerError::TooLate(_))),
        "{refused:?}"
    );
    tx.rollback().await.unwrap();
    for other in ["A", "C"] {
        assert_eq!(database.decide(&id(other)).await, Verdict::RolledBack);
    }
}

async fn a_check_while_in_flight_is_unknown_and_right_afterwards<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for (end, verdict) in [
        ("COMMIT", Verdict::Committed),
        ("ROLLBACK", Verdict::RolledBack),
    ] {
        let mut tx = database.begun().await;
        DB::mark(&mut tx, &[id(end)]).await.unwrap();
        assert_eq!(unknown(database.decide(&id(end)).await), "in_flight");
        DB::run(&mut tx, end).await.unwrap();
        assert_eq!(database.decide(&id(end)).await, verdict);
    }
}

async fn a_late_marker_is_as_good<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let ids = [id("A"), id("B")];
    let mut tx = database.pool.begin_with(DB::BEGIN).await.unwrap();
    DB::open_fence(&mut tx).await.unwrap();
    DB::run(&mut tx, "INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    DB::mark_late(&mut tx, &ids).await.unwrap();
    assert!(DB::fence(&mut tx, &ids).await.unwrap());
    tx.commit().await.unwrap();
    for id in &ids {
        assert_eq!(database.decide(id).await, Verdict::Committed);
    }
}

async fn several_checkers_at_once_agree<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for (end, right) in [
        ("COMMIT", Verdict::Committed),
        ("ROLLBACK", Verdict::RolledBack),
    ] {
        for round in 0..5 {
            let id = id(&format!("{end}{round}"));
            let mut tx = database.begun().await;
            DB::mark(&mut tx, std::slice::from_ref(&id)).await.unwrap();
            let ending = async {
                // Some checkers are waiting by now.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                DB::run(&mut tx, end).await.unwrap();
            };
            let ask = || database.decide_at_last(&id);
            let ((), one, two, three, four) = tokio::join!(ending, ask(), ask(), ask(), ask());
            for verdict in [one, two, three, four] {
                assert_eq!(verdict, right);
            }
        }
    }
}

async fn a_checker_that_may_not_rule_out_leaves_no_trace<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut only_reading = asking(&id("A"));
    only_reading.may_tombstone = false;
    assert_eq!(
        unknown(DB::decide(&database.pool, &only_reading).await),
        "no_row"
    );
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        0
    );
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    assert_eq!(
        DB::decide(&database.pool, &only_reading).await,
        Verdict::Committed
    );
}

async fn a_check_leaves_the_waits_of_its_session_as_they_were<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let waits = match DB::NAME {
        "PostgreSQL" => "SELECT setting::bigint FROM pg_settings WHERE name = 'lock_timeout'",
        "MySQL" => "SELECT CAST(@@SESSION.innodb_lock_wait_timeout AS SIGNED)",
        _ => "PRAGMA busy_timeout",
    };
    let pool = database.pool_of_one().await;
    let before = DB::number(&mut pool.acquire().await.unwrap(), waits).await;
    assert_eq!(
        DB::decide(&pool, &asking(&id("A"))).await,
        Verdict::RolledBack
    );
    let after = DB::number(&mut pool.acquire().await.unwrap(), waits).await;
    assert_eq!(after, before);
}

async fn one_connection_is_enough_for_a_check_in_flight<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &[id("A")]).await.unwrap();
    let checker = database.pool_of_one().await;
    let in_flight = DB::decide(&checker, &asking(&id("A"))).await;
    assert_eq!(blocked_by(in_flight), None);
    DB::run(&mut tx, "COMMIT").await.unwrap();
    assert_eq!(
        DB::decide(&checker, &asking(&id("A"))).await,
        Verdict::Committed
    );
}

async fn a_session_that_died_counts_as_rolled_back<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &[id("A")]).await.unwrap();
    assert_eq!(unknown(database.decide(&id("A")).await), "in_flight");
    // Without a word: the socket or file is just closed.
    drop(tx.leak());
    assert_eq!(database.decide_at_last(&id("A")).await, Verdict::RolledBack);
}

async fn a_transaction_is_ruled_out_once_the_wait_for_it_ends<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let mut tx = database.begun().await;
    DB::mark(&mut tx, &[id("A")]).await.unwrap();
    let a = id("A");
    let (verdict, ()) = tokio::join!(database.decide_at_last(&a), async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        DB::run(&mut tx, "ROLLBACK").await.unwrap();
    });
    assert_eq!(verdict, Verdict::RolledBack);
}

/// One isolation level of the transaction, and each that a checker's session may have as its default.
async fn in_flight_at<DB: TestDb>(
    begin: Vec<String>,
    levels: &[&str],
    default: fn(&str) -> String,
) {
    let database = migrated::<DB>().await;
    for checker in levels {
        for (end, right) in [
            ("COMMIT", Verdict::Committed),
            ("ROLLBACK", Verdict::RolledBack),
        ] {
            let id = id(&format!("{checker}{end}").replace(' ', ""));
            let mut tx = database.pool.acquire().await.unwrap();
            for statement in &begin {
                DB::run(&mut tx, statement).await.unwrap();
            }
            // Takes the snapshot where the level has one.
            DB::number(&mut tx, "SELECT COUNT(*) FROM escrow_marker").await;
            DB::mark(&mut tx, std::slice::from_ref(&id)).await.unwrap();
            set_in_idle_sessions(&database, &default(checker)).await;
            assert_eq!(unknown(database.decide(&id).await), "in_flight", "{id}");
            assert!(DB::fence(&mut tx, std::slice::from_ref(&id)).await.unwrap());
            DB::run(&mut tx, end).await.unwrap();
            assert_eq!(database.decide(&id).await, right, "{id}");
        }
    }
}

/// Runs `setting` in every idle session.
async fn set_in_idle_sessions<DB: TestDb>(database: &Database<DB>, setting: &str) {
    let mut idle = Vec::new();
    while let Some(mut connection) = database.pool.try_acquire() {
        DB::run(&mut connection, setting).await.unwrap();
        idle.push(connection);
    }
}

#[tokio::test]
async fn in_flight_at_every_isolation_level_of_postgres() {
    let levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
    for level in levels {
        let begin = vec![format!("BEGIN ISOLATION LEVEL {level}")];
        in_flight_at::<Postgres>(begin, &levels, |level| {
            format!(
                "SET default_transaction_isolation = '{}'",
                level.to_lowercase()
            )
        })
        .await;
    }
}

#[tokio::test]
async fn in_flight_at_every_isolation_level_of_mariadb() {
    const LEVELS: [&str; 4] = [
        "READ UNCOMMITTED",
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
    ];
    // Side by side, since each check in flight takes a second.
    let mut running = tokio::task::JoinSet::new();
    for level in LEVELS {
        let isolation = format!("SET TRANSACTION ISOLATION LEVEL {level}");
        let begin = vec![isolation, "START TRANSACTION".to_owned()];
        running.spawn(in_flight_at::<MySql>(begin, &LEVELS, |level| {
            format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        }));
    }
    running.join_all().await;
}

#[tokio::test]
async fn in_flight_in_both_journal_modes_of_sqlite() {
    for mode in [SqliteJournalMode::Delete, SqliteJournalMode::Wal] {
        let database = with_tables(sqlite_file(mode).await).await;
        let mut tx = database.begun().await;
        Sqlite::mark(&mut tx, &[id("A")]).await.unwrap();
        // There is one writer, so any id must wait.
        for asked in ["A", "B"] {
            assert_eq!(unknown(database.decide(&id(asked)).await), "in_flight");
        }
        Sqlite::run(&mut tx, "COMMIT").await.unwrap();
        assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
        assert_eq!(database.decide(&id("B")).await, Verdict::RolledBack);
    }
}

#[tokio::test]
async fn sqlite_answers_for_a_committed_marker_while_another_transaction_writes() {
    let database = migrated::<Sqlite>().await;
    database
        .run("INSERT INTO escrow_marker (tx_id) VALUES ('A')")
        .await
        .unwrap();
    let mut tx = database.begun().await;
    Sqlite::mark(&mut tx, &[id("B")]).await.unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
}

#[tokio::test]
async fn in_flight_names_the_session_of_postgres_that_holds_the_marker() {
    let database = migrated::<Postgres>().await;
    let mut tx = database.begun().await;
    let session = Postgres::number(&mut tx, "SELECT pg_backend_pid()::bigint").await;
    Postgres::run(&mut tx, "SET application_name = 'orders'")
        .await
        .unwrap();
    Postgres::mark(&mut tx, &[id("A")]).await.unwrap();
    let named = blocked_by(database.decide(&id("A")).await).unwrap();
    assert!(
        named.contains(&format!("session {session} of postgres (orders)")),
        "{named}"
    );
}

#[tokio::test]
async fn in_flight_names_the_session_of_mariadb_that_holds_the_marker() {
    let database = migrated::<MySql>().await;
    let mut tx = database.begun().await;
    let session = MySql::number(&mut tx, "SELECT CAST(CONNECTION_ID() AS SIGNED)").await;
    MySql::mark(&mut tx, &[id("A")]).await.unwrap();
    let named = blocked_by(database.decide(&id("A")).await).unwrap();
    assert!(
        named.contains(&format!("session {session} of escrow@")),
        "{named}"
    );
}

#[tokio::test]
async fn a_prepared_transaction_of_postgres_is_in_flight_until_resolved() {
    let database = migrated::<Postgres>().await;
    let mut tx = database.begun().await;
    Postgres::mark(&mut tx, &[id("A")]).await.unwrap();
    Postgres::run(&mut tx, "PREPARE TRANSACTION 'outcome_prepared'")
        .await
        .unwrap();
    assert_eq!(unknown(database.decide(&id("A")).await), "in_flight");
    database
        .run("COMMIT PREPARED 'outcome_prepared'")
        .await
        .unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
}

#[tokio::test]
async fn an_xa_transaction_of_mariadb_is_in_flight_until_resolved() {
    let database = migrated::<MySql>().await;
    let mut tx = database.pool.acquire().await.unwrap();
    for statement in [
        "XA START 'outcome_xa'",
        "INSERT INTO escrow_marker (tx_id) VALUES ('A')",
        "XA END 'outcome_xa'",
        "XA PREPARE 'outcome_xa'",
    ] {
        MySql::run(&mut tx, statement).await.unwrap();
    }
    assert_eq!(unknown(database.decide(&id("A")).await), "in_flight");
    MySql::run(&mut tx, "XA COMMIT 'outcome_xa'").await.unwrap();
    assert_eq!(database.decide(&id("A")).await, Verdict::Committed);
}

#[tokio::test]
async fn an_id_is_taken_as_it_is_written() {
    on_all("AbC", &["aBc", "abc", "ABC"]).await;
    on_all("a", &["a ", " a", "á"]).await;
}

/// A marker of `written` says nothing about `others`.
async fn on_all(written: &str, others: &[&str]) {
    async fn on<DB: TestDb>(written: &TxId, others: &[&str]) {
        let database = migrated::<DB>().await;
        let mut tx = database.pool.begin_with(DB::BEGIN).await.unwrap();
        DB::mark(&mut tx, std::slice::from_ref(written))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for other in others {
            assert_eq!(
                database.decide(&id(other)).await,
                Verdict::RolledBack,
                "{other}"
            );
        }
        assert_eq!(database.decide(written).await, Verdict::Committed);
    }
    on::<Postgres>(&id(written), others).await;
    on::<MySql>(&id(written), others).await;
    on::<Sqlite>(&id(written), others).await;
}
