//! How a bound transaction can end, and what each end means for the database and for the message.
//!
//! Every error says in which state both sides are and what happens next; none leaves a message that is neither decided
//! nor known to somebody who will decide it.

use super::delivering::Delivering;
use super::marker::{MarkerError, TxId};
use super::session::FenceError;
use super::verdict::Reason;
use crate::error::Error;

/// The database has committed, and so the message will be delivered.
#[derive(Debug)]
pub struct Committed {
    /// The transaction ids of the messages, in the order in which they were given. Consumers see them as message ids.
    pub tx_ids: Vec<TxId>,
    /// The messages on their way to the broker, which goes on whether this is awaited or dropped.
    pub delivery: Delivering,
}

/// Why no transaction began: nothing was written to the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The broker did not take the message. If it has it all the same, a check will find no transaction and roll it
    /// back. May be tried again: it will be another message.
    #[error("no half message, so no transaction (nothing was written): {0}")]
    Half(#[source] Error),
    /// The pool gave no connection in time, or the database did not begin. The message is being rolled back.
    #[error("no database transaction (nothing was written, the message is rolled back): {0}")]
    Database(#[source] sqlx::Error),
    /// The marker could not be inserted; [`MarkerError::TooLate`] if the broker asked before we got there, which a
    /// longer immunity avoids. The message is being rolled back.
    #[error("no marker, so no transaction (nothing was written, the message is rolled back): {0}")]
    Marker(#[source] MarkerError),
    /// There has to be a message, and not too many of them.
    #[error("a transaction is bound to 1 to {max} messages, not {given} (nothing was sent)", max = super::producer::MESSAGES_MAX)]
    Messages {
        /// How many were given.
        given: usize,
    },
    /// This producer was closed.
    #[error("the producer is closed (nothing was sent)")]
    Closed,
}

/// Why a late half could not be prepared: the transaction is rolled back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The marker could not be inserted; [`MarkerError::Split`] if the transaction had ended before: what ran after
    /// that may have been committed by itself. No message was sent.
    #[error("no marker (rolled back, nothing was sent): {0}")]
    Marker(#[source] MarkerError),
    /// The broker did not take the message. If it has it all the same, a check will find no transaction and roll it
    /// back.
    #[error("no half message (the transaction is rolled back): {0}")]
    Half(#[source] Error),
    /// There has to be a message, and not too many of them.
    #[error("a transaction is bound to 1 to {max} messages, not {given} (rolled back, nothing was sent)", max = super::producer::MESSAGES_MAX)]
    Messages {
        /// How many were given.
        given: usize,
    },
}

/// Why a commit did not simply succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The transaction is rolled back for good and the message will not be delivered. May be tried again: it will be
    /// another message.
    #[error("rolled back, and the message with it: {0}")]
    RolledBack(#[source] Cause),
    /// The marker was committed before the end, and the message is being delivered; but what the transaction wrote
    /// after that was rolled back or committed by itself. Statements that commit by themselves (DDL on MySQL, a COMMIT
    /// of one's own) have no place in a bound transaction.
    #[error(
        "the transaction was split, and the message is delivered all the same ({}): {cause}",
        Ids(tx_ids)
    )]
    Split {
        /// The messages.
        tx_ids: Vec<TxId>,
        /// What was found.
        cause: Cause,
    },
    /// Nobody can tell yet: the database did not answer. As soon as it does, the broker's check gives the message the
    /// fate of the transaction. Do not try again before the outcome is known.
    #[error(
        "in doubt until the database answers a check ({}): {cause}; then: {reason}",
        Ids(tx_ids)
    )]
    InDoubt {
        /// The messages.
        tx_ids: Vec<TxId>,
        /// What went wrong.
        cause: Cause,
        /// Why the database could not say what became of it.
        reason: Reason,
    },
}

/// What kept a transaction from being committed, or from knowing that it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// COMMIT was not sent.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// COMMIT was sent, and answered with an error or not at all.
    #[error("COMMIT: {0}")]
    Commit(#[source] sqlx::Error),
}

/// How [`run`](super::BoundProducer::run) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// The work did not begin.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The work failed: the transaction is rolled back, and the message will not be delivered.
    #[error("{0}")]
    App(E),
    /// The work is done, but was not simply committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl<E> RunError<E> {
    /// Whether nobody can tell yet what became of the transaction.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        matches!(self, RunError::Commit(CommitError::InDoubt { .. }))
    }
}

/// Several ids, for people.
pub(super) struct Ids<'a>(pub(super) &'a [TxId]);

impl std::fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, id) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(id.as_str())?;
        }
        Ok(())
    }
}
