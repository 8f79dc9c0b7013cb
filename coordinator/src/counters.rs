//! What the coordinator has done since it was opened, for metrics.
//!
//! How many halfs are pending or parked is not counted here: that is the size of the pending table, which
//! cannot drift.

/// Upper bounds of the finish latency's buckets in milliseconds: Apache's six (from 5 s up), and finer ones
/// below, where ours usually lie.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [
    1, 5, 10, 50, 100, 500, 5_000, 60_000, 600_000, 3_600_000, 43_200_000, 86_400_000,
];

/// A histogram of the time from a half's storing to its decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Decisions in each bucket of [`LATENCY_BOUNDS_MS`], not cumulative; the last counts all above.
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Sum of all, in milliseconds.
    pub sum_ms: u64,
}

impl Latencies {
    pub(crate) fn add(&mut self, ms: u64) {
        let at = LATENCY_BOUNDS_MS.partition_point(|bound| *bound < ms);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// How many decisions were measured.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Totals since the coordinator was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Halfs stored.
    pub halfs: u64,
    /// Halfs sent again and answered with the first's ids.
    pub duplicates: u64,
    /// Halfs committed, by whomever.
    pub committed: u64,
    /// Halfs rolled back, by whomever.
    pub rolled_back: u64,
    /// Decisions of both kinds that an answer to a check brought.
    pub decided_by_check: u64,
    /// Decisions of both kinds that an operator took.
    pub decided_by_operator: u64,
    /// Decisions that were there already.
    pub repeated: u64,
    /// Decisions refused because the opposite had been taken.
    pub conflicts: u64,
    /// END_TRANSACTIONs refused since they name no half, or name it wrongly.
    pub refused: u64,
    /// COMMITs refused because the topic is not there.
    pub topic_missing: u64,
    /// Checks handed out to be sent.
    pub checks_sent: u64,
    /// Checks answered in time, whatever the answer.
    pub checks_answered: u64,
    /// Checks answered in time with UNKNOWN.
    pub checks_unknown: u64,
    /// Checks that nobody answered in time.
    pub checks_silent: u64,
    /// Checks that could not be written to their connection.
    pub checks_not_sent: u64,
    /// Halfs parked.
    pub parked: u64,
    /// Halfs taken up again by an operator.
    pub resumed: u64,
    /// Halfs asked about early since their sender was gone.
    pub expedited: u64,
    /// Steps of the wall clock.
    pub clock_steps: u64,
    /// From the storing of a half to its decision.
    pub finish_latency: Latencies,
}

/// Decisions about halfs of one topic since the coordinator was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicTotals {
    /// Halfs committed.
    pub committed: u64,
    /// Halfs rolled back.
    pub rolled_back: u64,
    /// From the storing of a half to its commit.
    pub commit_latency: Latencies,
}

/// Something that a person may want to read in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The wall clock stepped, forward if positive; deadlines are not touched by it.
    ClockStepped {
        /// By how much.
        by_ms: i64,
    },
    /// A half was parked.
    Parked {
        /// Its sequence number.
        seq: u64,
        /// Answered UNKNOWNs so far.
        answered: u32,
    },
    /// The store refused to record what a check brought; the half is asked about again.
    NotRecorded {
        /// Its sequence number.
        seq: u64,
        /// What the store said.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let mut latencies = Latencies::default();
        for ms in [0, 1, 2, 86_400_000, 86_400_001] {
            latencies.add(ms);
        }
        assert_eq!(latencies.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(latencies.count(), 5);
        assert_eq!(latencies.sum_ms, 172_800_004);
    }
}
