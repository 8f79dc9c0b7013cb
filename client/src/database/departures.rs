//! How long messages to the broker may wait for others to leave with.
//!
//! What arrives together shares one sync of the broker, one wake-up of everybody on the way, and often the database's next
//! sync as well. So when many transactions are under way a half waits until enough of them have one to send, as PostgreSQL's
//! `commit_delay` and `commit_siblings` have it; and the decision about it, for which nobody waits, leaves with the next half,
//! or else as soon as a relay would have looked at its outbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a decision may wait.
pub(super) const DECISION_WAITS: Duration = Duration::from_millis(5);

/// How long a half may wait.
const HALF_WAITS: Duration = Duration::from_millis(3);

/// So many transactions have to be under way for a half to wait; with fewer it leaves at once.
const SIBLINGS: usize = 8;

/// Halfs leave when they are those of this part of the transactions under way. The others are at work in the database
/// meanwhile, so that neither it nor the broker is idle while the other is at work.
const PART: usize = 2;

/// Who is under way, and who waits.
pub(super) struct Departures {
    under_way: Arc<AtomicUsize>,
    next: Mutex<Departure>,
}

/// Halfs that leave together.
struct Departure {
    at_the_latest: Instant,
    halfs: usize,
}

impl Departures {
    pub(super) fn new() -> Self {
        Self {
            under_way: Arc::default(),
            next: Mutex::new(Departure {
                at_the_latest: Instant::now(),
                halfs: 0,
            }),
        }
    }

    /// One more transaction, until this is dropped.
    pub(super) fn sibling(&self) -> Sibling {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Sibling(Arc::clone(&self.under_way))
    }

    /// How long a half that is sent now may wait.
    pub(super) fn half_waits(&self) -> Duration {
        self.half_waits_from(Instant::now())
    }

    fn half_waits_from(&self, now: Instant) -> Duration {
        let siblings = self.under_way.load(Ordering::Relaxed);
        if siblings < SIBLINGS {
            return Duration::ZERO;
        }
        let mut next = self.next.lock();
        if next.at_the_latest <= now {
            *next = Departure {
                at_the_latest: now + HALF_WAITS,
                halfs: 0,
            };
        }
        next.halfs += 1;
        if next.halfs * PART >= siblings {
            // The one that leaves at once takes along those that wait.
            next.at_the_latest = now;
        }
        next.at_the_latest - now
    }
}

/// A transaction that is under way.
pub(super) struct Sibling(Arc<AtomicUsize>);

impl Drop for Sibling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_few_under_way_nobody_waits() {
        let departures = Departures::new();
        let few: Vec<Sibling> = (1..SIBLINGS).map(|_| departures.sibling()).collect();
        for _ in &few {
            assert_eq!(departures.half_waits(), Duration::ZERO);
        }
    }

    #[test]
    fn with_many_under_way_the_last_of_every_part_takes_the_others_along() {
        let departures = Departures::new();
        let many: Vec<Sibling> = (0..4 * SIBLINGS).map(|_| departures.sibling()).collect();
        let part = many.len() / PART;
        let now = Instant::now();
        for _ in 0..3 {
            for _ in 1..part {
                assert_eq!(departures.half_waits_from(now), HALF_WAITS);
            }
            assert_eq!(departures.half_waits_from(now), Duration::ZERO);
        }
    }

    #[test]
    fn all_that_wait_leave_when_the_first_has_waited_long_enough() {
        let departures = Departures::new();
        let _many: Vec<Sibling> = (0..4 * SIBLINGS).map(|_| departures.sibling()).collect();
        let first = Instant::now();
        assert_eq!(departures.half_waits_from(first), HALF_WAITS);
        let later = first + HALF_WAITS / 3;
        assert_eq!(
            departures.half_waits_from(later),
            HALF_WAITS - HALF_WAITS / 3
        );
        // Who comes after that waits for others.
        assert_eq!(departures.half_waits_from(first + HALF_WAITS), HALF_WAITS);
    }

    #[test]
    fn whoever_is_over_is_no_longer_waited_for() {
        let departures = Departures::new();
        let mut under_way: Vec<Sibling> = (0..SIBLINGS).map(|_| departures.sibling()).collect();
        assert!(!departures.half_waits().is_zero());
        under_way.pop();
        assert_eq!(departures.half_waits(), Duration::ZERO);
    }
}
