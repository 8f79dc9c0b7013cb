//! `GET /metrics`: Prometheus text, under the names of RocketMQ 5 where there is one and `escrow_` otherwise.

mod text;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use escrow_coordinator::{Counters, LATENCY_BOUNDS_MS, TopicTotals, WaitingGroup};
use escrow_protocol::body::ConsumeType;
use escrow_protocol::frame::language;
use escrow_store::HalfSeq;

use super::Admin;
use super::failure::Failure;
use crate::counters::Traffic;
use crate::shared::Shared;
use text::Text;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

pub(super) async fn show(State(admin): State<Admin>) -> Result<impl IntoResponse, Failure> {
    let shared = &admin.shared;
    let seen = look(shared).await?;
    let by_topic = admin.half_counts.by_topic(shared).await?;
    let settings = &shared.settings;
    let mut text = Text::new(&settings.broker_cluster_name, &settings.broker_name);
    transactions(&mut text, &seen);
    for (topic, halfs) in &*by_topic {
        text.gauge(
            "rocketmq_half_messages",
            "Undecided half messages",
            &[("topic", topic)],
            halfs,
        );
    }
    checks(&mut text, &seen, shared.clock.wall_ms());
    broker(&mut text, shared);
    traffic(&mut text, shared);
    clients(&mut text, shared);
    lag(&mut text, shared);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.finish()))
}

/// What only the log thread knows.
struct Seen {
    counters: Counters,
    totals: Vec<(String, TopicTotals)>,
    waiting: Vec<WaitingGroup>,
    in_flight: usize,
    pending: u64,
    parked: u64,
    oldest_ms: Option<i64>,
}

async fn look(shared: &Shared) -> Result<Seen, Failure> {
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
        }
    });
    Ok(look.await?)
}

fn transactions(text: &mut Text, seen: &Seen) {
    for (topic, totals) in &seen.totals {
        let labels = [("topic", topic.as_str())];
        text.counter(
            "rocketmq_commit_messages_total",
            "Halfs committed",
            &labels,
            totals.committed,
        );
    }
    for (topic, totals) in &seen.totals {
        let labels = [("topic", topic.as_str())];
        text.counter(
            "rocketmq_rollback_messages_total",
            "Halfs rolled back",
            &labels,
            totals.rolled_back,
        );
    }
    let latencies = &seen.counters.finish_latency;
    text.histogram(
        "rocketmq_finish_message_latency",
        "Milliseconds from the storing of a half to its decision",
        &LATENCY_BOUNDS_MS,
        &latencies.buckets,
        latencies.sum_ms,
    );
}

fn checks(text: &mut Text, seen: &Seen, now_ms: i64) {
    let Counters {
        halfs,
        duplicates,
        conflicts,
        repeated,
        refused,
        topic_missing,
        ..
    } = seen.counters;
    let counters = &seen.counters;
    text.gauge(
        "escrow_pending_halfs",
        "Undecided halfs that are not parked",
        &[],
        seen.pending,
    );
    text.gauge(
        "escrow_parked_halfs",
        "Undecided halfs that are parked",
        &[],
        seen.parked,
    );
    let oldest_ms = seen
        .oldest_ms
        .map_or(0, |at| now_ms.saturating_sub(at).max(0));
    text.gauge(
        "escrow_oldest_pending_seconds",
        "Age of the oldest undecided half",
        &[],
        oldest_ms / 1000,
    );
    for (name, help, value) in [
        ("escrow_halfs_total", "Halfs stored", halfs),
        (
            "escrow_duplicate_halfs_total",
            "Halfs sent again and answered with the first's ids",
            duplicates,
        ),
        (
            "escrow_repeated_decisions_total",
            "Decisions that were there already",
            repeated,
        ),
        (
            "escrow_conflicting_decisions_total",
            "Decisions refused because the opposite was taken",
            conflicts,
        ),
        (
            "escrow_refused_decisions_total",
            "Decisions that name no half, or name it wrongly",
            refused,
        ),
        (
            "escrow_topic_missing_total",
            "Commits refused because their topic is missing",
            topic_missing,
        ),
        (
            "escrow_checks_sent_total",
            "Checks handed out",
            counters.checks_sent,
        ),
        (
            "escrow_checks_answered_total",
            "Checks answered in time",
            counters.checks_answered,
        ),
        (
            "escrow_checks_unknown_total",
            "Checks answered in time with UNKNOWN",
            counters.checks_unknown,
        ),
        (
            "escrow_checks_silent_total",
            "Checks that nobody answered in time",
            counters.checks_silent,
        ),
        (
            "escrow_checks_not_sent_total",
            "Checks that could not be written",
            counters.checks_not_sent,
        ),
        ("escrow_parked_total", "Halfs parked", counters.parked),
        (
            "escrow_clock_steps_total",
            "Steps of the wall clock",
            counters.clock_steps,
        ),
    ] {
        text.counter(name, help, &[], value);
    }
    text.gauge(
        "escrow_checks_in_flight",
        "Checks that wait for an answer",
        &[],
        seen.in_flight,
    );
    for group in &seen.waiting {
        let help = "Due halfs of producer groups that have nobody to ask";
        text.gauge(
            "escrow_halfs_without_checker",
            help,
            &[("group", &group.group)],
            group.halfs,
        );
    }
}

fn broker(text: &mut Text, shared: &Shared) {
    let (start, written) = shared.reader.log_range();
    let behind = written.0.saturating_sub(shared.reader.durable().0);
    let disk = [("storage_type", "local"), ("storage_medium", "disk")];
    text.gauge(
        "rocketmq_broker_permission",
        "Bits 2 write and 4 read",
        &[],
        6,
    );
    text.gauge(
        "rocketmq_topic_number",
        "Topics",
        &[],
        shared.topics.count(),
    );
    text.gauge(
        "rocketmq_consumer_group_number",
        "Consumer groups",
        &[],
        shared.groups.count(),
    );
    let help = "What waits for the log thread, in KiB";
    text.gauge(
        "rocketmq_processor_watermark",
        help,
        &[("processor", "log")],
        shared.log.waiting(),
    );
    text.gauge(
        "rocketmq_storage_size",
        "Bytes of log",
        &disk,
        written.0.saturating_sub(start.0),
    );
    text.gauge(
        "rocketmq_storage_flush_behind_bytes",
        "Bytes written and not yet synced",
        &disk,
        behind,
    );
    text.gauge(
        "escrow_connections",
        "Open client connections",
        &[],
        shared.connections.count(),
    );
    let counters = &shared.counters;
    let shed = counters
        .sends_shed
        .load(std::sync::atomic::Ordering::Relaxed);
    let damaged = counters.damaged.load(std::sync::atomic::Ordering::Relaxed);
    text.counter(
        "escrow_sends_shed_total",
        "Sends refused because the log was too busy",
        &[],
        shed,
    );
    text.counter(
        "escrow_damaged_reads_total",
        "Reads that met a damaged record",
        &[],
        damaged,
    );
    for (code, count) in counters.unsupported_by_code() {
        let code = code.to_string();
        let help = "Requests with a code that is not supported";
        text.counter(
            "escrow_unsupported_requests_total",
            help,
            &[("request_code", &code)],
            count,
        );
    }
}

fn traffic(text: &mut Text, shared: &Shared) {
    let Traffic {
        into,
        out,
        dead_letters,
    } = shared.counters.traffic();
    for ((topic, kind), count) in &into {
        let labels = labels_in(shared, topic, kind.name());
        text.counter(
            "rocketmq_messages_in_total",
            "Messages taken from producers",
            &labels,
            count.messages,
        );
    }
    for ((topic, kind), count) in &into {
        let labels = labels_in(shared, topic, kind.name());
        text.counter(
            "rocketmq_throughput_in_total",
            "Bytes taken from producers",
            &labels,
            count.bytes,
        );
    }
    for ((topic, group), count) in &out {
        let labels = labels_out(shared, topic, group);
        text.counter(
            "rocketmq_messages_out_total",
            "Messages given to consumers",
            &labels,
            count.messages,
        );
    }
    for ((topic, group), count) in &out {
        let labels = labels_out(shared, topic, group);
        text.counter(
            "rocketmq_throughput_out_total",
            "Bytes given to consumers",
            &labels,
            count.bytes,
        );
    }
    for (group, count) in &dead_letters {
        let help = "Messages that went to the dead letters";
        text.counter(
            "rocketmq_send_to_dlq_messages_total",
            help,
            &[("consumer_group", group)],
            count,
        );
    }
}

fn truth(it: bool) -> &'static str {
    if it { "true" } else { "false" }
}

fn labels_in<'a>(shared: &Shared, topic: &'a str, kind: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("topic", topic),
        ("message_type", kind),
        ("is_system", truth(shared.topics.is_system(topic))),
    ]
}

fn labels_out<'a>(shared: &Shared, topic: &'a str, group: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("topic", topic),
        ("consumer_group", group),
        ("is_system", truth(shared.topics.is_system(topic))),
    ]
}

fn clients(text: &mut Text, shared: &Shared) {
    for ((kind, version), count) in shared.producers.count_by_kind() {
        let labels = [
            ("language", language::name(kind)),
            ("version", &version.to_string()),
        ];
        text.gauge(
            "rocketmq_producer_connections",
            "Producers, counted per group",
            &labels,
            count,
        );
    }
    for view in shared.consumers.views() {
        let mode = match view.consume_type {
            ConsumeType::Actively => "pull",
            ConsumeType::Passively => "push",
            ConsumeType::Pop => "pop",
            ConsumeType::Unknown => "unknown",
        };
        let mut kinds: BTreeMap<(u8, i32), usize> = BTreeMap::new();
        for member in &view.members {
            *kinds
                .entry((member.client.language, member.client.version))
                .or_default() += 1;
        }
        for ((kind, version), count) in kinds {
            let labels = [
                ("consumer_group", view.group.as_str()),
                ("language", language::name(kind)),
                ("version", &version.to_string()),
                ("consume_mode", mode),
            ];
            text.gauge(
                "rocketmq_consumer_connections",
                "Members of consumer groups",
                &labels,
                count,
            );
        }
    }
}

/// Messages between what a group has committed and the visible end.
fn lag(text: &mut Text, shared: &Shared) {
    for (group, topic, queues) in shared.offsets.all() {
        let behind: u64 = queues
            .into_iter()
            .map(|(queue, offset)| {
                let (_, end) = shared.reader.queue_range(&topic, queue);
                end.0.saturating_sub(offset.unsigned_abs())
            })
            .sum();
        let labels = [
            ("topic", topic.as_str()),
            ("consumer_group", group.as_str()),
            (
                "is_retry",
                truth(topic.starts_with(escrow_protocol::names::RETRY_PREFIX)),
            ),
            ("is_system", truth(shared.topics.is_system(&topic))),
        ];
        text.gauge(
            "rocketmq_consumer_lag_messages",
            "Messages not yet consumed",
            &labels,
            behind,
        );
    }
}
