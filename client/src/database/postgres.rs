//! The SQL of PostgreSQL, 13 and newer.
//!
//! The fence is a setting that lives exactly as long as the transaction, or the savepoint, in which it is made: it holds
//! the ids of the markers that went in. It costs no subtransaction, and looking at it no access to a table.

mod check;

use std::future::poll_fn;

use futures_core::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx::{AssertSqlSafe, Either, PgConnection, PgPool, Postgres, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::decide;
use super::marker::{CheckQuery, MarkerDb, MarkerError, TxId, sealed};
use super::outcome::Cause;
use super::session::{FenceError, whole};
use super::steps::tell;
use super::verdict::{Reason, Verdict};

/// Notes each marker that went in, after what [`NOTED`] held before.
const NOTE: &str = "RETURNING set_config('escrow.fence', concat(current_setting('escrow.fence', true), ' ', tx_id), true)";

/// The markers of this transaction, each after a space; before them [`OPEN`], if they came late.
const NOTED: &str = "COALESCE(current_setting('escrow.fence', true), '')";

const OPEN: &str = "open";

/// [`NOTE`] follows.
const PREPARE: &str = "PREPARE escrow_mark (text) AS INSERT INTO escrow_marker (tx_id) VALUES ($1)";

impl MarkerDb for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn mark<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let script =
                format!("INSERT INTO escrow_marker (tx_id) SELECT unnest($1::text[]) {NOTE}");
            let inserted = sqlx::query(AssertSqlSafe(script))
                .bind(texts(ids))
                .execute(connection)
                .await
                .map_err(MarkerError::of)?;
            MarkerError::unless(inserted.rows_affected(), ids.len())
        })
    }

    fn open_fence(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::query("SELECT set_config('escrow.fence', $1, true)")
                .bind(OPEN)
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
            let script = format!(
                "INSERT INTO escrow_marker (tx_id) SELECT unnest($1::text[]) WHERE {NOTED} = '{OPEN}' {NOTE}"
            );
            let inserted = sqlx::query(AssertSqlSafe(script))
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
            let script = format!("SELECT {NOTED} IN ($1, '{OPEN}' || $1)");
            let ours = sqlx::query_scalar(AssertSqlSafe(script))
                .bind(noted(ids))
                .fetch_one(connection)
                .await;
            match ours {
                Err(error) if code(&error).as_deref() == Some(IN_FAILED_TRANSACTION) => Ok(false),
                ours => ours,
            }
        })
    }
}

/// What [`NOTE`] makes of `ids`.
fn noted(ids: &[TxId]) -> String {
    ids.iter().map(|id| format!(" {id}")).collect()
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

    fn begin_marked<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let script = begin_and_mark(ids).map_err(MarkerError::Database)?;
            let begin = || Some(AssertSqlSafe(script.clone()).into_sql_str());
            let mut begun = PgTransactionManager::begin(&mut *connection, begin()).await;
            if let Err(error) = &begun
                && code(error).as_deref() == Some(NO_SUCH_STATEMENT)
            {
                // The first time on this connection, or behind a pooler that has given us another session.
                let prepare = format!("ROLLBACK; {PREPARE} {NOTE}");
                let prepared = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection);
                prepared.await.map_err(MarkerError::Database)?;
                begun = PgTransactionManager::begin(connection, begin()).await;
            }
            begun.map_err(MarkerError::of)
        })
    }

    fn commit_fenced<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), Cause>> {
        Box::pin(async move {
            whole::<Self>(connection)?;
            let script = fence_and_commit(ids).map_err(FenceError::Database)?;
            tell("committing", ids);
            let mut results = sqlx::raw_sql(AssertSqlSafe(script)).fetch_many(&mut *connection);
            let mut fenced = false;
            while let Some(result) = poll_fn(|context| results.as_mut().poll_next(context)).await {
                match result {
                    // A statement is done, and the fence is the first.
                    Ok(Either::Left(_)) => fenced = true,
                    Ok(Either::Right(_)) => {}
                    Err(error) => return Err(cause(error, fenced)),
                }
            }
            drop(results);
            // Ends the empty transaction that the chain has begun. It goes out with what the pool sends when it takes
            // the connection back.
            PgTransactionManager::start_rollback(connection);
            Ok(())
        })
    }

    fn close_fence(connection: &mut PgConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            let script = format!("SELECT {NOTED} = '{OPEN}'");
            let open = sqlx::query_scalar(AssertSqlSafe(script));
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
                check::rule_out_in_bounds(&mut connection, &pool, &query).await
            } else {
                check::only_read(&mut connection, &query).await
            };
            asked.unwrap_or_else(Verdict::Unknown)
        })
    }
}

/// In one string, and with a statement that the session has planned before: planning costs more than inserting.
fn begin_and_mark(ids: &[TxId]) -> Result<String, sqlx::Error> {
    let mut script = Postgres::BEGIN.to_owned();
    for id in ids {
        script.push_str("; EXECUTE escrow_mark('");
        script.push_str(id.literally()?);
        script.push_str("')");
    }
    Ok(script)
}

/// In one string: when the fence fails, by a division by zero, the server does not look at what follows. COMMIT begins
/// another transaction, since sqlx would go on to count one, and end that.
fn fence_and_commit(ids: &[TxId]) -> Result<String, sqlx::Error> {
    let noted = ids.iter().map(|id| Ok(format!(" {}", id.literally()?)));
    let noted = noted.collect::<Result<String, sqlx::Error>>()?;
    Ok(format!(
        "SELECT 1 / ({NOTED} IN ('{noted}', '{OPEN}{noted}'))::int; COMMIT AND CHAIN"
    ))
}

/// What an error of [`fence_and_commit`] says.
fn cause(error: sqlx::Error, fenced: bool) -> Cause {
    match code(&error).as_deref() {
        Some(DIVISION_BY_ZERO | IN_FAILED_TRANSACTION) if !fenced => FenceError::Gone.into(),
        // The server's own words, so it has not come to COMMIT.
        Some(_) if !fenced => FenceError::Database(error).into(),
        _ => Cause::Commit(error),
    }
}

const DIVISION_BY_ZERO: &str = "22012";
const IN_FAILED_TRANSACTION: &str = "25P02";
const NO_SUCH_STATEMENT: &str = "26000";
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
