//! Messages in and out.

use super::text::Text;
use super::truth;
use crate::counters::Traffic;

pub(super) fn put(text: &mut Text, traffic: &Traffic, is_system: &dyn Fn(&str) -> bool) {
    for (name, value) in [
        ("rocketmq_messages_in_total", MESSAGES),
        ("rocketmq_throughput_in_total", BYTES),
    ] {
        for ((topic, kind), inflow) in &traffic.into {
            let system = truth(is_system(topic));
            let labels = [
                ("topic", topic.as_str()),
                ("message_type", kind.name()),
                ("is_system", system),
            ];
            text.counter(name, value.help, &labels, (value.of)(&inflow.count));
        }
    }
    for ((topic, kind), inflow) in &traffic.into {
        let labels = [
            ("topic", topic.as_str()),
            ("message_type", kind.name()),
            ("is_system", truth(is_system(topic))),
        ];
        let help = "Bytes of a message that came in";
        text.histogram("rocketmq_message_size", help, &labels, &inflow.sizes);
    }
    for (name, value) in [
        ("rocketmq_messages_out_total", MESSAGES),
        ("rocketmq_throughput_out_total", BYTES),
    ] {
        for ((topic, group), count) in &traffic.out {
            let system = truth(is_system(topic));
            let labels = [
                ("topic", topic.as_str()),
                ("consumer_group", group.as_str()),
                ("is_system", system),
            ];
            text.counter(name, value.help, &labels, (value.of)(count));
        }
    }
    for (group, count) in &traffic.dead_letters {
        let labels = [("consumer_group", group.as_str())];
        text.counter(
            "rocketmq_send_to_dlq_messages_total",
            "Dead letters",
            &labels,
            count,
        );
    }
}

/// One of the two things that are counted.
#[derive(Clone, Copy)]
struct Value {
    help: &'static str,
    of: fn(&crate::counters::Count) -> u64,
}

const MESSAGES: Value = Value {
    help: "Messages",
    of: |count| count.messages,
};
const BYTES: Value = Value {
    help: "Bytes of messages",
    of: |count| count.bytes,
};
