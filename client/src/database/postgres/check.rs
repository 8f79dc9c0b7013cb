//! The check: one transaction with bounds of its own, which inserts the tombstone unless a row is there.

use sqlx::{Connection, PgConnection, PgPool};

use super::super::blocker::watched;
use super::super::decide::{self, Reading, judge};
use super::super::marker::CheckQuery;
use super::super::verdict::{Reason, Verdict};
use super::reason;

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

pub(super) async fn rule_out_in_bounds(
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

pub(super) async fn only_read(
    connection: &mut PgConnection,
    query: &CheckQuery,
) -> Result<Verdict, Reason> {
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
