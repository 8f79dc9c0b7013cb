//! How a bound transaction can end.

use std::time::Duration;

use escrow_client::database::{BeginError, BoundSettings, MarkerError, RunError};

use tokio::task::JoinSet;

use crate::broker::in_time;
use crate::engine::{Engine, on_every_engine, order};
use crate::shop::{A_WHILE, NEVER, SOON, Shop, placed};

on_every_engine!(
    order_and_message_appear_together,
    the_message_carries_the_id_that_the_caller_was_told,
    an_error_of_the_application_leaves_neither,
    a_guard_that_is_dropped_leaves_neither,
    a_guard_that_is_rolled_back_leaves_neither,
    a_transaction_may_take_longer_than_the_first_checks,
    a_check_that_comes_before_the_marker_rules_the_transaction_out,
    several_messages_stand_or_fall_together,
    a_late_half_carries_what_the_database_generated,
    late_transactions_that_are_given_up_leave_no_half,
    nested_transactions_of_the_caller_work,
    closing_waits_for_what_runs_in_the_background,
    nobody_has_to_wait_for_a_delivery,
    many_at_once_are_all_delivered,
);

#[derive(Debug, thiserror::Error)]
#[error("sold out")]
struct SoldOut;

async fn order_and_message_appear_together<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    for id in ["a", "b", "c"] {
        let work = async |connection: &mut DB::Connection| order::<DB>(connection, id).await;
        let ((), committed) = shop.producer.run(placed(id), work).await.unwrap();
        let delivery = committed.delivery.await;
        assert!(delivery.is_resolved(), "{delivery:?}");
    }
    assert_eq!(shop.agree().await, ["a", "b", "c"]);
}

async fn the_message_carries_the_id_that_the_caller_was_told<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    let told = tx.tx_ids()[0].to_string();
    order::<DB>(&mut tx, "a").await.unwrap();
    let committed = tx.commit().await.unwrap();
    assert_eq!(committed.tx_ids[0].as_str(), told);
    assert!(committed.delivery.await.is_resolved());
    let delivered = shop.broker.delivered(&shop.client).await;
    assert_eq!(delivered[0].0, told);
}

async fn an_error_of_the_application_leaves_neither<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let work = async |connection: &mut DB::Connection| {
        order::<DB>(connection, "a").await.unwrap();
        Err::<(), SoldOut>(SoldOut)
    };
    let failed = shop.producer.run(placed("a"), work).await;
    assert!(matches!(failed, Err(RunError::App(SoldOut))), "{failed:?}");
    assert!(shop.agree().await.is_empty());
}

async fn a_guard_that_is_dropped_leaves_neither<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    drop(tx);
    assert!(shop.agree().await.is_empty());
}

async fn a_guard_that_is_rolled_back_leaves_neither<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    tx.rollback().await;
    assert!(shop.orders().await.is_empty());
    assert!(shop.agree().await.is_empty());
}

async fn a_transaction_may_take_longer_than_the_first_checks<DB: Engine>() {
    let shop = Shop::<DB>::open(A_WHILE).await;
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    in_time(shop.broker.checked(2)).await;
    tx.commit().await.unwrap();
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_check_that_comes_before_the_marker_rules_the_transaction_out<DB: Engine>() {
    let settings = BoundSettings {
        acquire_timeout: Duration::from_secs(60),
        ..BoundSettings::default()
    };
    let shop = Shop::<DB>::with(SOON, 1, settings).await;
    let last = shop.database.pool.acquire().await.unwrap();
    let work = async |connection: &mut DB::Connection| order::<DB>(connection, "a").await;
    let run = shop.producer.run(placed("a"), work);
    let check = async {
        // The half waits for the connection, and the broker asks about it meanwhile.
        shop.broker.decided(1).await;
        drop(last);
    };
    let (failed, ()) = in_time(async { tokio::join!(run, check) }).await;
    assert!(
        matches!(
            failed,
            Err(RunError::Begin(BeginError::Marker(MarkerError::TooLate(_))))
        ),
        "{failed:?}"
    );
    assert!(shop.agree().await.is_empty());
}

async fn several_messages_stand_or_fall_together<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let ids = ["a", "b", "c"];
    let work = async |connection: &mut DB::Connection| {
        for id in ids {
            order::<DB>(connection, id).await?;
        }
        Ok::<(), sqlx::Error>(())
    };
    let ((), committed) = shop.producer.run_many(ids.map(placed), work).await.unwrap();
    assert_eq!(committed.tx_ids.len(), 3);

    let mut tx = shop
        .producer
        .begin_many(["d", "e"].map(placed))
        .await
        .unwrap();
    for id in ["d", "e"] {
        order::<DB>(&mut tx, id).await.unwrap();
    }
    tx.rollback().await;
    assert_eq!(shop.agree().await, ids);
}

async fn a_late_half_carries_what_the_database_generated<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut tx, "first").await.unwrap();
    let generated = "second";
    order::<DB>(&mut tx, generated).await.unwrap();
    assert_eq!(shop.broker.undecided().await, 0, "no half yet");
    let tx = tx.prepare(["first", generated].map(placed)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(shop.agree().await, ["first", "second"]);
}

async fn late_transactions_that_are_given_up_leave_no_half<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut dropped = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut dropped, "a").await.unwrap();
    drop(dropped);
    let mut rolled_back = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut rolled_back, "a").await.unwrap();
    rolled_back.rollback().await;
    let mut prepared = shop.producer.begin_late().await.unwrap();
    order::<DB>(&mut prepared, "a").await.unwrap();
    drop(prepared.prepare([placed("a")]).await.unwrap());
    assert!(shop.agree().await.is_empty());
}

async fn nested_transactions_of_the_caller_work<DB: Engine>() {
    use sqlx::Connection;
    let shop = Shop::<DB>::open(NEVER).await;
    let mut tx = shop.producer.begin(placed("kept")).await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    order::<DB>(&mut nested, "kept").await.unwrap();
    nested.commit().await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    order::<DB>(&mut nested, "taken back").await.unwrap();
    nested.rollback().await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    order::<DB>(&mut nested, "dropped").await.unwrap();
    drop(nested);
    tx.commit().await.unwrap();
    assert_eq!(shop.agree().await, ["kept"]);
}

async fn closing_waits_for_what_runs_in_the_background<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    for _ in 0..3 {
        let mut tx = shop.producer.begin(placed("a")).await.unwrap();
        order::<DB>(&mut tx, "a").await.unwrap();
        drop(tx);
    }
    in_time(shop.producer.close()).await;
    assert_eq!(shop.broker.undecided().await, 0);
    let refused = shop.producer.begin(placed("b")).await;
    assert!(matches!(refused, Err(BeginError::Closed)));
    let refused = shop.producer.begin_late().await;
    assert!(matches!(refused, Err(BeginError::Closed)));
}

async fn nobody_has_to_wait_for_a_delivery<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    for id in ["a", "b", "c"] {
        let work = async |connection: &mut DB::Connection| order::<DB>(connection, id).await;
        let ((), committed) = shop.producer.run(placed(id), work).await.unwrap();
        drop(committed);
    }
    in_time(shop.producer.close()).await;
    assert_eq!(shop.broker.undecided().await, 0);
    assert_eq!(shop.agree().await, ["a", "b", "c"]);
}

/// So many that their halfs leave together.
async fn many_at_once_are_all_delivered<DB: Engine>() {
    let shop = Shop::<DB>::open(NEVER).await;
    let mut placing = JoinSet::new();
    for number in 10..42 {
        let producer = shop.producer.clone();
        placing.spawn(async move {
            let id = number.to_string();
            let work = async |connection: &mut DB::Connection| order::<DB>(connection, &id).await;
            let ((), committed) = producer.run(placed(&id), work).await.unwrap();
            assert!(committed.delivery.await.is_resolved());
        });
    }
    in_time(placing.join_all()).await;
    let all: Vec<String> = (10..42).map(|number| number.to_string()).collect();
    assert_eq!(shop.agree().await, all);
}
