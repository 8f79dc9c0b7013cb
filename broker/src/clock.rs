//! The only place of the server that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use escrow_coordinator::Now;

/// Wall clock and monotonic clock of one broker run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            wall_ms: self.wall_ms(),
            mono_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Milliseconds since 1970; a clock set before 1970 reads as 0.
    pub(crate) fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    /// The instant at which the monotonic milliseconds of this run reach `mono_ms`.
    pub(crate) fn instant(&self, mono_ms: u64) -> Instant {
        self.start + Duration::from_millis(mono_ms.min(u64::from(u32::MAX) * 1000))
    }
}
