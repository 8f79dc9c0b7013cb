//! When messages to the broker leave: together, where that makes nobody wait who would not have to anyway.
//!
//! What arrives together shares one sync of the broker, and one wake-up of everybody on the way. So the ends of committed
//! transactions, for which nobody waits, leave every few milliseconds, as a relay looks at its outbox; and so do halfs
//! when many transactions are under way, as PostgreSQL's `commit_delay` and `commit_siblings` have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between two departures of ENDs.
const ENDS_EVERY: Duration = Duration::from_millis(5);

/// Between two departures of halfs.
const HALFS_EVERY: Duration = Duration::from_millis(1);

/// So many transactions have to be under way for a half to wait; with fewer it leaves at once.
const SIBLINGS: usize = 8;

/// A timetable, and who is under way.
pub(super) struct Departures {
    first: Instant,
    under_way: Arc<AtomicUsize>,
}

impl Departures {
    pub(super) fn from_now() -> Self {
        Self {
            first: Instant::now(),
            under_way: Arc::default(),
        }
    }

    /// One more transaction, until this is dropped.
    pub(super) fn sibling(&self) -> Sibling {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Sibling(Arc::clone(&self.under_way))
    }

    /// Waits until a half may leave.
    pub(super) async fn half(&self) {
        if self.under_way.load(Ordering::Relaxed) >= SIBLINGS {
            self.next(HALFS_EVERY).await;
        }
    }

    /// Waits until an END leaves.
    pub(super) async fn end(&self) {
        self.next(ENDS_EVERY).await;
    }

    async fn next(&self, every: Duration) {
        let gone = self.first.elapsed().as_nanos() % every.as_nanos();
        // Less than five million.
        let gone = u64::try_from(gone).unwrap_or_default();
        sleep(every.saturating_sub(Duration::from_nanos(gone))).await;
    }
}

/// A transaction that is under way.
pub(super) struct Sibling(Arc<AtomicUsize>);

impl Drop for Sibling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
