//! How many checks a second may go out: a leaky bucket on the monotonic clock.

/// Checks that may go out at once after a pause: what a busy log thread misses while it is at other work, and some always.
const BURST_MS: u64 = 20;
const BURST_MIN: u64 = 20;

/// The broker-wide rate of checks.
#[derive(Debug)]
pub(crate) struct Pace {
    interval_us: u64,
    burst: u64,
    /// When the checks sent so far would have been sent at an even rate.
    even_us: u64,
}

impl Pace {
    /// A pace of so many checks a second, one at least.
    pub(crate) fn per_second(checks: u32) -> Self {
        let checks = u64::from(checks.clamp(1, 1_000_000));
        Pace {
            interval_us: 1_000_000 / checks,
            burst: (checks * BURST_MS / 1_000).max(BURST_MIN),
            even_us: 0,
        }
    }

    /// When the next check may go out.
    pub(crate) fn next_ms(&self) -> u64 {
        self.even_us
            .saturating_sub(self.interval_us * (self.burst - 1))
            .div_ceil(1_000)
    }

    /// Whether a check may go out now.
    pub(crate) fn is_free(&self, mono_ms: u64) -> bool {
        self.next_ms() <= mono_ms
    }

    /// Counts a check that goes out now.
    pub(crate) fn spend(&mut self, mono_ms: u64) {
        self.even_us = self.even_us.max(mono_ms.saturating_mul(1_000)) + self.interval_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_its_checks_and_one_burst() {
        let mut pace = Pace::per_second(1_000);
        let mut sent = Vec::new();
        for ms in 5_000..15_000 {
            while pace.is_free(ms) {
                pace.spend(ms);
                sent.push(ms);
            }
        }
        let busiest = (5_000..14_000)
            .step_by(7)
            .map(|from| {
                sent.iter()
                    .filter(|ms| (from..from + 1_000).contains(*ms))
                    .count()
            })
            .max();
        assert!(busiest <= Some(1_020), "{busiest:?}");
        assert!(sent.len() >= 10_000, "and none is wasted: {}", sent.len());
    }

    #[test]
    fn a_high_pace_is_kept_by_one_who_comes_rarely() {
        let mut pace = Pace::per_second(100_000);
        let mut sent = 0;
        for ms in (5_000..6_000).step_by(10) {
            while pace.is_free(ms) {
                pace.spend(ms);
                sent += 1;
            }
        }
        assert!((95_000..=102_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_pause_does_not_save_up() {
        let mut pace = Pace::per_second(1_000);
        pace.spend(0);
        let at_once = (0..100).take_while(|_| {
            let free = pace.is_free(60_000);
            pace.spend(60_000);
            free
        });
        assert_eq!(at_once.count(), 20);
    }
}
