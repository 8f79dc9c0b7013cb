//! The broker itself: its log, its queue, its connections.

use std::sync::atomic::Ordering;

use super::text::Text;
use super::truth;
use crate::shared::Shared;

pub(super) fn put(text: &mut Text, shared: &Shared) {
    text.gauge(
        "rocketmq_broker_permission",
        "Bits: 2 write, 4 read",
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
    let help = "KiB that wait for the log thread";
    let waiting = shared.log.waiting();
    text.gauge(
        "rocketmq_processor_watermark",
        help,
        &[("processor", "log")],
        waiting,
    );
    storage(text, shared);
    creations(text, shared);
    let connections = shared.connections.count();
    text.gauge(
        "escrow_connections",
        "Open client connections",
        &[],
        connections,
    );
    let counters = &shared.counters;
    let shed = counters.sends_shed.load(Ordering::Relaxed);
    text.counter(
        "escrow_sends_shed_total",
        "Sends refused as too many",
        &[],
        shed,
    );
    let damaged = counters.damaged.load(Ordering::Relaxed);
    text.counter(
        "escrow_damaged_reads_total",
        "Reads that met damage",
        &[],
        damaged,
    );
    for (code, count) in counters.unsupported_by_code() {
        let code = code.to_string();
        let labels = [("request_code", code.as_str())];
        let help = "Requests with a code that is not supported";
        text.counter("escrow_unsupported_requests_total", help, &labels, count);
    }
}

fn storage(text: &mut Text, shared: &Shared) {
    let disk = [("storage_type", "local"), ("storage_medium", "disk")];
    let (start, written) = shared.reader.log_range();
    let size = written.0.saturating_sub(start.0);
    let behind = written.0.saturating_sub(shared.reader.durable().0);
    let reserve_ms = shared.settings.file_reserved_time.as_millis();
    text.gauge("rocketmq_storage_size", "Bytes of log", &disk, size);
    text.gauge(
        "rocketmq_storage_flush_behind_bytes",
        "Bytes not yet synced",
        &disk,
        behind,
    );
    let help = "Milliseconds that messages are kept";
    text.gauge(
        "rocketmq_storage_message_reserve_time",
        help,
        &disk,
        reserve_ms,
    );
}

/// How long requests took.
pub(super) fn latency(text: &mut Text, shared: &Shared) {
    for (labels, took) in &shared.connections.latency.histograms() {
        let labels = [
            ("protocol_type", "remoting"),
            ("request_code", labels.request.as_str()),
            ("response_code", labels.response.as_str()),
            ("is_long_polling", truth(labels.long_polled)),
            ("result", labels.result),
        ];
        let help = "Milliseconds from the read of a request to the write of its answer";
        text.histogram("rocketmq_rpc_latency", help, &labels, took);
    }
}

fn creations(text: &mut Text, shared: &Shared) {
    for (creation, took) in &shared.counters.topics_made() {
        let labels = [
            ("invocation_status", status(creation.succeeded)),
            ("is_system", truth(creation.is_system)),
        ];
        text.histogram(
            "rocketmq_topic_create_execution_time",
            "Milliseconds that making a topic takes",
            &labels,
            &took.0,
        );
    }
    for (succeeded, took) in &shared.counters.groups_made() {
        text.histogram(
            "rocketmq_consumer_group_create_execution_time",
            "Milliseconds that making a consumer group takes",
            &[("invocation_status", status(*succeeded))],
            &took.0,
        );
    }
}

fn status(succeeded: bool) -> &'static str {
    if succeeded { "success" } else { "failure" }
}
