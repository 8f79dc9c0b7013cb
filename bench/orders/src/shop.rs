//! The shop's database: orders, and an outbox for those who use one.

use std::future::Future;
use std::str::FromStr;

use escrow_client::database::{self, MarkerDb};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgConnection, Pool, Postgres, Sqlite, SqliteConnection};

/// A message that waits in the outbox.
pub(crate) type Waiting = (i64, String, Vec<u8>);

/// Rows that the relay takes at a time.
pub(crate) const BATCH: usize = 256;

/// Statements, the same on each engine up to spelling.
pub(crate) trait Shop: MarkerDb {
    /// Opens the database and makes its tables where they are missing.
    fn open(url: &str, workers: u32) -> impl Future<Output = anyhow::Result<Pool<Self>>> + Send;

    /// Stores an order.
    fn insert_order(
        connection: &mut Self::Connection,
        id: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Whether an order is there.
    fn has_order(
        connection: &mut Self::Connection,
        id: &str,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Puts a message, and the key that it can be found by, into the outbox.
    fn insert_outbox(
        connection: &mut Self::Connection,
        key: &str,
        body: &[u8],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The oldest messages of the outbox, [`BATCH`] at most.
    fn oldest_outbox(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = sqlx::Result<Vec<Waiting>>> + Send;

    /// Takes messages out of the outbox.
    fn delete_outbox(
        connection: &mut Self::Connection,
        ids: &[i64],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

impl Shop for Postgres {
    async fn open(url: &str, workers: u32) -> anyhow::Result<Pool<Self>> {
        let pool = PgPoolOptions::new()
            // One more for the relay.
            .max_connections(workers + 1)
            .connect(url)
            .await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, item text NOT NULL);
             CREATE TABLE IF NOT EXISTS outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, body bytea NOT NULL);",
        )
        .execute(&pool)
        .await?;
        database::migrate(&pool).await?;
        Ok(pool)
    }

    async fn insert_order(connection: &mut PgConnection, id: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO orders (id, item) VALUES ($1, 'book')")
            .bind(id)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn has_order(connection: &mut PgConnection, id: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM orders WHERE id = $1)")
            .bind(id)
            .fetch_one(connection)
            .await
    }

    async fn insert_outbox(
        connection: &mut PgConnection,
        key: &str,
        body: &[u8],
    ) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO outbox (key, body) VALUES ($1, $2)")
            .bind(key)
            .bind(body)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn oldest_outbox(connection: &mut PgConnection) -> sqlx::Result<Vec<Waiting>> {
        sqlx::query_as("SELECT id, key, body FROM outbox ORDER BY id LIMIT 256")
            .fetch_all(connection)
            .await
    }

    async fn delete_outbox(connection: &mut PgConnection, ids: &[i64]) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM outbox WHERE id = ANY ($1)")
            .bind(ids)
            .execute(connection)
            .await?;
        Ok(())
    }
}

impl Shop for Sqlite {
    async fn open(url: &str, _workers: u32) -> anyhow::Result<Pool<Self>> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // It has one writer: more connections would only wait for each other by polling.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, item TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL) STRICT;",
        )
        .execute(&pool)
        .await?;
        database::migrate(&pool).await?;
        Ok(pool)
    }

    async fn insert_order(connection: &mut SqliteConnection, id: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO orders (id, item) VALUES (?, 'book')")
            .bind(id)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn has_order(connection: &mut SqliteConnection, id: &str) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM orders WHERE id = ?)")
            .bind(id)
            .fetch_one(connection)
            .await
    }

    async fn insert_outbox(
        connection: &mut SqliteConnection,
        key: &str,
        body: &[u8],
    ) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO outbox (key, body) VALUES (?, ?)")
            .bind(key)
            .bind(body)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn oldest_outbox(connection: &mut SqliteConnection) -> sqlx::Result<Vec<Waiting>> {
        sqlx::query_as("SELECT id, key, body FROM outbox ORDER BY id LIMIT 256")
            .fetch_all(connection)
            .await
    }

    async fn delete_outbox(connection: &mut SqliteConnection, ids: &[i64]) -> sqlx::Result<()> {
        // One writer: what was read is a prefix, and nothing came in between.
        sqlx::query("DELETE FROM outbox WHERE id <= ?")
            .bind(ids.iter().max())
            .execute(connection)
            .await?;
        Ok(())
    }
}
