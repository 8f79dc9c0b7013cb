//! A message's work is done once, however often and wherever it is delivered.

use std::time::Duration;

use escrow_client::ReceivedMessage;
use escrow_client::database::inbox::{Inbox, OnceError, Outcome};
use escrow_protocol::message::Message as Record;
use sqlx::{Connection, MySql, Postgres, Sqlite};

use crate::support::{Database, TestDb, migrated, on_each_engine};

on_each_engine!(
    a_redelivered_message_does_its_work_once,
    work_that_failed_is_done_by_the_next_delivery,
    each_group_does_its_own_work,
    one_key_in_two_topics_is_two_messages,
    a_message_that_comes_by_the_retry_topic_is_the_same,
    work_in_flight_elsewhere_is_for_later,
    two_instances_at_once_do_the_work_once,
    a_dropped_delivery_leaves_nothing,
    a_commit_of_the_works_own_is_noticed,
    a_rollback_of_the_works_own_is_noticed,
    a_forgotten_nested_transaction_is_noticed,
    a_dropped_nested_transaction_does_no_harm,
    what_was_done_long_ago_can_be_forgotten,
    a_key_that_does_not_fit_is_refused,
    a_missing_table_is_an_error_of_the_database,
);

fn delivered(topic: &str, properties: &str) -> ReceivedMessage {
    let host = "127.0.0.1:10911".parse().unwrap();
    let record = Record {
        queue_id: 1,
        flag: 0,
        queue_offset: 7,
        physical_offset: 4096,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 2,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"order 42",
        topic,
        properties,
    };
    ReceivedMessage::from_record(&record).unwrap()
}

fn message(key: &str) -> ReceivedMessage {
    delivered("Orders", &format!("UNIQ_KEY\u{1}{key}\u{2}"))
}

const INSERT: &str = "INSERT INTO orders (id, item) SELECT COUNT(*) + 1, 'book' FROM orders";

async fn deliver<DB: TestDb>(
    inbox: &Inbox<DB>,
    message: &ReceivedMessage,
) -> Result<Outcome<u64>, OnceError<sqlx::Error>> {
    inbox
        .once(message, async |connection| {
            DB::run(connection, INSERT).await
        })
        .await
}

fn inbox<DB: TestDb>(database: &Database<DB>, group: &str) -> Inbox<DB> {
    Inbox::new(database.pool.clone(), group).unwrap()
}

/// How many orders there are.
async fn orders<DB: TestDb>(database: &Database<DB>) -> i64 {
    database.number("SELECT COUNT(*) FROM orders").await
}

async fn a_redelivered_message_does_its_work_once<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
    for _ in 0..3 {
        assert_eq!(
            deliver(&inbox, &message("A")).await.unwrap(),
            Outcome::Already
        );
    }
    assert_eq!(
        deliver(&inbox, &message("B")).await.unwrap(),
        Outcome::Done(1)
    );
    assert_eq!(orders(&database).await, 2);
}

async fn work_that_failed_is_done_by_the_next_delivery<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let failed = inbox
        .once(&message("A"), async |connection| {
            DB::run(connection, INSERT).await.unwrap();
            Err::<(), _>("out of stock")
        })
        .await;
    assert!(matches!(failed, Err(OnceError::Work("out of stock"))));
    assert_eq!(orders(&database).await, 0);
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
}

async fn each_group_does_its_own_work<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for group in ["shipping", "billing"] {
        let outcome = deliver(&inbox(&database, group), &message("A")).await;
        assert_eq!(outcome.unwrap(), Outcome::Done(1));
    }
}

async fn one_key_in_two_topics_is_two_messages<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    for topic in ["Orders", "Returns"] {
        let message = delivered(topic, "UNIQ_KEY\u{1}A\u{2}");
        assert_eq!(deliver(&inbox, &message).await.unwrap(), Outcome::Done(1));
    }
}

async fn a_message_that_comes_by_the_retry_topic_is_the_same<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
    let again = delivered(
        "%RETRY%shipping",
        "RETRY_TOPIC\u{1}Orders\u{2}UNIQ_KEY\u{1}A\u{2}",
    );
    assert_eq!(deliver(&inbox, &again).await.unwrap(), Outcome::Already);
    // A message without a key is known by the place of its first delivery.
    let bare = delivered("Orders", "");
    assert_eq!(deliver(&inbox, &bare).await.unwrap(), Outcome::Done(1));
    let origin = bare.offset_id();
    let properties = format!("RETRY_TOPIC\u{1}Orders\u{2}ORIGIN_MESSAGE_ID\u{1}{origin}\u{2}");
    let again = delivered("%RETRY%shipping", &properties);
    assert_eq!(deliver(&inbox, &again).await.unwrap(), Outcome::Already);
}

async fn work_in_flight_elsewhere_is_for_later<DB: TestDb>() {
    let database = migrated::<DB>().await;
    // A pool of its own, as another instance has; on SQLite with a shorter wait for the writer.
    let other = Inbox::new(database.pool_of_one().await, "shipping").unwrap();
    let outcome = inbox(&database, "shipping")
        .once(&message("A"), async |connection| {
            let meanwhile = deliver(&other, &message("A")).await;
            assert!(
                matches!(meanwhile, Err(OnceError::InFlight(_))),
                "{meanwhile:?}"
            );
            DB::run(connection, INSERT).await
        })
        .await;
    assert_eq!(outcome.unwrap(), Outcome::Done(1));
    assert_eq!(
        deliver(&other, &message("A")).await.unwrap(),
        Outcome::Already
    );
}

async fn two_instances_at_once_do_the_work_once<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let message = message("A");
    let until_consumed = async || {
        loop {
            match deliver(&inbox, &message).await {
                Ok(outcome) => break outcome,
                Err(OnceError::InFlight(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let outcomes = tokio::join!(until_consumed(), until_consumed(), until_consumed());
    let done = [outcomes.0, outcomes.1, outcomes.2];
    let done = done.iter().filter(|outcome| **outcome == Outcome::Done(1));
    assert_eq!(done.count(), 1);
    assert_eq!(orders(&database).await, 1);
}

async fn a_dropped_delivery_leaves_nothing<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let (at_work, wait) = tokio::sync::oneshot::channel();
    let message = message("A");
    let delivery = inbox.once(&message, async |connection| {
        DB::run(connection, INSERT).await.unwrap();
        at_work.send(()).unwrap();
        std::future::pending::<Result<(), ()>>().await
    });
    tokio::select! {
        _ = delivery => unreachable!("it waits for ever"),
        begun = wait => begun.unwrap(),
    }
    let done = async {
        loop {
            match deliver(&inbox, &message).await {
                Err(OnceError::InFlight(_)) => tokio::task::yield_now().await,
                outcome => break outcome.unwrap(),
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), done).await;
    assert_eq!(done.unwrap(), Outcome::Done(1));
    assert_eq!(orders(&database).await, 1);
}

/// The work ends the transaction by `statement`, and goes on.
async fn work_that_ends_the_transaction<DB: TestDb>(statement: &str) {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let split = inbox
        .once(&message("A"), async |connection| {
            DB::run(connection, statement).await?;
            DB::run(connection, INSERT).await
        })
        .await;
    assert!(matches!(split, Err(OnceError::Split(_))), "{split:?}");
}

async fn a_commit_of_the_works_own_is_noticed<DB: TestDb>() {
    work_that_ends_the_transaction::<DB>("COMMIT").await;
}

async fn a_rollback_of_the_works_own_is_noticed<DB: TestDb>() {
    work_that_ends_the_transaction::<DB>("ROLLBACK").await;
}

async fn a_forgotten_nested_transaction_is_noticed<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let split = inbox
        .once(&message("A"), async |connection| {
            let mut nested = connection.begin().await?;
            DB::run(&mut nested, INSERT).await?;
            std::mem::forget(nested);
            Ok::<_, sqlx::Error>(())
        })
        .await;
    assert!(matches!(split, Err(OnceError::Split(_))), "{split:?}");
    assert_eq!(orders(&database).await, 0);
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
}

async fn a_dropped_nested_transaction_does_no_harm<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    let outcome = inbox
        .once(&message("A"), async |connection| {
            let mut nested = connection.begin().await?;
            DB::run(&mut nested, INSERT).await?;
            drop(nested);
            DB::run(connection, INSERT).await
        })
        .await;
    assert_eq!(outcome.unwrap(), Outcome::Done(1));
    assert_eq!(orders(&database).await, 1);
}

async fn what_was_done_long_ago_can_be_forgotten<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let inbox = inbox(&database, "shipping");
    deliver(&inbox, &message("A")).await.unwrap();
    assert_eq!(inbox.purge(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Already
    );
    let past = "UPDATE escrow_inbox SET done_at = ".to_owned()
        + match DB::NAME {
            "PostgreSQL" => "done_at - interval '2 hours'",
            "MySQL" => "done_at - INTERVAL 2 HOUR",
            _ => "done_at - 7200000",
        };
    database.run(&past).await.unwrap();
    assert_eq!(inbox.purge(Duration::from_secs(3600)).await.unwrap(), 1);
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
}

async fn a_key_that_does_not_fit_is_refused<DB: TestDb>() {
    let database = migrated::<DB>().await;
    assert!(Inbox::new(database.pool.clone(), "").is_err());
    assert!(Inbox::new(database.pool.clone(), "g".repeat(256)).is_err());
    let inbox = inbox(&database, &"g".repeat(255));
    let long = message(&"k".repeat(256));
    let refused = deliver(&inbox, &long).await;
    assert!(matches!(refused, Err(OnceError::Key(_))), "{refused:?}");
    let longest = message(&"k".repeat(255 - "Orders/".len()));
    assert_eq!(deliver(&inbox, &longest).await.unwrap(), Outcome::Done(1));
    assert_eq!(deliver(&inbox, &longest).await.unwrap(), Outcome::Already);
}

async fn a_missing_table_is_an_error_of_the_database<DB: TestDb>() {
    let database = DB::empty().await;
    let refused = deliver(&inbox(&database, "shipping"), &message("A")).await;
    match refused {
        Err(OnceError::Database(reason)) => assert_eq!(reason.keyword(), "not_migrated"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_swallowed_error_on_postgres_is_no_success() {
    let database = migrated::<Postgres>().await;
    let inbox = inbox(&database, "shipping");
    let split = inbox
        .once(&message("A"), async |connection| {
            Postgres::run(connection, INSERT).await?;
            let _ = Postgres::run(connection, "SELECT 1 / 0").await;
            Ok::<_, sqlx::Error>(())
        })
        .await;
    assert!(matches!(split, Err(OnceError::Split(_))), "{split:?}");
    assert_eq!(orders(&database).await, 0);
    assert_eq!(
        deliver(&inbox, &message("A")).await.unwrap(),
        Outcome::Done(1)
    );
}

#[tokio::test]
async fn ddl_on_mariadb_is_noticed() {
    work_that_ends_the_transaction::<MySql>("CREATE TABLE shelf (n INT)").await;
}

#[tokio::test]
async fn or_rollback_on_sqlite_is_noticed() {
    let database = migrated::<Sqlite>().await;
    database
        .run("INSERT INTO orders VALUES (1, 'book')")
        .await
        .unwrap();
    let inbox = inbox(&database, "shipping");
    let split = inbox
        .once(&message("A"), async |connection| {
            let ended = "INSERT OR ROLLBACK INTO orders VALUES (1, 'pen')";
            assert!(Sqlite::run(connection, ended).await.is_err());
            Ok::<_, sqlx::Error>(())
        })
        .await;
    assert!(matches!(split, Err(OnceError::Split(_))), "{split:?}");
}

#[tokio::test]
async fn consuming_can_run_in_a_task() {
    let database = migrated::<Postgres>().await;
    let inbox = inbox(&database, "shipping");
    let outcome = tokio::spawn(async move { deliver(&inbox, &message("A")).await });
    assert_eq!(outcome.await.unwrap().unwrap(), Outcome::Done(1));
}
