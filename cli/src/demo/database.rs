//! The order service's own database: its orders, and one marker row per half message that ties the two.
//!
//! A marker with state 1 is written in the same database transaction as the order. Whoever answers a check
//! first tries to write state 2 under the same key: if that succeeds, the order can no longer commit, and
//! only then is "rolled back" the truth.

use std::path::Path;
use std::time::Duration;

use escrow_client::{Answer, Resolution};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS escrow_marker (tx_id TEXT PRIMARY KEY, state INTEGER NOT NULL) STRICT;
";
/// A check that meets a running transaction answers "unknown" after this long.
const BUSY: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(super) struct Database {
    pool: SqlitePool,
}

impl Database {
    pub(super) async fn open(path: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With less, a power cut may undo a commit whose message is already out.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Begins the order's transaction: marker and order, not committed yet.
    pub(super) async fn write_order(
        &self,
        order: u64,
        transaction_id: &str,
    ) -> anyhow::Result<Transaction<'static, Sqlite>> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        // A tombstone under this key makes the insert fail, and the order with it.
        sqlx::query("INSERT INTO escrow_marker (tx_id, state) VALUES (?, 1)")
            .bind(transaction_id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO orders (id, item) VALUES (?, ?)")
            .bind(i64::try_from(order)?)
            .bind(format!("item {order}"))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction)
    }

    /// What became of the database transaction behind a half message: the answer to a check.
    pub(super) async fn outcome(&self, transaction_id: &str) -> Answer {
        match self.fence(transaction_id).await {
            Ok(1) => Answer::from(Resolution::Commit),
            Ok(2) => Answer::from(Resolution::Rollback),
            Ok(state) => Answer::from(Resolution::Unknown).because(format!("marker state {state}")),
            // Most likely another transaction is writing: the broker will ask again.
            Err(error) => Answer::from(Resolution::Unknown).because(error.to_string()),
        }
    }

    async fn fence(&self, transaction_id: &str) -> sqlx::Result<i64> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO escrow_marker (tx_id, state) VALUES (?, 2) ON CONFLICT (tx_id) DO NOTHING",
        )
        .bind(transaction_id)
        .execute(&mut *transaction)
        .await?;
        let state = sqlx::query_scalar("SELECT state FROM escrow_marker WHERE tx_id = ?")
            .bind(transaction_id)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(state)
    }

    /// The orders that are there, by number.
    pub(super) async fn orders(&self) -> anyhow::Result<Vec<u64>> {
        let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM orders ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        Ok(ids
            .into_iter()
            .map(u64::try_from)
            .collect::<Result<_, _>>()?)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fresh() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("orders.db"))
            .await
            .unwrap();
        (folder, database)
    }

    fn answer(resolution: Resolution) -> Answer {
        Answer::from(resolution)
    }

    #[tokio::test]
    async fn a_committed_order_answers_commit() {
        let (_folder, database) = fresh().await;
        database
            .write_order(1, "TX")
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        assert_eq!(database.outcome("TX").await, answer(Resolution::Commit));
        assert_eq!(database.orders().await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn an_order_that_never_was_answers_rollback_and_cannot_commit_any_more() {
        let (_folder, database) = fresh().await;
        assert_eq!(database.outcome("TX").await, answer(Resolution::Rollback));
        assert!(database.write_order(1, "TX").await.is_err());
        assert_eq!(database.outcome("TX").await, answer(Resolution::Rollback));
        assert!(database.orders().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_order_in_flight_answers_unknown() {
        let (_folder, database) = fresh().await;
        let transaction = database.write_order(1, "TX").await.unwrap();
        assert_ne!(database.outcome("TX").await, answer(Resolution::Rollback));
        transaction.commit().await.unwrap();
        assert_eq!(database.outcome("TX").await, answer(Resolution::Commit));
    }
}
