//! Bad input and absent partners: each refusal says in which state both sides are, and leaves nothing undecided.

use std::time::Duration;

use escrow_client::database::producer::MESSAGES_MAX;
use escrow_client::database::start_up::Refusal;
use escrow_client::database::{
    BeginError, BoundProducer, BoundSettings, Cause, CommitError, FenceError, MarkerDb,
    PrepareError, StartError, adopt,
};
use escrow_client::{Client, Error, Message};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, Pool, Sqlite};

use crate::broker::{TOPIC, TestBroker, in_time};
use crate::engine::{Engine, on_every_engine, order};
use crate::shop::{GROUP, NEVER, Shop, placed};

on_every_engine!(
    an_exhausted_pool_begins_nothing_and_takes_the_message_back,
    a_broker_that_is_gone_begins_nothing,
    a_broker_that_is_gone_rolls_a_late_transaction_back,
    tables_that_are_missing_or_older_are_found_at_the_start,
);

async fn an_exhausted_pool_begins_nothing_and_takes_the_message_back<DB: Engine>() {
    let settings = BoundSettings {
        acquire_timeout: Duration::from_millis(100),
        ..BoundSettings::default()
    };
    let shop = Shop::<DB>::with(NEVER, 1, settings).await;
    let last = shop.database.pool.acquire().await.unwrap();
    let refused = in_time(shop.producer.begin(placed("a")))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, BeginError::Database(sqlx::Error::PoolTimedOut)),
        "{refused}"
    );
    let refused = in_time(shop.producer.begin_late()).await.err().unwrap();
    assert!(
        matches!(refused, BeginError::Database(sqlx::Error::PoolTimedOut)),
        "{refused}"
    );
    // Without a connection of the pool, and without a check.
    in_time(shop.broker.settled()).await;
    drop(last);
    assert!(shop.agree().await.is_empty());
}

async fn a_broker_that_is_gone_begins_nothing<DB: Engine>() {
    let mut shop = Shop::<DB>::open(NEVER).await;
    shop.broker.stop().await;
    let work = async |connection: &mut DB::Connection| order::<DB>(connection, "a").await;
    let refused = in_time(shop.producer.run(placed("a"), work)).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("nothing was written"), "{refused}");
    assert!(shop.orders().await.is_empty());
}

async fn a_broker_that_is_gone_rolls_a_late_transaction_back<DB: Engine>() {
    let mut shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    shop.broker.stop().await;
    let refused = in_time(tx.prepare([placed("a")])).await.err().unwrap();
    assert!(matches!(refused, PrepareError::Half(_)), "{refused}");
    assert!(shop.orders().await.is_empty());
}

async fn tables_that_are_missing_or_older_are_found_at_the_start<DB: Engine>() {
    let database = DB::fresh(2).await;
    let broker = TestBroker::start(NEVER).await;
    let client = broker.client().await;
    let after = async |statement: &str| {
        let mut connection = database.pool.acquire().await.unwrap();
        let done = DB::statement(&mut connection, statement.to_owned());
        done.await.unwrap();
        drop(connection);
        refusal(&client, &database.pool, BoundSettings::default()).await
    };
    let refused = after("UPDATE escrow_meta SET version = 0").await;
    assert!(matches!(refused, Refusal::Older { found: 0 }), "{refused}");
    let refused = after("DROP TABLE escrow_meta").await;
    assert!(matches!(refused, Refusal::NotMigrated(_)), "{refused}");
}

/// Why no producer starts on this database.
async fn refusal<DB: MarkerDb>(
    client: &Client,
    pool: &Pool<DB>,
    settings: BoundSettings,
) -> Refusal {
    match BoundProducer::start(client, GROUP, pool, settings).await {
        Err(StartError::Database(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn a_database_that_is_not_the_expected_one_is_refused() {
    let (database, other) = (Sqlite::fresh(2).await, Sqlite::fresh(2).await);
    let expected = adopt(&other.pool).await.unwrap().domain;
    let broker = TestBroker::start(NEVER).await;
    let client = broker.client().await;
    let settings = BoundSettings {
        domain: Some(expected),
        ..BoundSettings::default()
    };
    let refused = refusal(&client, &database.pool, settings).await;
    assert!(matches!(refused, Refusal::WrongDomain { .. }), "{refused}");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_found_at_the_start() {
    let broker = TestBroker::start(NEVER).await;
    let client = broker.client().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(500))
        .connect_lazy(&format!("postgres://nobody@127.0.0.1:{port}/nothing"))
        .unwrap();
    let refused = refusal(&client, &pool, BoundSettings::default()).await;
    assert!(matches!(refused, Refusal::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_found_at_the_start() {
    let database = Sqlite::fresh(2).await;
    let mut broker = TestBroker::start(NEVER).await;
    let client = broker.client().await;
    broker.stop().await;
    let settings = BoundSettings::default;
    let refused = BoundProducer::start(&client, GROUP, &database.pool, settings()).await;
    let refused = refused.err().unwrap();
    assert!(matches!(refused, StartError::Join(_)), "{refused}");
    // The refusal has left the group: the next attempt meets the same, not itself.
    let refused = BoundProducer::start(&client, GROUP, &database.pool, settings()).await;
    let refused = refused.err().unwrap();
    assert!(matches!(refused, StartError::Join(_)), "{refused}");
}

#[tokio::test]
async fn a_client_answers_for_a_group_from_one_database_only() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    let other = Sqlite::fresh(2).await;
    let start = || BoundProducer::start(&shop.client, GROUP, &other.pool, BoundSettings::default());
    let refused = start().await.err().unwrap();
    assert!(matches!(refused, StartError::GroupTaken(_)), "{refused}");
    shop.producer.close().await;
    start().await.unwrap();
}

#[tokio::test]
async fn what_can_never_be_sent_is_refused_before_anything_is_written() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    let too_long = Message::new(TOPIC, vec![0; 5 * 1024 * 1024]);
    let empty = Message::new(TOPIC, "");
    let delayed = placed("a").property("DELAY", "3").unwrap();
    let properties = placed("a").property("much", &"x".repeat(32_750)).unwrap();
    for message in [too_long, empty, delayed, properties] {
        let refused = shop.producer.begin(message.clone()).await.err().unwrap();
        assert!(
            matches!(refused, BeginError::Half(Error::Message(_))),
            "{refused}"
        );
        let mut tx = shop.producer.begin_late().await.unwrap();
        order::<Sqlite>(&mut tx, "a").await.unwrap();
        let refused = tx.prepare([message]).await.err().unwrap();
        assert!(
            matches!(refused, PrepareError::Half(Error::Message(_))),
            "{refused}"
        );
    }
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn one_bad_message_among_several_takes_the_others_back() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    let messages = [placed("a"), Message::new(TOPIC, ""), placed("c")];
    let refused = shop.producer.begin_many(messages).await.err().unwrap();
    assert!(
        matches!(refused, BeginError::Half(Error::Message(_))),
        "{refused}"
    );
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn no_message_or_too_many_are_refused() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    for given in [0, MESSAGES_MAX + 1] {
        let messages = || (0..given).map(|_| placed("a"));
        let refused = shop.producer.begin_many(messages()).await.err().unwrap();
        assert!(matches!(refused, BeginError::Messages { given: g } if g == given));
        let tx = shop.producer.begin_late().await.unwrap();
        let refused = tx.prepare(messages()).await.err().unwrap();
        assert!(matches!(refused, PrepareError::Messages { given: g } if g == given));
    }
    assert_eq!(shop.broker.undecided().await, 0);
}

#[tokio::test]
async fn a_marker_table_that_swallows_rows_commits_nothing() {
    let shop = Shop::<Sqlite>::open(NEVER).await;
    let swallow =
        "CREATE TRIGGER swallow BEFORE INSERT ON escrow_marker BEGIN SELECT RAISE(IGNORE); END";
    shop.database.pool.execute(swallow).await.unwrap();
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<Sqlite>(&mut tx, "a").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    // It swallows the tombstone as well, so nobody can tell, and the message waits.
    let gone = |cause: &Cause| matches!(cause, Cause::Fence(FenceError::Gone));
    assert!(
        matches!(&error, CommitError::InDoubt { cause, .. } if gone(cause)),
        "{error}"
    );
    shop.database
        .pool
        .execute("DROP TRIGGER swallow")
        .await
        .unwrap();
    assert!(shop.orders().await.is_empty());
}
