//! The SQL of MySQL and MariaDB, InnoDB tables.
//!
//! The fence is a savepoint set right after the marker: whatever ends the transaction behind our back (DDL, a
//! nested `START TRANSACTION`, a deadlock) takes it away, and releasing it then fails.

use futures_core::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, MySql, MySqlConnection, MySqlPool, QueryBuilder};

use super::blocker::watched;
use super::decide::{self, Reading, judge};
use super::marker::{CheckQuery, MarkerDb, MarkerError, TxId, sealed};
use super::verdict::{Reason, Verdict};

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

/// The name of a lock has 64 bytes at most.
const ALONE: &str = "SELECT GET_LOCK(CONCAT('escrow_migrate ', MD5(DATABASE())), 60)";
const NO_LONGER_ALONE: &str = "DO RELEASE_LOCK(CONCAT('escrow_migrate ', MD5(DATABASE())))";

const SET_FENCE: &str = "SAVEPOINT escrow_fence";
const RELEASE_FENCE: &str = "RELEASE SAVEPOINT escrow_fence";

const DUPLICATE: u16 = 1062;
const NO_SUCH_TABLE: u16 = 1146;
const NO_SUCH_SAVEPOINT: u16 = 1305;
const BINLOG_NEEDS_REPEATABLE_READ: u16 = 1665;

impl MarkerDb for MySql {
    const BEGIN: &'static str = "START TRANSACTION";

    fn mark<'c>(
        connection: &'c mut MySqlConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let inserted = QueryBuilder::<MySql>::new("INSERT INTO escrow_marker (tx_id) ")
                .push_values(ids, |mut row, id| {
                    row.push_bind(id.as_str().as_bytes());
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

    fn open_fence(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::raw_sql(SET_FENCE).execute(connection).await?;
            Ok(())
        })
    }

    fn mark_late<'c>(
        connection: &'c mut MySqlConnection,
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
        connection: &'c mut MySqlConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            if !release_fence(connection).await? {
                return Ok(false);
            }
            let mut query = QueryBuilder::<MySql>::new(
                "SELECT COUNT(*) FROM escrow_marker WHERE state = 1 AND tx_id IN (",
            );
            let mut list = query.separated(", ");
            for id in ids {
                list.push_bind(id.as_str().as_bytes());
            }
            list.push_unseparated(")");
            let ours: i64 = query.build_query_scalar().fetch_one(connection).await?;
            Ok(usize::try_from(ours) == Ok(ids.len()))
        })
    }
}

async fn release_fence(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match sqlx::raw_sql(RELEASE_FENCE).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if number(&error) == Some(NO_SUCH_SAVEPOINT) => Ok(false),
        Err(error) => Err(error),
    }
}

impl sealed::Sealed for MySql {
    const MIGRATIONS: &'static [(&'static str, &'static str)] = &[(
        "marker meta inbox",
        include_str!("../../../migrations/mysql/0001_marker_meta_inbox.sql"),
    )];

    fn migrate<'c>(
        connection: &'c mut MySqlConnection,
        migrator: &'c Migrator,
        done: Option<i32>,
    ) -> BoxFuture<'c, Result<(), MigrateError>> {
        Box::pin(async move {
            // MariaDB does not heed the driver's own lock, which asks for a wait of -1 s.
            let alone: Option<i64> = sqlx::query_scalar(ALONE)
                .fetch_one(&mut *connection)
                .await?;
            if alone != Some(1) {
                let busy = "another migration of this database has been running for a minute";
                return Err(sqlx::Error::Protocol(busy.to_owned()).into());
            }
            if let Some(done) = done {
                migrator
                    .run_direct(Some(done.into()), &mut *connection, true)
                    .await?;
            }
            migrator.run_direct(None, &mut *connection, false).await?;
            sqlx::query(NO_LONGER_ALONE).execute(connection).await?;
            Ok(())
        })
    }

    fn identity(
        connection: &mut MySqlConnection,
    ) -> BoxFuture<'_, Result<Option<(String, i32)>, sqlx::Error>> {
        Box::pin(async move {
            let row = sqlx::query_as("SELECT domain, version FROM escrow_meta")
                .fetch_optional(connection)
                .await;
            match row {
                Err(error) if number(&error) == Some(NO_SUCH_TABLE) => Ok(None),
                row => row,
            }
        })
    }

    fn adopt<'c>(
        connection: &'c mut MySqlConnection,
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

    fn close_fence(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(release_fence(connection))
    }

    fn reason(error: sqlx::Error) -> Reason {
        reason(error)
    }

    fn ask(
        mut connection: PoolConnection<MySql>,
        pool: MySqlPool,
        query: CheckQuery,
    ) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let asked = if query.may_tombstone {
                bounded(&mut connection, &pool, &query).await
            } else {
                only_read(&mut connection, &query).await
            };
            asked.unwrap_or_else(Verdict::Unknown)
        })
    }
}

async fn bounded(
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
pub(super) async fn bound_waits(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(BOUNDS).execute(connection).await?;
    Ok(())
}

pub(super) async fn unbound_waits(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
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

async fn only_read(
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

fn number(error: &sqlx::Error) -> Option<u16> {
    let refusal = error.as_database_error()?;
    Some(refusal.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

fn reason(error: sqlx::Error) -> Reason {
    if let Some(reason) = decide::unreachable(&error) {
        return reason;
    }
    match number(&error) {
        Some(1205) => Reason::InFlight { blocked_by: None },
        Some(1213 | 1020) => Reason::Serialization,
        Some(1290 | 1792 | 1836) => Reason::ReadOnly,
        Some(1044 | 1142 | 1143 | 1227) => Reason::Forbidden(error.to_string()),
        Some(1969 | 3024) => Reason::Timeout,
        Some(NO_SUCH_TABLE | 1054) => Reason::NotMigrated(error.to_string()),
        Some(1053 | 1040 | 1158..=1161) => Reason::Unreachable(error.to_string()),
        _ => Reason::Refused(error.to_string()),
    }
}
