//! The SQL of PostgreSQL, 13 and newer.
//!
//! The fence looks for the markers as rows that this very transaction has inserted. It costs no subtransaction, and a row
//! that a trigger has kept out does not pass. Markers that come late are preceded by a setting that lives exactly as long as
//! the transaction.

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

/// The setting; [`OPEN`] within a transaction whose markers come late.
const NOTED: &str = "COALESCE(current_setting('escrow.fence', true), '')";

const OPEN: &str = "open";

/// A marker that this transaction has inserted, outside any savepoint.
const OURS: &str = "state = 1 AND xmin = pg_current_xact_id_if_assigned()::xid";

/// Makes known to the session what every transaction says to it: planning that anew would cost more than doing it.
fn statements() -> [String; 3] {
    [
        // Divides by zero unless the marker is there.
        format!(
            "PREPARE escrow_fence (text) AS SELECT 1 / EXISTS (SELECT FROM escrow_marker WHERE tx_id = $1 AND {OURS})::int"
        ),
        format!("PREPARE escrow_open AS SELECT set_config('escrow.fence', '{OPEN}', true)"),
        "PREPARE escrow_mark (text) AS INSERT INTO escrow_marker (tx_id) VALUES ($1)".to_owned(),
    ]
}

impl MarkerDb for Postgres {
    const BEGIN: &'static str = "BEGIN";

    fn mark<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let inserted =
                sqlx::query("INSERT INTO escrow_marker (tx_id) SELECT unnest($1::text[])")
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
                "INSERT INTO escrow_marker (tx_id) SELECT unnest($1::text[]) WHERE {NOTED} = '{OPEN}'"
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
            let script = format!(
                "SELECT count(*) = $2 FROM escrow_marker WHERE tx_id = ANY ($1) AND {OURS}"
            );
            let ours = sqlx::query_scalar(AssertSqlSafe(script))
                .bind(texts(ids))
                .bind(i64::try_from(ids.len()).unwrap_or(i64::MAX))
                .fetch_one(connection)
                .await;
            match ours {
                Err(error) if code(&error).as_deref() == Some(IN_FAILED_TRANSACTION) => Ok(false),
                ours => ours,
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

    fn begin_marked<'c>(
        connection: &'c mut PgConnection,
        ids: &'c [TxId],
    ) -> BoxFuture<'c, Result<(), MarkerError>> {
        Box::pin(async move {
            let mark = execute("escrow_mark", ids).map_err(MarkerError::Database)?;
            let script = format!("{}; {mark}", Self::BEGIN);
            begin(connection, script).await.map_err(MarkerError::of)
        })
    }

    fn begin_open(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(begin(
            connection,
            format!("{}; EXECUTE escrow_open", Self::BEGIN),
        ))
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
            // A statement a marker, then COMMIT.
            let mut fences = ids.len();
            while let Some(result) = poll_fn(|context| results.as_mut().poll_next(context)).await {
                match result {
                    Ok(Either::Left(_)) => fences = fences.saturating_sub(1),
                    Ok(Either::Right(_)) => {}
                    Err(error) => return Err(cause(error, fences == 0)),
                }
            }
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

/// Begins by `script`, and tells the session the statements in it if it does not know them.
async fn begin(connection: &mut PgConnection, script: String) -> Result<(), sqlx::Error> {
    if PgTransactionManager::get_transaction_depth(connection) == 1 {
        // In the place of the empty transaction that a commit has left; to sqlx it is the same.
        let script = format!("ROLLBACK; {script}");
        sqlx::raw_sql(AssertSqlSafe(script))
            .execute(connection)
            .await?;
        return Ok(());
    }
    let begun = begin_by(connection, script.clone()).await;
    if !is(&begun, NO_SUCH_STATEMENT) {
        return begun;
    }
    // The first time on this session. All in one string: behind a pooler the next may go to another session.
    let told = format!("ROLLBACK; {}; {script}", statements().join("; "));
    let begun = begin_by(connection, told).await;
    if !is(&begun, STATEMENT_KNOWN) {
        return begun;
    }
    // Somebody has made it forget one of them, not all.
    for prepare in statements() {
        let prepared = sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *connection)
            .await;
        if !is(&prepared, STATEMENT_KNOWN) {
            prepared?;
        }
    }
    begin_by(connection, script).await
}

async fn begin_by(connection: &mut PgConnection, script: String) -> Result<(), sqlx::Error> {
    let script = AssertSqlSafe(script).into_sql_str();
    PgTransactionManager::begin(connection, Some(script)).await
}

/// In one string: when a fence fails, by a division by zero, the server does not look at what follows. COMMIT begins
/// another transaction, since sqlx goes on to count one; the session ends it, or begins the next in its place.
fn fence_and_commit(ids: &[TxId]) -> Result<String, sqlx::Error> {
    Ok(execute("escrow_fence", ids)? + "COMMIT AND CHAIN")
}

/// The statement for each of `ids`.
fn execute(statement: &str, ids: &[TxId]) -> Result<String, sqlx::Error> {
    let mut script = String::new();
    for id in ids {
        let id = id.literally()?;
        script += &format!("EXECUTE {statement}('{id}'); ");
    }
    Ok(script)
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
const STATEMENT_KNOWN: &str = "42P05";
const NO_SUCH_TABLE: &str = "42P01";

fn is<T>(result: &Result<T, sqlx::Error>, wanted: &str) -> bool {
    let error = result.as_ref().err();
    error.and_then(code).as_deref() == Some(wanted)
}

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
