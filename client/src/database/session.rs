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
    /// a COMMIT, a ROLLBACK or DDL of the caller ended it. What ran after that may have been committed by itself.
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
    /// Takes a connection and begins.
    pub(super) async fn begin(pool: &Pool<DB>, within: Duration) -> Result<Self, sqlx::Error> {
        let connection = match timeout(within, pool.acquire()).await {
            Ok(acquired) => acquired?,
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        };
        let mut session = Self {
            connection,
            ended: false,
        };
        let begin =
            DB::TransactionManager::begin(&mut session.connection, Some(DB::BEGIN.into_sql_str()));
        bounded(begin).await?;
        Ok(session)
    }

    /// Puts the markers in, first of all.
    pub(super) async fn mark(&mut self, ids: &[TxId]) -> Result<(), MarkerError> {
        let mark = DB::mark(&mut self.connection, ids);
        let marked = timeout(STEP_WITHIN, mark).await;
        marked.unwrap_or_else(|_| Err(MarkerError::Database(silent())))
    }

    /// Remembers which transaction this is, for markers that come later.
    pub(super) async fn open_fence(&mut self) -> Result<(), sqlx::Error> {
        bounded(DB::open_fence(&mut self.connection)).await
    }

    /// Puts the markers in, last of all but the fence.
    pub(super) async fn mark_late(&mut self, ids: &[TxId]) -> Result<(), MarkerError> {
        let mark = DB::mark_late(&mut self.connection, ids);
        let marked = timeout(STEP_WITHIN, mark).await;
        marked.unwrap_or_else(|_| Err(MarkerError::Database(silent())))
    }

    /// Makes sure that this is still the transaction that holds the markers. Nothing but COMMIT may follow.
    pub(super) async fn fence(&mut self, ids: &[TxId]) -> Result<(), FenceError> {
        let fence = bounded(DB::fence(&mut self.connection, ids)).await;
        self.same(fence)
    }

    /// Makes sure that this is still the transaction in which the fence was opened. Nothing but COMMIT may follow.
    pub(super) async fn close_fence(&mut self) -> Result<(), FenceError> {
        let fence = bounded(DB::close_fence(&mut self.connection)).await;
        self.same(fence)
    }

    fn same(&self, fence: Result<bool, sqlx::Error>) -> Result<(), FenceError> {
        match fence {
            Ok(true) => {}
            Ok(false) => return Err(FenceError::Gone),
            Err(error) => return Err(FenceError::Database(error)),
        }
        // Only now: a nested transaction that was dropped may have been rolled back just before the fence.
        match depth(&self.connection) {
            0 => Err(FenceError::Gone),
            1 => Ok(()),
            // COMMIT would only release a savepoint, and report success.
            _ => Err(FenceError::Nested),
        }
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
            while depth(connection) > 0 {
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
        }
    }
}

/// How many transactions are open within each other, as sqlx counts them.
fn depth<DB: Database>(connection: &PoolConnection<DB>) -> usize {
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
