//! One database transaction on one connection of the application's pool.
//!
//! A connection goes back to the pool only after its transaction has ended with an answer from the server. In every
//! other case it is closed, so that neither a half-sent statement nor an open transaction can reach the next user of the
//! pool (sqlx itself returns it, with the rollback queued).

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;
use tokio::time::timeout;

use super::marker::{MarkerDb, MarkerError, TxId};
use super::outcome::Cause;

/// How long one step of the protocol may take. A server that is silent for longer is given up: what became of the
/// transaction is then asked on another connection.
const STEP_WITHIN: Duration = Duration::from_secs(30);

/// How long a rollback may take; closing the connection does as well.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(5);

/// What stands in the way of a COMMIT.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The transaction in which the marker was inserted is gone: a failed statement or a deadlock rolled it back, or
    /// a COMMIT, a ROLLBACK or DDL of the caller ended it. What ran after that may have been committed by itself. Also if a
    /// trigger or a rule kept the marker out of the table without an error.
    #[error(
        "the transaction with the marker had ended already, by a failed statement, a deadlock, DDL or a COMMIT of its own"
    )]
    Gone,
    /// A nested transaction of the caller was neither committed nor rolled back.
    #[error("a nested transaction is still open")]
    Nested,
    /// The database could not say.
    #[error("the database did not confirm that the transaction is whole: {0}")]
    Database(#[source] sqlx::Error),
}

/// An open transaction, and the connection that it has to itself.
pub(super) struct Session<DB: MarkerDb> {
    connection: PoolConnection<DB>,
    ended: bool,
}

impl<DB: MarkerDb> Session<DB> {
    /// Takes a connection; nothing is begun.
    pub(super) async fn acquire(pool: &Pool<DB>, within: Duration) -> Result<Self, sqlx::Error> {
        let connection = match timeout(within, pool.acquire()).await {
            Ok(acquired) => acquired?,
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        Ok(Self {
            connection,
            ended: false,
        })
    }

    /// The same connection, its transaction over, for the next one.
    pub(super) fn again(mut self) -> Self {
        self.ended = false;
        self
    }

    /// Begins, and puts the markers in, first of all. After an error there is nothing to roll back by: the session is
    /// dropped, and its connection closed.
    pub(super) async fn begin_marked(&mut self, ids: &[TxId]) -> Result<(), MarkerError> {
        let begin = DB::begin_marked(&mut self.connection, ids);
        let begun = timeout(STEP_WITHIN, begin).await;
        begun.unwrap_or_else(|_| Err(MarkerError::Database(silent())))
    }

    /// Begins, and remembers which transaction this is: for markers that come later. After an error the session is
    /// dropped, as after one of [`Session::begin_marked`].
    pub(super) async fn begin_open(&mut self) -> Result<(), sqlx::Error> {
        bounded(DB::begin_open(&mut self.connection)).await
    }

    /// Begins.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let begin = Some(DB::BEGIN.into_sql_str());
        bounded(DB::TransactionManager::begin(&mut self.connection, begin)).await
    }

    /// Remembers, right after the beginning, which transaction this is: for markers that come later.
    pub(super) async fn open_fence(&mut self) -> Result<(), sqlx::Error> {
        bounded(DB::open_fence(&mut self.connection)).await
    }

    /// Puts the markers in, last of all but the fence.
    pub(super) async fn mark_late(&mut self, ids: &[TxId]) -> Result<(), MarkerError> {
        let mark = DB::mark_late(&mut self.connection, ids);
        let marked = timeout(STEP_WITHIN, mark).await;
        marked.unwrap_or_else(|_| Err(MarkerError::Database(silent())))
    }

    /// Makes sure that this is still the transaction that holds the markers, and commits it. An error of COMMIT says
    /// nothing about the outcome.
    pub(super) async fn commit_fenced(&mut self, ids: &[TxId]) -> Result<(), Cause> {
        let commit = DB::commit_fenced(&mut self.connection, ids);
        let committed = timeout(STEP_WITHIN, commit).await;
        // COMMIT may have been sent.
        let committed = committed.unwrap_or_else(|_| Err(Cause::Commit(silent())));
        match &committed {
            Ok(()) => self.ended = true,
            // Where the fence cannot be asked about now, it may not be the next time either.
            Err(Cause::Fence(FenceError::Database(_))) => self.connection.close_on_drop(),
            Err(_) => {}
        }
        committed
    }

    /// Makes sure that this is still the transaction in which the fence was opened. Nothing but COMMIT may follow.
    pub(super) async fn close_fence(&mut self) -> Result<(), FenceError> {
        let open = bounded(DB::close_fence(&mut self.connection)).await;
        if !open.map_err(FenceError::Database)? {
            return Err(FenceError::Gone);
        }
        whole::<DB>(&self.connection)
    }

    /// Commits. An error says nothing about the outcome.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        bounded(DB::TransactionManager::commit(&mut self.connection)).await?;
        self.ended = true;
        Ok(())
    }

    /// Rolls back what is open, if anything is.
    pub(super) async fn rollback(mut self) {
        let connection = &mut self.connection;
        let rollback = async {
            while depth::<DB>(connection) > 0 {
                DB::TransactionManager::rollback(connection).await?;
            }
            Ok::<(), sqlx::Error>(())
        };
        match timeout(ROLLBACK_WITHIN, rollback).await {
            Ok(Ok(())) => self.ended = true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "rollback failed, the connection is closed instead");
            }
            Err(_) => {
                tracing::debug!("no answer to the rollback, the connection is closed instead");
            }
        }
    }
}

impl<DB: MarkerDb> Deref for Session<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.connection
    }
}

impl<DB: MarkerDb> DerefMut for Session<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }
}

impl<DB: MarkerDb> Drop for Session<DB> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        } else if depth::<DB>(&self.connection) > 0 {
            // Ends the empty transaction that COMMIT has left. It goes out with what the pool sends when it takes the
            // connection back.
            DB::TransactionManager::start_rollback(&mut self.connection);
        }
    }
}

/// The fence, then COMMIT: for engines that need two round trips.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) async fn fence_then_commit<DB: MarkerDb>(
    connection: &mut DB::Connection,
    ids: &[TxId],
) -> Result<(), Cause> {
    let ours = DB::fence(connection, ids).await;
    if !ours.map_err(FenceError::Database)? {
        return Err(FenceError::Gone.into());
    }
    // Only now: a nested transaction that was dropped may have been rolled back just before the fence.
    whole::<DB>(connection)?;
    super::steps::tell("committing", ids);
    let commit = DB::TransactionManager::commit(connection);
    commit.await.map_err(Cause::Commit)
}

/// Whether what sqlx knows to be open is one transaction, without others within it.
pub(super) fn whole<DB: Database>(connection: &DB::Connection) -> Result<(), FenceError> {
    match depth::<DB>(connection) {
        0 => Err(FenceError::Gone),
        1 => Ok(()),
        // COMMIT would only release a savepoint, and report success.
        _ => Err(FenceError::Nested),
    }
}

/// How many transactions are open within each other, as sqlx counts them.
fn depth<DB: Database>(connection: &DB::Connection) -> usize {
    DB::TransactionManager::get_transaction_depth(connection)
}

async fn bounded<T>(step: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(STEP_WITHIN, step)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    let why = format!("no answer within {STEP_WITHIN:?}");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}
