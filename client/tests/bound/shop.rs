//! A shop: a database of orders, a broker, and the producer that binds the two.

use std::time::Duration;

use escrow_client::database::{BoundProducer, BoundSettings};
use escrow_client::{Client, Message};
use sqlx::{Postgres, Row};

use crate::broker::{TOPIC, TestBroker, in_time};
use crate::engine::{Database, Engine};

/// A first check that comes before anything that is made to wait.
pub(crate) const SOON: Duration = Duration::from_millis(50);
/// A first check that waits until a busy machine has put the marker in.
pub(crate) const A_WHILE: Duration = Duration::from_secs(2);
/// A first check that no test lives to see: whatever is decided was decided without one.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

pub(crate) const GROUP: &str = "shop";

pub(crate) struct Shop<DB: Engine> {
    pub(crate) database: Database<DB>,
    pub(crate) broker: TestBroker,
    pub(crate) client: Client,
    pub(crate) producer: BoundProducer<DB>,
}

impl<DB: Engine> Shop<DB> {
    pub(crate) async fn open(first_check: Duration) -> Self {
        Self::with(first_check, 4, BoundSettings::default()).await
    }

    pub(crate) async fn with(
        first_check: Duration,
        connections: u32,
        settings: BoundSettings,
    ) -> Self {
        let database = DB::fresh(connections).await;
        let broker = TestBroker::start(first_check).await;
        let client = broker.client().await;
        let producer = BoundProducer::start(&client, GROUP, &database.pool, settings)
            .await
            .unwrap();
        Self {
            database,
            broker,
            client,
            producer,
        }
    }

    /// The ids of all orders, sorted as Rust does.
    pub(crate) async fn orders(&self) -> Vec<String> {
        let mut orders = DB::orders(&self.database.pool).await;
        orders.sort_unstable();
        orders
    }

    /// Waits until every half is decided; then orders and messages must be the same, and no message there twice.
    /// Returns them.
    pub(crate) async fn agree(&self) -> Vec<String> {
        in_time(self.broker.settled()).await;
        let orders = self.orders().await;
        let delivered = self.broker.bodies(&self.client).await;
        assert_eq!(
            orders, delivered,
            "orders in the database, orders delivered"
        );
        orders
    }
}

/// The message that stands for an order: its body is the order's id.
pub(crate) fn placed(order: &str) -> Message {
    Message::new(TOPIC, order.to_owned())
}

impl Shop<Postgres> {
    /// The pool's next connection is in no transaction: within one that was left, now() would be older. (A simple query: one
    /// time for both.)
    pub(crate) async fn is_outside_a_transaction(&self) -> bool {
        let row = sqlx::raw_sql("SELECT now() = statement_timestamp()")
            .fetch_one(&self.database.pool)
            .await
            .unwrap();
        row.get(0)
    }
}
