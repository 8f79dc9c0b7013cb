//! The SQL of MySQL and MariaDB, InnoDB tables.
//!
//! The fence is a savepoint set right after the marker: whatever ends the transaction behind our back (DDL, a
//! nested `START TRANSACTION`, a deadlock) takes it away, and releasing it then fails.

mod check;

use futures_core::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::{MySqlDatabaseError, MySqlTransactionManager};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, MySqlPool, QueryBuilder, Row, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::decide;
use super::marker::{CheckQuery, MarkerDb, MarkerError, TxId, literals, sealed};
use super::outcome::Cause;
use super::session::fence_then_commit;
use super::verdict::{Reason, Verdict};

pub(super) use check::{bound_waits, unbound_waits};

/// The name of a lock has 64 bytes at most.
const ALONE: &str = "SELECT GET_LOCK(CONCAT('escrow_migrate ', MD5(DATABASE())), 60)";
const NO_LONGER_ALONE: &str = "DO RELEASE_LOCK(CONCAT('escrow_migrate ', MD5(DATABASE())))";

const SET_FENCE: &str = "SAVEPOINT escrow_fence";
const RELEASE_FENCE: &str = "RELEASE SAVEPOINT escrow_fence";

const NO_SUCH_TABLE: u16 = 1146;
const NO_SUCH_SAVEPOINT: u16 = 1305;

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
            let ours = literals(ids, ", ")?;
            let script = format!(
                "{RELEASE_FENCE}; SELECT COUNT(*) FROM escrow_marker WHERE state = 1 AND tx_id IN ({ours})"
            );
            let results = sqlx::raw_sql(AssertSqlSafe(script)).fetch_one(connection);
            let ours: i64 = match results.await {
                Ok(row) => row.try_get(0)?,
                Err(error) if number(&error) == Some(NO_SUCH_SAVEPOINT) => return Ok(false),
                Err(error) => return Err(error),
            };
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

    fn begin_marked<'c>(
        connection: &'c mut MySqlConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let rows = literals(ids, "), (").map_err(MarkerError::Database)?;
            let script = format!(
                "{}; INSERT INTO escrow_marker (tx_id) VALUES ({rows}); {SET_FENCE}",
                Self::BEGIN
            );
            let script = AssertSqlSafe(script).into_sql_str();
            let begun = MySqlTransactionManager::begin(connection, Some(script));
            begun.await.map_err(MarkerError::of)
        })
    }

    fn begin_open(connection: &mut MySqlConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        let script = AssertSqlSafe(format!("{}; {SET_FENCE}", Self::BEGIN)).into_sql_str();
        Box::pin(MySqlTransactionManager::begin(connection, Some(script)))
    }

    fn commit_fenced<'c>(
        connection: &'c mut MySqlConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), Cause>> {
        Box::pin(fence_then_commit::<Self>(connection, ids))
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
                check::rule_out_in_bounds(&mut connection, &pool, &query).await
            } else {
                check::only_read(&mut connection, &query).await
            };
            asked.unwrap_or_else(Verdict::Unknown)
        })
    }
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
