//! How fast halfs come and are decided, from samples of the totals.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::shared::Shared;

const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// A rate is over the last minute, or since the start if that is less.
const SAMPLES_MAX: usize = 31;

/// Totals at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    mono_ms: u64,
    halfs: u64,
    committed: u64,
    rolled_back: u64,
}

/// Per second, over the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct PerSecond {
    halfs: f64,
    committed: f64,
    rolled_back: f64,
}

#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<VecDeque<Sample>>);

impl Rates {
    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub(super) fn per_second(&self) -> PerSecond {
        let samples = self.0.lock();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let ms = last.mono_ms.saturating_sub(first.mono_ms);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate needs no more than 52 bits"
        )]
        let rate = |from: u64, to: u64| match ms {
            0 => 0.0,
            ms => to.saturating_sub(from) as f64 * 1000.0 / ms as f64,
        };
        PerSecond {
            halfs: rate(first.halfs, last.halfs),
            committed: rate(first.committed, last.committed),
            rolled_back: rate(first.rolled_back, last.rolled_back),
        }
    }
}

/// Takes samples until the log thread is gone.
pub(super) async fn sample(shared: Arc<Shared>, rates: Arc<Rates>) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    loop {
        tick.tick().await;
        let look = shared.log.look(|_, coordinator, now| {
            let counters = coordinator.counters();
            Sample {
                mono_ms: now.mono_ms,
                halfs: counters.halfs,
                committed: counters.committed,
                rolled_back: counters.rolled_back,
            }
        });
        match look.await {
            Ok(sample) => rates.add(sample),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64, halfs: u64) -> Sample {
        Sample {
            mono_ms,
            halfs,
            ..Sample::default()
        }
    }

    #[test]
    fn a_rate_is_growth_over_time() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(), PerSecond::default());
        rates.add(at(1_000, 10));
        assert_eq!(rates.per_second(), PerSecond::default());
        rates.add(at(3_000, 20));
        assert_eq!(rates.per_second().halfs, 5.0);
    }

    #[test]
    fn what_is_older_than_a_minute_no_longer_counts() {
        let rates = Rates::default();
        rates.add(at(0, 0));
        for second in 1..=60 {
            rates.add(at(second * 2_000, 1_000));
        }
        assert_eq!(rates.per_second().halfs, 0.0);
    }
}
