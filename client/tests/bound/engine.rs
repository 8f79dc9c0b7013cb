//! The three databases, each with a table of orders, behind one face.

use std::pin::Pin;
use std::time::Duration;

use escrow_client::database::{MarkerDb, migrate};
use escrow_test_databases::{Engine as Kind, Server};
use sqlx::mysql::{MySql, MySqlPoolOptions};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgPoolOptions, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Executor, Pool};

pub(crate) type Done<'c> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'c>>;

/// A database with markers and a table `orders`.
pub(crate) struct Database<DB: MarkerDb> {
    pub(crate) pool: Pool<DB>,
    /// Of a server: its URL.
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
}

pub(crate) trait Engine: MarkerDb {
    /// A fresh database, whose pool has `connections`.
    async fn fresh(connections: u32) -> Database<Self>;

    /// Runs a statement as it stands.
    fn statement(connection: &mut Self::Connection, sql: String) -> Done<'_>;

    /// The ids of all orders.
    async fn orders(pool: &Pool<Self>) -> Vec<String>;

    /// How many markers and tombstones there are.
    async fn markers(pool: &Pool<Self>) -> i64;
}

/// Inserts an order.
pub(crate) fn order<'c, DB: Engine>(connection: &'c mut DB::Connection, id: &str) -> Done<'c> {
    DB::statement(
        connection,
        format!("INSERT INTO orders (id) VALUES ('{id}')"),
    )
}

const ORDERS: &str = "CREATE TABLE orders (id VARCHAR(64) NOT NULL PRIMARY KEY)";

/// The application's pool: it gives up soon, since tests exhaust it.
fn options<DB: sqlx::Database>(options: PoolOptions<DB>, connections: u32) -> PoolOptions<DB> {
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(20))
}

macro_rules! common {
    () => {
        fn statement(connection: &mut Self::Connection, sql: String) -> Done<'_> {
            Box::pin(async move {
                connection.execute(AssertSqlSafe(sql)).await?;
                Ok(())
            })
        }

        async fn orders(pool: &Pool<Self>) -> Vec<String> {
            let orders = sqlx::query_scalar("SELECT id FROM orders");
            orders.fetch_all(pool).await.unwrap()
        }

        async fn markers(pool: &Pool<Self>) -> i64 {
            let count = sqlx::query_scalar("SELECT count(*) FROM escrow_marker");
            count.fetch_one(pool).await.unwrap()
        }
    };
}

impl Engine for Sqlite {
    async fn fresh(connections: u32) -> Database<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteConnectOptions::new()
            .filename(folder.path().join("orders.db"))
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(20));
        let pool = options(SqlitePoolOptions::new(), connections)
            .connect_with(file)
            .await
            .unwrap();
        migrate(&pool).await.unwrap();
        pool.execute(ORDERS).await.unwrap();
        Database {
            pool,
            url: String::new(),
            _folder: Some(folder),
        }
    }

    common!();
}

impl Engine for Postgres {
    async fn fresh(connections: u32) -> Database<Self> {
        let server = Server::shared(Kind::Postgres).unwrap();
        let url = server.fresh_database().await.unwrap();
        let pool = options(PgPoolOptions::new(), connections)
            .connect(&url)
            .await
            .unwrap();
        migrate(&pool).await.unwrap();
        pool.execute(ORDERS).await.unwrap();
        Database {
            pool,
            url,
            _folder: None,
        }
    }

    common!();
}

impl Engine for MySql {
    async fn fresh(connections: u32) -> Database<Self> {
        let server = Server::shared(Kind::MariaDb).unwrap();
        let url = server.fresh_database().await.unwrap();
        let pool = options(MySqlPoolOptions::new(), connections)
            .connect(&url)
            .await
            .unwrap();
        migrate(&pool).await.unwrap();
        pool.execute(ORDERS).await.unwrap();
        Database {
            pool,
            url,
            _folder: None,
        }
    }

    common!();
}

/// Makes a test of each of these functions on each engine.
macro_rules! on_every_engine {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test::<sqlx::Sqlite>().await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test::<sqlx::Postgres>().await;
                }
            )+
        }

        mod mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test::<sqlx::MySql>().await;
                }
            )+
        }
    };
}
pub(crate) use on_every_engine;
