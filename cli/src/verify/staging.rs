//! What the brokers said, in a temporary file: there may be more of it than memory.

use anyhow::Context as _;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

/// Decisions in a page at most.
const PAGE: i64 = 500;

const TABLES: &str = "
    CREATE TABLE undecided (tx_id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE decision (
        tx_id TEXT, broker TEXT, outcome TEXT, source TEXT, producer_group TEXT, domain TEXT, decided_at INTEGER,
        stored_at INTEGER, compared INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tx_id, broker, outcome)
    ) WITHOUT ROWID;";

/// A decision whose half is known.
#[derive(Debug, Clone)]
pub(super) struct Decision {
    pub(super) tx_id: String,
    pub(super) broker: String,
    /// `commit` or `rollback`.
    pub(super) outcome: String,
    /// Who decided.
    pub(super) source: String,
    pub(super) group: Option<String>,
    /// The database that the half names.
    pub(super) domain: Option<String>,
    pub(super) decided_at: i64,
    pub(super) stored_at: Option<i64>,
}

impl Decision {
    /// A row of `/api/decisions`; none if its half has left the log, so that nobody knows which it was.
    pub(super) fn of(row: &Value, broker: &str) -> Option<Self> {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        Some(Self {
            tx_id: text("transaction_id")?,
            broker: broker.to_owned(),
            outcome: text("outcome")?,
            source: text("source").unwrap_or_default(),
            group: text("group"),
            domain: text("domain").map(|domain| domain.to_lowercase()),
            decided_at: row["decided_at"].as_i64()?,
            stored_at: row["stored_at"].as_i64(),
        })
    }

    pub(super) fn is_commit(&self) -> bool {
        self.outcome == "commit"
    }

    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tx_id: row.try_get("tx_id")?,
            broker: row.try_get("broker")?,
            outcome: row.try_get("outcome")?,
            source: row.try_get("source")?,
            group: row.try_get("producer_group")?,
            domain: row.try_get("domain")?,
            decided_at: row.try_get("decided_at")?,
            stored_at: row.try_get("stored_at")?,
        })
    }
}

pub(super) struct Staging {
    connection: SqliteConnection,
    _folder: TempDir,
}

impl Staging {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("decisions"))
            .create_if_missing(true)
            // It is gone with the process in any case.
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off);
        let mut connection = options.connect().await?;
        sqlx::raw_sql(TABLES).execute(&mut connection).await?;
        Ok(Self {
            connection,
            _folder: folder,
        })
    }

    pub(super) async fn add_undecided<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.connection.begin().await?;
        for id in ids {
            sqlx::query("INSERT OR IGNORE INTO undecided VALUES (?)")
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    pub(super) async fn add_decisions(
        &mut self,
        decisions: &[Decision],
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.connection.begin().await?;
        for decision in decisions {
            sqlx::query("INSERT OR IGNORE INTO decision VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)")
                .bind(&decision.tx_id)
                .bind(&decision.broker)
                .bind(&decision.outcome)
                .bind(&decision.source)
                .bind(&decision.group)
                .bind(&decision.domain)
                .bind(decision.decided_at)
                .bind(decision.stored_at)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    pub(super) async fn is_undecided(&mut self, id: &str) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM undecided WHERE tx_id = ?)")
            .bind(id)
            .fetch_one(&mut self.connection)
            .await
    }

    /// What was decided of a transaction; takes note that it was compared.
    pub(super) async fn compared(&mut self, id: &str) -> Result<Vec<Decision>, sqlx::Error> {
        let rows = sqlx::query("UPDATE decision SET compared = 1 WHERE tx_id = ? RETURNING *")
            .bind(id)
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(Decision::read).collect()
    }

    /// Transactions with larger ids than `after` that were decided and not compared, of `domain` or of none.
    pub(super) async fn not_compared(
        &mut self,
        domain: &str,
        after: &str,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT DISTINCT tx_id FROM decision WHERE tx_id > ? AND compared = 0 \
             AND (domain = ? OR domain IS NULL) ORDER BY tx_id LIMIT ?",
        )
        .bind(after)
        .bind(domain)
        .bind(PAGE)
        .fetch_all(&mut self.connection)
        .await
    }

    /// What was decided of a transaction.
    pub(super) async fn decisions(&mut self, id: &str) -> Result<Vec<Decision>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM decision WHERE tx_id = ?")
            .bind(id)
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(Decision::read).collect()
    }
}
