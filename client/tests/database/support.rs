//! A fresh database of each engine, and plain SQL on any of them.

use std::time::Duration;

use escrow_client::database::{CheckQuery, MarkerDb, Reason, TxId, Verdict, migrate};
use escrow_test_databases::{Engine, Server};
use futures_core::future::BoxFuture;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, MySql, Pool, Postgres, Sqlite};

/// An engine that tests run on.
pub(crate) trait TestDb: MarkerDb {
    /// An empty database. The value keeps it.
    fn empty() -> impl Future<Output = Database<Self>> + Send;

    /// Runs one statement; returns how many rows it touched.
    fn run<'c>(
        connection: &'c mut Self::Connection,
        sql: &str,
    ) -> BoxFuture<'c, Result<u64, sqlx::Error>>;

    /// Reads one number.
    fn number<'c>(connection: &'c mut Self::Connection, sql: &str) -> BoxFuture<'c, i64>;
}

/// A database of a test's own.
pub(crate) struct Database<DB: sqlx::Database> {
    pub(crate) pool: Pool<DB>,
    /// Where it is.
    pub(crate) url: String,
    _folder: Option<tempfile::TempDir>,
}

macro_rules! plain_sql {
    () => {
        fn run<'c>(
            connection: &'c mut Self::Connection,
            sql: &str,
        ) -> BoxFuture<'c, Result<u64, sqlx::Error>> {
            let sql = AssertSqlSafe(sql.to_owned());
            Box::pin(async move {
                let done = sqlx::raw_sql(sql).execute(connection).await?;
                Ok(done.rows_affected())
            })
        }

        fn number<'c>(connection: &'c mut Self::Connection, sql: &str) -> BoxFuture<'c, i64> {
            let sql = AssertSqlSafe(sql.to_owned());
            Box::pin(async move {
                let number = sqlx::query_scalar(sql).fetch_one(connection);
                number.await.unwrap()
            })
        }
    };
}

impl TestDb for Postgres {
    async fn empty() -> Database<Self> {
        let server = Server::shared(Engine::Postgres).unwrap();
        let url = server.fresh_database().await.unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect(&url);
        Database {
            pool: pool.await.unwrap(),
            url,
            _folder: None,
        }
    }

    plain_sql!();
}

impl TestDb for MySql {
    async fn empty() -> Database<Self> {
        let server = Server::shared(Engine::MariaDb).unwrap();
        let url = server.fresh_database().await.unwrap();
        let pool = MySqlPoolOptions::new().max_connections(8).connect(&url);
        Database {
            pool: pool.await.unwrap(),
            url,
            _folder: None,
        }
    }

    plain_sql!();
}

impl TestDb for Sqlite {
    async fn empty() -> Database<Self> {
        sqlite_file(SqliteJournalMode::Wal).await
    }

    plain_sql!();
}

/// An empty file.
pub(crate) async fn sqlite_file(journal: SqliteJournalMode) -> Database<Sqlite> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(journal);
    let pool = SqlitePoolOptions::new().max_connections(8);
    Database {
        pool: pool.connect_with(options).await.unwrap(),
        url: format!("sqlite://{}", file.display()),
        _folder: Some(folder),
    }
}

/// A database with our tables and a table of orders.
pub(crate) async fn migrated<DB: TestDb>() -> Database<DB> {
    with_tables(DB::empty().await).await
}

/// Makes our tables and a table of orders.
pub(crate) async fn with_tables<DB: TestDb>(database: Database<DB>) -> Database<DB> {
    migrate(&database.pool).await.unwrap();
    let mut connection = database.pool.acquire().await.unwrap();
    let orders = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item VARCHAR(20))";
    DB::run(&mut connection, orders).await.unwrap();
    drop(connection);
    database
}

impl<DB: TestDb> Database<DB> {
    /// A connection, with a transaction begun on it by plain SQL.
    pub(crate) async fn begun(&self) -> sqlx::pool::PoolConnection<DB> {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::run(&mut connection, DB::BEGIN).await.unwrap();
        connection
    }

    /// Runs one statement on a connection of its own.
    pub(crate) async fn run(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::run(&mut connection, sql).await
    }

    /// Reads one number on a connection of its own.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::number(&mut connection, sql).await
    }

    /// A checker's pool with one connection.
    pub(crate) async fn pool_of_one(&self) -> Pool<DB> {
        let options = PoolOptions::new().max_connections(1);
        options.connect(&self.url).await.unwrap()
    }

    pub(crate) async fn decide(&self, id: &TxId) -> Verdict {
        DB::decide(&self.pool, &asking(id)).await
    }

    /// Asks until the answer is final.
    pub(crate) async fn decide_at_last(&self, id: &TxId) -> Verdict {
        let asked = async {
            loop {
                match self.decide(id).await {
                    Verdict::Unknown(_) => tokio::task::yield_now().await,
                    verdict => break verdict,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .expect("an answer")
    }
}

pub(crate) fn id(text: &str) -> TxId {
    text.parse().unwrap()
}

/// The question about `id`, of a checker that may rule out and does not care which database it is.
pub(crate) fn asking(id: &TxId) -> CheckQuery {
    CheckQuery {
        tx_id: id.clone(),
        stored_at_ms: 1_700_000_000_000,
        decided_by: "test".to_owned(),
        domain: None,
        may_tombstone: true,
    }
}

/// The keyword of an unknown verdict.
#[track_caller]
pub(crate) fn unknown(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown(reason) => reason.keyword(),
        known => panic!("known: {known:?}"),
    }
}

/// The session that an unknown verdict names.
#[track_caller]
pub(crate) fn blocked_by(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Unknown(Reason::InFlight { blocked_by }) => blocked_by,
        other => panic!("not in flight: {other:?}"),
    }
}

/// Makes a test of each engine out of each generic specification.
macro_rules! on_each_engine {
    ($($specification:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test] async fn $specification() { super::$specification::<sqlx::Postgres>().await; })+
        }
        mod on_mariadb {
            $(#[tokio::test] async fn $specification() { super::$specification::<sqlx::MySql>().await; })+
        }
        mod on_sqlite {
            $(#[tokio::test] async fn $specification() { super::$specification::<sqlx::Sqlite>().await; })+
        }
    };
}
pub(crate) use on_each_engine;
