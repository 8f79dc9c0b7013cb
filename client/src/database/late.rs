//! Late halfs: the work first, the messages just before COMMIT.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::Database;

use super::attempt::Attempt;
use super::guard::BoundTx;
use super::marker::MarkerDb;
use super::outcome::PrepareError;
use super::producer::{MESSAGES_MAX, Shared};
use super::session::Session;
use super::steps::tell;
use crate::message::Message;

/// A database transaction whose messages are not known yet, for bodies that carry what the database generates.
///
/// It is the connection, like [`BoundTx`], but cannot be committed: [`prepare`](LateTx::prepare) turns it into one that
/// can. Dropped, it rolls back, and no broker ever hears of it.
///
/// Against an early half it holds its row locks for one round trip to the broker longer, and in exchange the half is
/// undecided for milliseconds only, however long the work takes.
#[must_use = "dropped, the transaction is rolled back"]
pub struct LateTx<DB: MarkerDb> {
    shared: Arc<Shared<DB>>,
    /// None only while being dropped.
    session: Option<Session<DB>>,
}

impl<DB: MarkerDb> LateTx<DB> {
    pub(super) fn new(shared: Arc<Shared<DB>>, session: Session<DB>) -> Self {
        let session = Some(session);
        Self { shared, session }
    }

    /// Puts the markers in, then sends the messages as halfs. What follows should be
    /// [`commit`](BoundTx::commit).
    ///
    /// # Errors
    /// The transaction is rolled back, see [`PrepareError`].
    pub async fn prepare(
        mut self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<BoundTx<DB>, PrepareError> {
        let messages: Vec<Message> = messages.into_iter().collect();
        let given = messages.len();
        let Some(mut session) = self.session.take() else {
            // Only `drop` leaves it empty.
            return std::future::pending().await;
        };
        let shared = Arc::clone(&self.shared);
        let step = async move {
            let mut attempt = Attempt::draw(shared, given);
            match fill(&mut session, &mut attempt, messages).await {
                Ok(()) => Ok(BoundTx::new(session, attempt)),
                Err(error) => {
                    // First the database, so that it can say so when asked about the halfs that did go out.
                    session.rollback().await;
                    Err(error)
                }
            }
        };
        self.shared.background.step(step).await
    }

    /// Rolls back; returns when the database has.
    pub async fn rollback(mut self) {
        if let Some(session) = self.session.take() {
            self.shared.background.step(session.rollback()).await;
        }
    }
}

async fn fill<DB: MarkerDb>(
    session: &mut Session<DB>,
    attempt: &mut Attempt<DB>,
    messages: Vec<Message>,
) -> Result<(), PrepareError> {
    let given = messages.len();
    if !(1..=MESSAGES_MAX).contains(&given) {
        return Err(PrepareError::Messages { given });
    }
    attempt.will_mark();
    let marked = session.mark_late(&attempt.ids).await;
    marked.map_err(PrepareError::Marker)?;
    tell("marked", &attempt.ids);
    attempt.send(messages).await.map_err(PrepareError::Half)
}

impl<DB: MarkerDb> Deref for LateTx<DB> {
    type Target = <DB as Database>::Connection;

    fn deref(&self) -> &Self::Target {
        match &self.session {
            Some(session) => session,
            None => unreachable!("an empty guard is never handed out"),
        }
    }
}

impl<DB: MarkerDb> DerefMut for LateTx<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.session {
            Some(session) => session,
            None => unreachable!("an empty guard is never handed out"),
        }
    }
}

impl<DB: MarkerDb> Drop for LateTx<DB> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.shared.background.spawn(session.rollback());
        }
    }
}
