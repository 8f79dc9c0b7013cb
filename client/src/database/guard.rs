//! The guard: an open transaction that is bound to halfs.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::Database;

use super::attempt::Attempt;
use super::marker::{MarkerDb, TxId};
use super::outcome::{Cause, CommitError, Committed};
use super::session::Session;
use super::steps::tell;
use super::verdict::Verdict;

/// A database transaction whose messages stand or fall with it.
///
/// It is the connection for everything that sqlx can do with one, except ending the transaction: that goes through
/// [`commit`](BoundTx::commit) and [`rollback`](BoundTx::rollback). Dropped, it rolls back. Either way the messages get
/// the fate that the *database* reports, never the one that a program believes in.
///
/// The marker is in already, so a statement that fails and is ignored, DDL that commits by itself or a transaction that
/// the server rolled back are found out before COMMIT.
#[must_use = "dropped, the transaction is rolled back"]
pub struct BoundTx<DB: MarkerDb> {
    /// None only while being dropped.
    open: Option<Open<DB>>,
}

struct Open<DB: MarkerDb> {
    session: Session<DB>,
    attempt: Attempt<DB>,
}

impl<DB: MarkerDb> BoundTx<DB> {
    pub(super) fn new(session: Session<DB>, attempt: Attempt<DB>) -> Self {
        let open = Some(Open { session, attempt });
        Self { open }
    }

    /// The transaction ids of the messages, in the order in which they were given: their message ids for consumers.
    #[must_use]
    pub fn tx_ids(&self) -> &[TxId] {
        self.open.as_ref().map_or(&[], |open| &open.attempt.ids)
    }

    /// Commits, and lets the messages out.
    ///
    /// Runs to its end also when the future is dropped. Returns when the database has committed, after one round trip to it
    /// (two on MySQL and SQLite); the broker is told in the background, see [`Committed::delivery`].
    ///
    /// # Errors
    /// See [`CommitError`]: the transaction did not simply commit. What became of it was asked of the database on
    /// another connection, not concluded from an error.
    pub async fn commit(mut self) -> Result<Committed, CommitError> {
        match self.open.take() {
            Some(open) => {
                let shared = Arc::clone(&open.attempt.shared);
                shared.background.step(open.commit()).await
            }
            // Only `drop` leaves a guard empty.
            None => std::future::pending().await,
        }
    }

    /// Rolls back; returns when the database has. The messages are taken back in the background.
    pub async fn rollback(mut self) {
        if let Some(Open { session, attempt }) = self.open.take() {
            let shared = Arc::clone(&attempt.shared);
            // Dropping the attempt, in here also if our future is dropped, asks the database and tells the broker.
            let rolled_back = async move {
                session.rollback().await;
                drop(attempt);
            };
            shared.background.step(rolled_back).await;
        }
    }
}

impl<DB: MarkerDb> Open<DB> {
    async fn commit(self) -> Result<Committed, CommitError> {
        let Self {
            mut session,
            attempt,
        } = self;
        tell("work done", &attempt.ids);
        let cause = match session.commit_fenced(&attempt.ids).await {
            Ok(()) => {
                tell("committed", &attempt.ids);
                attempt.shared.lingering.keep(session);
                return Ok(attempt.committed());
            }
            Err(cause) => cause,
        };
        session.rollback().await;
        match attempt.decide().await {
            Verdict::RolledBack => {
                attempt.rolled_back();
                Err(CommitError::RolledBack(cause))
            }
            Verdict::Committed => {
                let committed = attempt.committed();
                match cause {
                    // COMMIT did what it was sent for, only its reply got lost.
                    Cause::Commit(_) => Ok(committed),
                    Cause::Fence(_) => Err(CommitError::Split {
                        tx_ids: committed.tx_ids,
                        cause,
                    }),
                }
            }
            Verdict::Unknown(reason) => Err(CommitError::InDoubt {
                tx_ids: attempt.in_doubt(),
                cause,
                reason,
            }),
        }
    }
}

impl<DB: MarkerDb> Deref for BoundTx<DB> {
    type Target = <DB as Database>::Connection;

    fn deref(&self) -> &Self::Target {
        match &self.open {
            Some(open) => &open.session,
            None => unreachable!("an empty guard is never handed out"),
        }
    }
}

impl<DB: MarkerDb> DerefMut for BoundTx<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.open {
            Some(open) => &mut open.session,
            None => unreachable!("an empty guard is never handed out"),
        }
    }
}

impl<DB: MarkerDb> Drop for BoundTx<DB> {
    fn drop(&mut self) {
        if let Some(Open { session, attempt }) = self.open.take() {
            let shared = Arc::clone(&attempt.shared);
            shared.background.spawn(async move {
                session.rollback().await;
                drop(attempt);
            });
        }
    }
}
