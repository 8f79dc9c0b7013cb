//! The SQL of SQLite.
//!
//! There is one writer at a time, so a check that must rule out waits for any open transaction, not only for the
//! one it asks about. The fence is a savepoint set right after the marker.

use futures_core::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteTransactionManager;
use sqlx::{
    AssertSqlSafe, Connection, QueryBuilder, Row, SqlSafeStr, Sqlite, SqliteConnection, SqlitePool,
};
use sqlx_core::transaction::TransactionManager;

use super::decide::{self, Reading, judge};
use super::marker::{CheckQuery, MarkerDb, MarkerError, TxId, literals, sealed};
use super::outcome::Cause;
use super::session::fence_then_commit;
use super::verdict::{Reason, Verdict};

const TOMBSTONE: &str = "INSERT INTO escrow_marker (tx_id, state, decided_by) \
     SELECT ?1, 2, ?2 FROM escrow_meta WHERE purged_before <= ?3 AND domain = COALESCE(?4, domain) \
     ON CONFLICT (tx_id) DO NOTHING";

const READ: &str = "SELECT domain, purged_before <= ?2, \
     (SELECT state FROM escrow_marker WHERE tx_id = ?1) FROM escrow_meta";

/// Milliseconds that a check waits for the writer; the connection's own wait is put back afterwards.
const BUSY_TIMEOUT_MS: i64 = 200;

const SET_FENCE: &str = "SAVEPOINT escrow_fence";
const RELEASE_FENCE: &str = "RELEASE escrow_fence";

impl MarkerDb for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn mark<'c>(
        connection: &'c mut SqliteConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let inserted = QueryBuilder::<Sqlite>::new("INSERT INTO escrow_marker (tx_id) ")
                .push_values(ids, |mut row, id| {
                    row.push_bind(id.as_str());
                })
                .build()
                .execute(&mut *connection)
                .await
                .map_err(MarkerError::of)?;
            MarkerError::unless(inserted.rows_affected(), ids.len())?;
            Self::open_fence(connection)
                .await
                .map_err(MarkerError::Database)
        })
    }

    fn open_fence(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::raw_sql(SET_FENCE).execute(connection).await?;
            Ok(())
        })
    }

    fn mark_late<'c>(
        connection: &'c mut SqliteConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            // Outside a transaction the insert would commit by itself.
            if !release_fence(connection)
                .await
                .map_err(MarkerError::Database)?
            {
                return Err(MarkerError::Split);
            }
            Self::mark(connection, ids).await
        })
    }

    fn fence<'c>(
        connection: &'c mut SqliteConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            // In one message to the connection's thread: the write lock is held meanwhile.
            let ours = literals(ids, ", ")?;
            let script = format!(
                "{RELEASE_FENCE}; SELECT COUNT(*) FROM escrow_marker WHERE state = 1 AND tx_id IN ({ours})"
            );
            let results = sqlx::raw_sql(AssertSqlSafe(script)).fetch_one(connection);
            let ours: i64 = match results.await {
                Ok(row) => row.try_get(0)?,
                Err(error) if lacks_fence(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            Ok(usize::try_from(ours) == Ok(ids.len()))
        })
    }
}

async fn release_fence(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    match sqlx::raw_sql(RELEASE_FENCE).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if lacks_fence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// SQLite has no code of its own for it.
fn lacks_fence(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|refusal| refusal.message().contains("no such savepoint"))
}

impl sealed::Sealed for Sqlite {
    const MIGRATIONS: &'static [(&'static str, &'static str)] = &[(
        "marker meta inbox",
        include_str!("../../../migrations/sqlite/0001_marker_meta_inbox.sql"),
    )];

    fn migrate<'c>(
        connection: &'c mut SqliteConnection,
        migrator: &'c Migrator,
        done: Option<i32>,
    ) -> BoxFuture<'c, Result<(), MigrateError>> {
        Box::pin(async move {
            // The driver has no lock for two runs at once; one transaction around all is as good.
            let mut tx = connection.begin_with(Self::BEGIN).await?;
            if let Some(done) = done {
                migrator
                    .run_direct(Some(done.into()), &mut *tx, true)
                    .await?;
            }
            migrator.run_direct(None, &mut *tx, false).await?;
            Ok(tx.commit().await?)
        })
    }

    fn identity(
        connection: &mut SqliteConnection,
    ) -> BoxFuture<'_, Result<Option<(String, i32)>, sqlx::Error>> {
        Box::pin(async move {
            let row = sqlx::query_as("SELECT domain, version FROM escrow_meta")
                .fetch_optional(connection)
                .await;
            match row {
                Err(error) if lacks_table(&error) => Ok(None),
                row => row,
            }
        })
    }

    fn adopt<'c>(
        connection: &'c mut SqliteConnection,
        domain: &'c str,
    ) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::query("UPDATE escrow_meta SET domain = ?")
                .bind(domain)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn begin_marked<'c>(
        connection: &'c mut SqliteConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let rows = literals(ids, "), (").map_err(MarkerError::Database)?;
            let script = format!(
                "{}; INSERT INTO escrow_marker (tx_id) VALUES ({rows}); {SET_FENCE}",
                Self::BEGIN
            );
            let script = AssertSqlSafe(script).into_sql_str();
            let begun = SqliteTransactionManager::begin(connection, Some(script));
            begun.await.map_err(MarkerError::of)
        })
    }

    fn begin_open(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        let script = AssertSqlSafe(format!("{}; {SET_FENCE}", Self::BEGIN)).into_sql_str();
        Box::pin(SqliteTransactionManager::begin(connection, Some(script)))
    }

    fn commit_fenced<'c>(
        connection: &'c mut SqliteConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), Cause>> {
        Box::pin(fence_then_commit::<Self>(connection, ids))
    }

    fn close_fence(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(release_fence(connection))
    }

    fn reason(error: sqlx::Error) -> Reason {
        reason(error)
    }

    fn ask(
        mut connection: PoolConnection<Sqlite>,
        _: SqlitePool,
        query: CheckQuery,
    ) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let asked = ask(&mut connection, &query).await;
            asked.unwrap_or_else(|error| Verdict::Unknown(reason(error)))
        })
    }
}

async fn ask(
    connection: &mut SqliteConnection,
    query: &CheckQuery,
) -> Result<Verdict, sqlx::Error> {
    let wait_ms: i64 = sqlx::query_scalar("PRAGMA busy_timeout")
        .fetch_one(&mut *connection)
        .await?;
    wait_at_most(connection, BUSY_TIMEOUT_MS).await?;
    let asked = read_or_rule_out(connection, query).await;
    wait_at_most(connection, wait_ms).await?;
    asked
}

async fn read_or_rule_out(
    connection: &mut SqliteConnection,
    query: &CheckQuery,
) -> Result<Verdict, sqlx::Error> {
    // Without the write lock, which another transaction may hold for long: a row that is there is as good, and what
    // may not be ruled out needs no lock either.
    let verdict = judge(query, read(connection, query).await?);
    if verdict != Verdict::Unknown(Reason::Swallowed) {
        return Ok(verdict);
    }
    let mut tx = connection.begin_with(Sqlite::BEGIN).await?;
    sqlx::query(TOMBSTONE)
        .bind(query.tx_id.as_str())
        .bind(decide::decided_by(query))
        .bind(decide::marker_not_before_ms(query))
        .bind(query.domain.map(|domain| domain.to_string()))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(judge(query, read(connection, query).await?))
}

async fn read(
    connection: &mut SqliteConnection,
    query: &CheckQuery,
) -> Result<Option<Reading>, sqlx::Error> {
    let row: Option<(String, bool, Option<i64>)> = sqlx::query_as(READ)
        .bind(query.tx_id.as_str())
        .bind(decide::marker_not_before_ms(query))
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(domain, above_horizon, state)| Reading {
        domain,
        above_horizon,
        state,
    }))
}

async fn wait_at_most(connection: &mut SqliteConnection, wait_ms: i64) -> Result<(), sqlx::Error> {
    QueryBuilder::<Sqlite>::new("PRAGMA busy_timeout = ")
        .push(wait_ms)
        .build()
        .execute(connection)
        .await?;
    Ok(())
}

fn lacks_table(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|refusal| refusal.message().contains("no such table"))
}

fn lacks_column(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|refusal| {
        refusal.message().contains("has no column named")
            || refusal.message().contains("no such column")
    })
}

fn reason(error: sqlx::Error) -> Reason {
    if let Some(reason) = decide::unreachable(&error) {
        return reason;
    }
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    // The low byte is the primary code, the rest says more.
    match code
        .and_then(|code| code.parse::<u32>().ok())
        .map(|code| code & 0xff)
    {
        Some(5 | 6) => Reason::InFlight { blocked_by: None },
        Some(8) => Reason::ReadOnly,
        Some(10 | 13 | 14) => Reason::Unreachable(error.to_string()),
        _ if lacks_table(&error) || lacks_column(&error) => Reason::NotMigrated(error.to_string()),
        _ => Reason::Refused(error.to_string()),
    }
}
