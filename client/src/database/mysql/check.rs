//! The check on MySQL and MariaDB.

use sqlx::{Connection, MySqlConnection, MySqlPool};

use super::super::blocker::watched;
use super::super::decide::{self, Reading, judge};
use super::super::marker::CheckQuery;
use super::super::verdict::{Reason, Verdict};
use super::{number, reason};

/// Bounds the waits, for row locks and for DDL on the table; the session's own are put back afterwards.
const BOUNDS: &str = "SET @escrow_row_wait = @@SESSION.innodb_lock_wait_timeout, \
     @escrow_table_wait = @@SESSION.lock_wait_timeout; \
     SET SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 2";
const BOUNDS_BACK: &str = "SET SESSION innodb_lock_wait_timeout = @escrow_row_wait, \
     SESSION lock_wait_timeout = @escrow_table_wait";

const READ_COMMITTED: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
/// Right as well, as long as the first read of the transaction follows the insert.
const REPEATABLE_READ: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// Plain: IGNORE hides other errors, ON DUPLICATE KEY needs the right to update.
const TOMBSTONE: &str = "INSERT INTO escrow_marker (tx_id, state, decided_by) \
     SELECT ?, 2, ? FROM escrow_meta WHERE purged_before <= ? AND domain = COALESCE(?, domain)";

const READ: &str = "SELECT domain, purged_before <= ?, \
     (SELECT CAST(state AS SIGNED) FROM escrow_marker WHERE tx_id = ?) FROM escrow_meta";

const READ_AGAIN: &str = "SELECT CAST(state AS SIGNED) FROM escrow_marker WHERE tx_id = ?";

/// MariaDB; needs the PROCESS privilege.
const BLOCKER: &str = "SELECT CONCAT('session ', b.trx_mysql_thread_id, \
       COALESCE(CONCAT(' of ', p.user, '@', p.host), ''), ', since ', b.trx_started) \
     FROM information_schema.innodb_lock_waits w \
     JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id \
     JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id \
     LEFT JOIN information_schema.processlist p ON p.id = b.trx_mysql_thread_id \
     WHERE r.trx_mysql_thread_id = ? LIMIT 1";

const DUPLICATE: u16 = 1062;
const BINLOG_NEEDS_REPEATABLE_READ: u16 = 1665;

pub(super) async fn rule_out_in_bounds(
    connection: &mut MySqlConnection,
    pool: &MySqlPool,
    query: &CheckQuery,
) -> Result<Verdict, Reason> {
    let session: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut *connection)
        .await
        .map_err(reason)?;
    bound_waits(connection).await.map_err(reason)?;
    let mut asked = ask_or_rule_out(connection, READ_COMMITTED, pool, session, query).await;
    if let Err(error) = &asked
        && number(&error.0) == Some(BINLOG_NEEDS_REPEATABLE_READ)
    {
        asked = ask_or_rule_out(connection, REPEATABLE_READ, pool, session, query).await;
    }
    let back = unbound_waits(connection).await;
    let verdict = asked.map_err(|(error, blocked_by)| match reason(error) {
        Reason::InFlight { .. } => Reason::InFlight { blocked_by },
        other => other,
    })?;
    back.map_err(reason)?;
    verdict
}

/// Lets no statement of this session wait for long, until [`unbound_waits`].
pub(in super::super) async fn bound_waits(
    connection: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(BOUNDS).execute(connection).await?;
    Ok(())
}

pub(in super::super) async fn unbound_waits(
    connection: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(BOUNDS_BACK).execute(connection).await?;
    Ok(())
}

/// A refusal, and who was in the way.
type Blocked = (sqlx::Error, Option<String>);

async fn ask_or_rule_out(
    connection: &mut MySqlConnection,
    isolation: &'static str,
    pool: &MySqlPool,
    session: u64,
    query: &CheckQuery,
) -> Result<Result<Verdict, Reason>, Blocked> {
    let plain = |error| (error, None);
    sqlx::raw_sql(isolation)
        .execute(&mut *connection)
        .await
        .map_err(plain)?;
    // Explicit, so that no proxy sends the read to a replica.
    let mut tx = connection
        .begin_with("START TRANSACTION READ WRITE")
        .await
        .map_err(plain)?;
    let tombstone = sqlx::query(TOMBSTONE)
        .bind(query.tx_id.as_str().as_bytes())
        .bind(decide::decided_by(query))
        .bind(decide::marker_not_before_ms(query))
        .bind(query.domain.map(|domain| domain.to_string()))
        .execute(&mut *tx);
    let (inserted, blocked_by) = watched(tombstone, blocker(pool, session)).await;
    let inserted = match inserted {
        Ok(done) => done.rows_affected(),
        Err(error) if number(&error) == Some(DUPLICATE) => 0,
        Err(error) => return Err((error, blocked_by)),
    };
    let verdict = judge(query, read(&mut tx, query).await.map_err(plain)?);
    tx.commit().await.map_err(plain)?;
    if verdict == Verdict::RolledBack && inserted > 0 {
        let state: Option<i64> = sqlx::query_scalar(READ_AGAIN)
            .bind(query.tx_id.as_str().as_bytes())
            .fetch_optional(&mut *connection)
            .await
            .map_err(plain)?;
        if state != Some(2) {
            return Ok(Err(Reason::Swallowed));
        }
    }
    Ok(Ok(verdict))
}

pub(super) async fn only_read(
    connection: &mut MySqlConnection,
    query: &CheckQuery,
) -> Result<Verdict, Reason> {
    let reading = async {
        sqlx::raw_sql(READ_COMMITTED)
            .execute(&mut *connection)
            .await?;
        let mut tx = connection.begin_with("START TRANSACTION READ ONLY").await?;
        let reading = read(&mut tx, query).await?;
        tx.rollback().await?;
        Ok(reading)
    };
    Ok(judge(query, reading.await.map_err(reason)?))
}

async fn read(
    connection: &mut MySqlConnection,
    query: &CheckQuery,
) -> Result<Option<Reading>, sqlx::Error> {
    let row: Option<(String, bool, Option<i64>)> = sqlx::query_as(READ)
        .bind(decide::marker_not_before_ms(query))
        .bind(query.tx_id.as_str().as_bytes())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|(domain, above_horizon, state)| Reading {
        domain,
        above_horizon,
        state,
    }))
}

async fn blocker(pool: &MySqlPool, session: u64) -> Option<String> {
    sqlx::query_scalar(BLOCKER)
        .bind(session)
        .fetch_optional(pool)
        .await
        .ok()
        .flatten()
}
