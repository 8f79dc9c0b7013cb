//! Connections between two transactions of one producer.
//!
//! A pool tests a connection when it takes it back and again when it gives it out: two round trips, more than a short
//! transaction has itself. Where the application allows it, a connection therefore stays for a while where the next
//! transaction is likely to begin.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Pool;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::marker::MarkerDb;
use super::session::Session;

/// The connections of one producer that wait for their next transaction.
pub(super) struct Lingering<DB: MarkerDb> {
    within: Duration,
    pool: Pool<DB>,
    runtime: Handle,
    waiting: Arc<Mutex<Waiting<DB>>>,
}

struct Waiting<DB: MarkerDb> {
    /// Each with when it goes back to the pool, the earliest first.
    sessions: Vec<(Instant, Session<DB>)>,
    /// A task gives them back in time.
    watched: bool,
}

impl<DB: MarkerDb> Lingering<DB> {
    /// Connections of `pool` will stay for `within`; not at all if that is zero.
    pub(super) fn new(pool: &Pool<DB>, within: Duration) -> Self {
        Self {
            within,
            pool: pool.clone(),
            runtime: Handle::current(),
            waiting: Arc::new(Mutex::new(Waiting {
                sessions: Vec::new(),
                watched: false,
            })),
        }
    }

    /// A connection that may begin a transaction at once; nobody has looked whether it still lives.
    pub(super) fn take(&self) -> Option<Session<DB>> {
        let mut waiting = self.waiting.lock();
        let (_, session) = waiting.sessions.pop()?;
        Some(session.again())
    }

    /// Has the connection of `session`, whose transaction has ended, stay, or gives it back to a pool that has no other.
    pub(super) fn keep(&self, session: Session<DB>) {
        let spare = self.pool.num_idle() > 0
            || self.pool.size() < self.pool.options().get_max_connections();
        if self.within.is_zero() || !spare || self.pool.is_closed() {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting
            .sessions
            .push((Instant::now() + self.within, session));
        if !waiting.watched {
            waiting.watched = true;
            let pool = self.pool.clone();
            self.runtime
                .spawn(give_back(pool, Arc::clone(&self.waiting)));
        }
    }

    /// Gives all back.
    pub(super) fn clear(&self) {
        // Where connections go back to a pool they want a runtime.
        let _context = self.runtime.enter();
        let sessions = std::mem::take(&mut self.waiting.lock().sessions);
        drop(sessions);
    }
}

impl<DB: MarkerDb> Drop for Lingering<DB> {
    fn drop(&mut self) {
        self.clear();
    }
}

async fn give_back<DB: MarkerDb>(pool: Pool<DB>, waiting: Arc<Mutex<Waiting<DB>>>) {
    let mut closes = pool.close_event();
    while let Some(next) = give_back_due(&waiting, pool.is_closed()) {
        // A pool that closes waits for all.
        let _ = timeout_at(next, &mut closes).await;
    }
}

/// Says when the next goes back.
fn give_back_due<DB: MarkerDb>(waiting: &Mutex<Waiting<DB>>, all: bool) -> Option<Instant> {
    let now = Instant::now();
    let mut waiting = waiting.lock();
    let due = waiting
        .sessions
        .partition_point(|(until, _)| all || *until <= now);
    let due: Vec<_> = waiting.sessions.drain(..due).collect();
    let next = waiting.sessions.first().map(|(until, _)| *until);
    waiting.watched = next.is_some();
    drop(waiting);
    drop(due);
    next
}
