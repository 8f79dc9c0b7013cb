//! The SQL of PostgreSQL, 13 and newer.
//!
//! The fence needs no savepoint: a row's `xmin` tells which transaction inserted it. (A marker inserted inside a
//! savepoint would carry the number of a subtransaction.)

use futures_core::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};

use super::blocker::watched;
use super::decide::{self, Reading, judge};
use super::marker::{CheckQuery, MarkerDb, MarkerError, TxId, sealed};
use super::verdict::{Reason, Verdict};

/// Explicit, since role and database may have other defaults.
const BEGIN_CHECK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";

/// For this transaction only: behind a pooler the session is not ours alone.
const BOUNDS: &str = "SELECT pg_backend_pid(), set_config('lock_timeout', '300ms', true), \
     set_config('statement_timeout', '2s', true)";

const TOMBSTONE: &str = "INSERT INTO escrow_marker (tx_id, state, decided_by) \
     SELECT $1, 2, $2 FROM escrow_meta \
     WHERE purged_before <= to_timestamp($3::bigint / 1000.0) AND domain = COALESCE($4::uuid, domain) \
     ON CONFLICT (tx_id) DO NOTHING";

const READ: &str = "SELECT domain::text, purged_before <= to_timestamp($2::bigint / 1000.0), \
     (SELECT state::bigint FROM escrow_marker WHERE tx_id = $1) FROM escrow_meta";

const READ_AGAIN: &str = "SELECT state::bigint FROM escrow_marker WHERE tx_id = $1";

const BLOCKER: &str = "SELECT format('session %s of %s (%s), %s since %s', pid, usename, application_name, \
     COALESCE(state, 'open'), COALESCE(to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '?')) \
     FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids($1)) LIMIT 1";

impl MarkerDb for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn mark<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let inserted =
                sqlx::query("INSERT INTO escrow_marker (tx_id) SELECT * FROM unnest($1::text[])")
                    .bind(texts(ids))
                    .execute(connection)
                    .await
                    .map_err(MarkerError::of)?;
            MarkerError::unless(inserted.rows_affected(), ids.len())
        })
    }

    fn open_fence(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        // Lives exactly as long as the transaction, and costs no subtransaction.
        Box::pin(async move {
            sqlx::query("SELECT set_config('escrow.fence', 'open', true)")
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn mark_late<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let inserted = sqlx::query(
                "INSERT INTO escrow_marker (tx_id) SELECT * FROM unnest($1::text[]) \
                 WHERE current_setting('escrow.fence', true) = 'open'",
            )
            .bind(texts(ids))
            .execute(connection)
            .await
            .map_err(|error| match code(&error).as_deref() {
                Some(IN_FAILED_TRANSACTION) => MarkerError::Split,
                _ => MarkerError::of(error),
            })?;
            match inserted.rows_affected() {
                0 if !ids.is_empty() => Err(MarkerError::Split),
                inserted => MarkerError::unless(inserted, ids.len()),
            }
        })
    }

    fn fence<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            let ours: Result<i64, _> = sqlx::query_scalar(
                "SELECT count(*) FROM escrow_marker WHERE tx_id = ANY($1) AND state = 1 \
                 AND xmin = pg_current_xact_id_if_assigned()::xid",
            )
            .bind(texts(ids))
            .fetch_one(connection)
            .await;
            match ours {
                Ok(count) => Ok(usize::try_from(count) == Ok(ids.len())),
                Err(error) if code(&error).as_deref() == Some(IN_FAILED_TRANSACTION) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}

impl sealed::Sealed for Postgres {
    const MIGRATIONS: &'static [(&'static str, &'static str)] = &[(
        "marker meta inbox",
        include_str!("../../../migrations/postgres/0001_marker_meta_inbox.sql"),
    )];

    fn migrate<'c>(
        connection: &'c mut PgConnection,
        migrator: &'c Migrator,
        done: Option<i32>,
    ) -> BoxFuture<'c, Result<(), MigrateError>> {
        Box::pin(async move {
            if let Some(done) = done {
                migrator
                    .run_direct(Some(done.into()), &mut *connection, true)
                    .await?;
            }
            migrator.run_direct(None, connection, false).await
        })
    }

    fn identity(
        connection: &mut PgConnection,
    ) -> BoxFuture<'_, Result<Option<(String, i32)>, sqlx::Error>> {
        Box::pin(async move {
            let row = sqlx::query_as("SELECT domain::text, version FROM escrow_meta")
                .fetch_optional(connection)
                .await;
            match row {
                Err(error) if code(&error).as_deref() == Some(NO_SUCH_TABLE) => Ok(None),
                row => row,
            }
        })
    }

    fn adopt<'c>(
        connection: &'c mut PgConnection,
        domain: &'c str,
    ) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::query("UPDATE escrow_meta SET domain = $1::uuid")
                .bind(domain)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    fn close_fence(connection: &mut PgConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            let open = sqlx::query_scalar(
                "SELECT COALESCE(current_setting('escrow.fence', true), '') = 'open'",
            );
            match open.fetch_one(connection).await {
                Err(error) if code(&error).as_deref() == Some(IN_FAILED_TRANSACTION) => Ok(false),
                open => open,
            }
        })
    }

    fn reason(error: sqlx::Error) -> Reason {
        reason(error)
    }

    fn ask(
        mut connection: PoolConnection<Postgres>,
        pool: PgPool,
        query: CheckQuery,
    ) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let asked = if query.may_tombstone {
                ask_or_rule_out(&mut connection, &pool, &query).await
            } else {
                only_read(&mut connection, &query).await
            };
            asked.unwrap_or_else(Verdict::Unknown)
        })
    }
}

async fn ask_or_rule_out(
    connection: &mut PgConnection,
    pool: &PgPool,
    query: &CheckQuery,
) -> Result<Verdict, Reason> {
    let mut tx = connection.begin_with(BEGIN_CHECK).await.map_err(reason)?;
    let (session, _, _): (i32, String, String) = sqlx::query_as(BOUNDS)
        .fetch_one(&mut *tx)
        .await
        .map_err(reason)?;
    let tombstone = sqlx::query(TOMBSTONE)
        .bind(query.tx_id.as_str())
        .bind(decide::decided_by(query))
        .bind(decide::marker_not_before_ms(query))
        .bind(query.domain.map(|domain| domain.to_string()))
        .execute(&mut *tx);
    let (inserted, blocked_by) = watched(tombstone, blocker(pool, session)).await;
    let inserted = inserted.map_err(|error| match reason(error) {
        Reason::InFlight { .. } => Reason::InFlight { blocked_by },
        other => other,
    })?;
    let verdict = judge(query, read(&mut tx, query).await?);
    tx.commit().await.map_err(reason)?;
    if verdict == Verdict::RolledBack && inserted.rows_affected() > 0 {
        // PostgreSQL answers the COMMIT of a failed transaction with success, and the driver does not show the
        // difference. What a fresh statement sees is committed.
        let state: Option<i64> = sqlx::query_scalar(READ_AGAIN)
            .bind(query.tx_id.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(reason)?;
        if state != Some(2) {
            return Err(Reason::Swallowed);
        }
    }
    Ok(verdict)
}

async fn only_read(connection: &mut PgConnection, query: &CheckQuery) -> Result<Verdict, Reason> {
    let mut tx = connection.begin_with(BEGIN_READ).await.map_err(reason)?;
    sqlx::query(BOUNDS)
        .execute(&mut *tx)
        .await
        .map_err(reason)?;
    let verdict = judge(query, read(&mut tx, query).await?);
    tx.rollback().await.map_err(reason)?;
    Ok(verdict)
}

async fn read(
    connection: &mut PgConnection,
    query: &CheckQuery,
) -> Result<Option<Reading>, Reason> {
    let row: Option<(String, bool, Option<i64>)> = sqlx::query_as(READ)
        .bind(query.tx_id.as_str())
        .bind(decide::marker_not_before_ms(query))
        .fetch_optional(connection)
        .await
        .map_err(reason)?;
    Ok(row.map(|(domain, above_horizon, state)| Reading {
        domain,
        above_horizon,
        state,
    }))
}

async fn blocker(pool: &PgPool, session: i32) -> Option<String> {
    sqlx::query_scalar(BLOCKER)
        .bind(session)
        .fetch_optional(pool)
        .await
        .ok()
        .flatten()
}

const IN_FAILED_TRANSACTION: &str = "25P02";
const NO_SUCH_TABLE: &str = "42P01";

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn reason(error: sqlx::Error) -> Reason {
    if let Some(reason) = decide::unreachable(&error) {
        return reason;
    }
    match code(&error).as_deref() {
        Some("55P03") => Reason::InFlight { blocked_by: None },
        Some("40001" | "40P01") => Reason::Serialization,
        // 0A000 is what a standby says to READ WRITE.
        Some("25006" | "0A000") => Reason::ReadOnly,
        Some("42501") => Reason::Forbidden(error.to_string()),
        Some("57014") => Reason::Timeout,
        Some(NO_SUCH_TABLE | "42703") => Reason::NotMigrated(error.to_string()),
        Some(class) if class.starts_with("08") || class.starts_with("57P") => {
            Reason::Unreachable(error.to_string())
        }
        _ => Reason::Refused(error.to_string()),
    }
}

fn texts(ids: &[TxId]) -> Vec<&str> {
    ids.iter().map(TxId::as_str).collect()
}
