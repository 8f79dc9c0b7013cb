//! The three databases, each with a table of orders.

use std::pin::Pin;
use std::time::Duration;

use escrow_client::database::{MarkerDb, migrate};
use sqlx::mysql::{MySql, MySqlPoolOptions};
use sqlx::postgres::{PgPoolOptions, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Executor, Pool};

pub(crate) type Done<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

const ORDERS: &str = "CREATE TABLE orders (id VARCHAR(64) NOT NULL PRIMARY KEY)";

/// How long a statement may wait for a connection, or for SQLite's one writer.
const WITHIN: Duration = Duration::from_secs(20);

pub(crate) trait Engine: MarkerDb {
    const LABEL: &'static str;

    async fn open(url: &str, connections: u32) -> Result<Pool<Self>, sqlx::Error>;

    /// Runs a statement as it stands, in one piece: a proxy may look for its text.
    fn statement(connection: &mut Self::Connection, sql: String) -> Done<'_>;

    /// Makes the tables.
    async fn make(pool: &Pool<Self>);

    /// The ids of all orders.
    async fn orders(pool: &Pool<Self>) -> Vec<String>;

    /// Whether a check has ruled this transaction out.
    async fn tombstoned(pool: &Pool<Self>, tx_id: &str) -> bool;
}

/// Inserts an order.
pub(crate) fn insert<'c, DB: Engine>(connection: &'c mut DB::Connection, id: &str) -> Done<'c> {
    DB::statement(
        connection,
        format!("INSERT INTO orders (id) VALUES ('{id}')"),
    )
}

macro_rules! common {
    () => {
        fn statement(connection: &mut Self::Connection, sql: String) -> Done<'_> {
            Box::pin(async move {
                connection.execute(AssertSqlSafe(sql)).await?;
                Ok(())
            })
        }

        async fn make(pool: &Pool<Self>) {
            migrate(pool).await.unwrap();
            pool.execute(ORDERS).await.unwrap();
        }

        async fn orders(pool: &Pool<Self>) -> Vec<String> {
            let orders = sqlx::query_scalar("SELECT id FROM orders");
            orders.fetch_all(pool).await.unwrap()
        }

        async fn tombstoned(pool: &Pool<Self>, tx_id: &str) -> bool {
            let count =
                format!("SELECT count(*) FROM escrow_marker WHERE tx_id = '{tx_id}' AND state = 2");
            let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count));
            count.fetch_one(pool).await.unwrap() == 1
        }
    };
}

macro_rules! on_a_server {
    ($engine:ty, $name:literal, $options:ty) => {
        impl Engine for $engine {
            const LABEL: &'static str = $name;

            async fn open(url: &str, connections: u32) -> Result<Pool<Self>, sqlx::Error> {
                let options = <$options>::new().max_connections(connections);
                options.acquire_timeout(WITHIN).connect(url).await
            }

            common!();
        }
    };
}

on_a_server!(Postgres, "postgres", PgPoolOptions);
on_a_server!(MySql, "mariadb", MySqlPoolOptions);

impl Engine for Sqlite {
    const LABEL: &'static str = "sqlite";

    async fn open(url: &str, connections: u32) -> Result<Pool<Self>, sqlx::Error> {
        let file = url.parse::<SqliteConnectOptions>()?;
        let file = file.create_if_missing(true).busy_timeout(WITHIN);
        let options = SqlitePoolOptions::new().max_connections(connections);
        options.acquire_timeout(WITHIN).connect_with(file).await
    }

    common!();
}
