//! Connections that stay with the producer between two transactions.

use std::time::Duration;

use escrow_client::database::BoundSettings;
use sqlx::{Executor, Pool, Postgres};

use crate::broker::in_time;
use crate::engine::{Engine, on_every_engine, order};
use crate::shop::{NEVER, Shop, placed};

on_every_engine!(
    a_connection_that_stays_takes_the_next_transaction,
    a_connection_goes_back_when_its_time_is_over,
    a_connection_goes_back_when_the_producer_closes,
    a_pool_that_closes_gets_every_connection_back,
    the_last_connection_of_a_pool_does_not_stay,
);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

async fn shop<DB: Engine>(connections: u32, linger: Duration) -> Shop<DB> {
    let settings = BoundSettings {
        linger,
        ..BoundSettings::default()
    };
    Shop::with(NEVER, connections, settings).await
}

async fn place<DB: Engine>(shop: &Shop<DB>, id: &str) {
    let work = async |connection: &mut DB::Connection| order::<DB>(connection, id).await;
    shop.producer.run(placed(id), work).await.unwrap();
}

/// Waits until all connections but `away` lie in the pool.
async fn back<DB: Engine>(pool: &Pool<DB>, away: usize) {
    in_time(async {
        while pool.num_idle() + away != pool.size() as usize {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn a_connection_that_stays_takes_the_next_transaction<DB: Engine>() {
    let shop = shop::<DB>(2, LONG).await;
    let pool = &shop.database.pool;
    back(pool, 0).await;
    let size = pool.size();
    for id in ["a", "b", "c"] {
        place(&shop, id).await;
        assert_eq!((pool.num_idle() + 1, pool.size()), (size as usize, size));
    }
    assert_eq!(shop.agree().await, ["a", "b", "c"]);
}

async fn a_connection_goes_back_when_its_time_is_over<DB: Engine>() {
    let shop = shop::<DB>(2, Duration::from_millis(1)).await;
    for id in ["a", "b"] {
        place(&shop, id).await;
        back(&shop.database.pool, 0).await;
    }
    assert_eq!(shop.agree().await, ["a", "b"]);
}

async fn a_connection_goes_back_when_the_producer_closes<DB: Engine>() {
    let shop = shop::<DB>(2, LONG).await;
    place(&shop, "a").await;
    in_time(shop.producer.close()).await;
    back(&shop.database.pool, 0).await;
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_pool_that_closes_gets_every_connection_back<DB: Engine>() {
    let shop = shop::<DB>(2, LONG).await;
    place(&shop, "a").await;
    in_time(shop.database.pool.close()).await;
    assert_eq!(shop.database.pool.size(), 0);
}

async fn the_last_connection_of_a_pool_does_not_stay<DB: Engine>() {
    let shop = shop::<DB>(1, LONG).await;
    place(&shop, "a").await;
    drop(in_time(shop.database.pool.acquire()).await.unwrap());
    place(&shop, "b").await;
    assert_eq!(shop.agree().await, ["a", "b"]);
}

#[tokio::test]
async fn postgres_a_connection_that_stayed_comes_back_without_a_transaction() {
    let shop = shop::<Postgres>(2, LONG).await;
    place(&shop, "a").await;
    place(&shop, "b").await;
    in_time(shop.producer.close()).await;
    back(&shop.database.pool, 0).await;
    assert!(shop.is_outside_a_transaction().await);
}

#[tokio::test]
async fn postgres_a_transaction_inherits_nothing_from_the_one_before() {
    let shop = shop::<Postgres>(2, LONG).await;
    let work = async |connection: &mut sqlx::PgConnection| {
        order::<Postgres>(&mut *connection, "a").await?;
        connection.execute("SET TRANSACTION READ ONLY").await
    };
    shop.producer.run(placed("a"), work).await.unwrap();
    place(&shop, "b").await;
    assert_eq!(shop.agree().await, ["a", "b"]);
}

#[tokio::test]
async fn postgres_a_connection_that_died_meanwhile_is_replaced() {
    let shop = shop::<Postgres>(2, LONG).await;
    place(&shop, "a").await;
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    ended.execute(&shop.database.pool).await.unwrap();
    place(&shop, "b").await;
    assert_eq!(shop.agree().await, ["a", "b"]);
}
