//! Producers and consumers that are connected, and how far groups are behind.

use std::collections::BTreeMap;

use escrow_protocol::body::ConsumeType;
use escrow_protocol::frame::language;
use escrow_protocol::names;

use super::text::Text;
use super::truth;
use crate::consumers::GroupView;
use crate::shared::Shared;

pub(super) fn put(text: &mut Text, shared: &Shared) {
    for ((kind, version), count) in shared.producers.count_by_kind() {
        let version = version.to_string();
        let labels = [
            ("language", language::name(kind)),
            ("version", version.as_str()),
        ];
        text.gauge(
            "rocketmq_producer_connections",
            "Members of producer groups",
            &labels,
            count,
        );
    }
    for group in shared.consumers.views() {
        consumers(text, &group);
    }
}

fn consumers(text: &mut Text, group: &GroupView) {
    let mode = match group.consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
        ConsumeType::Unknown => "unknown",
    };
    let mut kinds: BTreeMap<(u8, i32), usize> = BTreeMap::new();
    for member in &group.members {
        *kinds
            .entry((member.client.language, member.client.version))
            .or_default() += 1;
    }
    for ((kind, version), count) in kinds {
        let version = version.to_string();
        let labels = [
            ("consumer_group", group.group.as_str()),
            ("language", language::name(kind)),
            ("version", version.as_str()),
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

/// Messages between what a group has committed and the visible end.
pub(super) fn lag(text: &mut Text, shared: &Shared) {
    for (group, topic, queues) in shared.offsets.all() {
        let behind = |(queue, offset): (i32, i64)| {
            let (_, end) = shared.reader.queue_range(&topic, queue);
            end.0.saturating_sub(offset.unsigned_abs())
        };
        let behind: u64 = queues.into_iter().map(behind).sum();
        let labels = [
            ("topic", topic.as_str()),
            ("consumer_group", group.as_str()),
            ("is_retry", truth(names::retry_group(&topic).is_some())),
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
