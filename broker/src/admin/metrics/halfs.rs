//! What becomes of halfs: states, decisions, checks.

use escrow_coordinator::{Counters, LATENCY_BOUNDS_MS, Latencies, TopicTotals, WaitingGroup};
use escrow_store::{HalfSeq, Store};

use super::super::failure::Failure;
use super::text::Text;
use crate::histogram::Histogram;
use crate::shared::Shared;

/// Apache's buckets of `rocketmq_finish_message_latency`, in seconds.
const FINISH_BOUNDS_S: [u64; 6] = [5, 60, 600, 3_600, 43_200, 86_400];

/// What only the log thread knows.
pub(super) struct Seen {
    counters: Counters,
    totals: Vec<(String, TopicTotals)>,
    waiting: Vec<WaitingGroup>,
    in_flight: usize,
    pending: u64,
    parked: u64,
    oldest_ms: Option<i64>,
    by_topic: Vec<(String, u64)>,
}

pub(super) async fn look(shared: &Shared) -> Result<Seen, Failure> {
    let look = shared.log.look(|store, coordinator, _| {
        let (pending, parked) = store.undecided_counts();
        let oldest = store.undecided_from(HalfSeq(0)).next();
        Seen {
            counters: coordinator.counters().clone(),
            totals: coordinator.totals_by_topic(store),
            waiting: coordinator.waiting_groups(),
            in_flight: coordinator.in_flight(),
            pending,
            parked,
            oldest_ms: oldest.map(|(_, entry)| entry.store_timestamp),
            by_topic: by_topic(store),
        }
    });
    Ok(look.await?)
}

/// Undecided halfs by topic, in the order of their names.
fn by_topic(store: &Store) -> Vec<(String, u64)> {
    let counts = store.undecided_by_topic().into_iter();
    let mut named: Vec<_> = counts
        .map(|(topic, halfs)| (store.name(topic).to_owned(), halfs))
        .collect();
    named.sort();
    named
}

/// Name, help and value of a total.
type Total = (&'static str, &'static str, fn(&Counters) -> u64);

const TOTALS: [Total; 13] = [
    ("escrow_halfs_total", "Halfs stored", |of| of.halfs),
    (
        "escrow_duplicate_halfs_total",
        "Halfs sent again and stored once",
        |of| of.duplicates,
    ),
    (
        "escrow_repeated_decisions_total",
        "Decisions that were there already",
        |of| of.repeated,
    ),
    (
        "escrow_conflicting_decisions_total",
        "Decisions after the opposite",
        |of| of.conflicts,
    ),
    (
        "escrow_refused_decisions_total",
        "Decisions that name no half rightly",
        |of| of.refused,
    ),
    (
        "escrow_topic_missing_total",
        "Commits whose topic is missing",
        |of| of.topic_missing,
    ),
    ("escrow_checks_sent_total", "Checks handed out", |of| {
        of.checks_sent
    }),
    (
        "escrow_checks_answered_total",
        "Checks answered in time",
        |of| of.checks_answered,
    ),
    (
        "escrow_checks_unknown_total",
        "Checks answered UNKNOWN",
        |of| of.checks_unknown,
    ),
    (
        "escrow_checks_silent_total",
        "Checks that nobody answered",
        |of| of.checks_silent,
    ),
    (
        "escrow_checks_not_sent_total",
        "Checks that went nowhere",
        |of| of.checks_not_sent,
    ),
    ("escrow_parked_total", "Halfs parked", |of| of.parked),
    (
        "escrow_clock_steps_total",
        "Steps of the wall clock",
        |of| of.clock_steps,
    ),
];

pub(super) fn put(text: &mut Text, seen: &Seen, now_ms: i64) {
    for (topic, halfs) in &seen.by_topic {
        text.gauge(
            "rocketmq_half_messages",
            "Undecided half messages",
            &[("topic", topic)],
            halfs,
        );
    }
    decisions(text, seen);
    for (name, help, value) in TOTALS {
        text.counter(name, help, &[], value(&seen.counters));
    }
    let oldest_ms = seen
        .oldest_ms
        .map_or(0, |at| now_ms.saturating_sub(at).max(0));
    let oldest = "Age of the oldest undecided half";
    text.gauge(
        "escrow_pending_halfs",
        "Undecided halfs, not parked",
        &[],
        seen.pending,
    );
    text.gauge(
        "escrow_parked_halfs",
        "Undecided halfs, parked",
        &[],
        seen.parked,
    );
    text.gauge(
        "escrow_oldest_pending_seconds",
        oldest,
        &[],
        oldest_ms / 1000,
    );
    text.gauge(
        "escrow_checks_in_flight",
        "Checks awaiting an answer",
        &[],
        seen.in_flight,
    );
    for group in &seen.waiting {
        let labels = [("group", group.group.as_str())];
        let help = "Due halfs of producer groups that have nobody to ask";
        text.gauge("escrow_halfs_without_checker", help, &labels, group.halfs);
    }
}

fn decisions(text: &mut Text, seen: &Seen) {
    for (topic, totals) in &seen.totals {
        let labels = [("topic", topic.as_str())];
        text.counter(
            "rocketmq_commit_messages_total",
            "Commits",
            &labels,
            totals.committed,
        );
    }
    for (topic, totals) in &seen.totals {
        let labels = [("topic", topic.as_str())];
        text.counter(
            "rocketmq_rollback_messages_total",
            "Rollbacks",
            &labels,
            totals.rolled_back,
        );
    }
    for (topic, totals) in &seen.totals {
        text.histogram(
            "rocketmq_finish_message_latency",
            "Seconds from the storing of a half to its commit",
            &[("topic", topic.as_str())],
            &in_seconds(&totals.commit_latency),
        );
    }
    let latencies = &seen.counters.finish_latency;
    let finish_latency = Histogram {
        bounds: &LATENCY_BOUNDS_MS,
        buckets: latencies.buckets.to_vec(),
        sum: latencies.sum_ms,
    };
    text.histogram(
        "escrow_decision_latency_milliseconds",
        "Milliseconds from the storing of a half to its decision",
        &[],
        &finish_latency,
    );
}

/// In Apache's unit and buckets, each of which is a bound of ours.
fn in_seconds(latencies: &Latencies) -> Histogram {
    let mut histogram = Histogram::new(&FINISH_BOUNDS_S);
    let bounds_ms = LATENCY_BOUNDS_MS.iter().chain([&u64::MAX]);
    for (bound_ms, count) in bounds_ms.zip(&latencies.buckets) {
        histogram.add(bound_ms.div_ceil(1_000), *count);
    }
    histogram.sum = latencies.sum_ms / 1_000;
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_of_ours_lies_in_one_of_apaches() {
        let latencies = Latencies {
            buckets: [1; LATENCY_BOUNDS_MS.len() + 1],
            sum_ms: 12_999,
        };
        let seconds = in_seconds(&latencies);
        assert_eq!(seconds.buckets, [7, 1, 1, 1, 1, 1, 1]);
        assert_eq!(seconds.sum, 12);
    }
}
