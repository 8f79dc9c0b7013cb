//! Topic and group names: the reserved ones, and which ones a client may use (class `TopicValidator`).

/// Pattern for auto-created topics.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages wait here, one queue per level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Topic of Apache's benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Op messages.
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that were checked too often.
pub const CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Offset moved events.
pub const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
/// Checkpoints of a RocksDB store.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
/// All topics with this prefix belong to the system.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Retry topic of a consumer group.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Dead letter topic of a consumer group.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The cluster name that stock configurations use.
pub const DEFAULT_CLUSTER: &str = "DefaultCluster";
/// Region of a broker that was given none.
pub const DEFAULT_REGION: &str = "DefaultRegion";
/// Consumer group of Apache's tools.
pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";
/// Groups with this prefix belong to the system.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Group whose offsets hold Apache's progress through the half topic.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Longest topic name in characters.
pub const TOPIC_CHARS_MAX: usize = 127;
/// Longest retry or dead letter topic name in characters.
pub const RETRY_TOPIC_CHARS_MAX: usize = 255;
/// Longest group name in characters.
pub const GROUP_CHARS_MAX: usize = 120;

const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    OP_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    CHECKPOINT_TOPIC,
];

const SEND_FORBIDDEN_TOPICS: [&str; 6] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
];

/// Why a name cannot be a topic or a group. The text is meant for the remark of the response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or white space only.
    #[error("the {0} name is blank")]
    Blank(&'static str),
    /// A character outside `%|a-zA-Z0-9_-`.
    #[error("the {kind} name `{name}` has characters other than %, |, letters, digits, _ and -")]
    Characters {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// Longer than allowed.
    #[error("the {kind} name `{name}` has {len} characters, more than {max}")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name, shortened.
        name: String,
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
}

/// Checks that a topic may have this name.
///
/// # Errors
/// The name is blank, too long or has a forbidden character.
pub fn validate_topic(name: &str) -> Result<(), NameError> {
    let special = name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
    validate(
        "topic",
        name,
        if special {
            RETRY_TOPIC_CHARS_MAX
        } else {
            TOPIC_CHARS_MAX
        },
    )
}

/// Checks that a producer or consumer group may have this name.
///
/// # Errors
/// The name is blank, too long or has a forbidden character.
pub fn validate_group(name: &str) -> Result<(), NameError> {
    validate("group", name, GROUP_CHARS_MAX)
}

fn validate(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    // A peer chose the name; an error must not echo megabytes of it.
    let shortened = || name.chars().take(max).collect::<String>();
    if name.trim().is_empty() {
        return Err(NameError::Blank(kind));
    }
    if !name.bytes().all(is_name_byte) {
        return Err(NameError::Characters {
            kind,
            name: shortened(),
        });
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            kind,
            name: shortened(),
            len: name.len(),
            max,
        });
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

/// True for a topic that users may neither create nor delete. Cluster and broker names are system topics
/// too, which only the broker can know.
pub fn is_system_topic(name: &str) -> bool {
    SYSTEM_TOPICS.contains(&name) || name.starts_with(SYSTEM_TOPIC_PREFIX)
}

/// True for a topic that clients may not send to.
pub fn is_send_forbidden(name: &str) -> bool {
    SEND_FORBIDDEN_TOPICS.contains(&name)
}

/// Retry topic of a consumer group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// Dead letter topic of a consumer group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The group of a retry topic.
pub fn retry_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// The group of a dead letter topic.
pub fn dlq_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(DLQ_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_rocketmq() {
        for good in ["orders", "%RETRY%group", "a|b", "A-_9%", &"t".repeat(127)] {
            assert_eq!(validate_topic(good), Ok(()), "{good}");
        }
        for blank in ["", " ", "\t\n"] {
            assert_eq!(validate_topic(blank), Err(NameError::Blank("topic")));
            assert_eq!(validate_group(blank), Err(NameError::Blank("group")));
        }
        for bad in ["a b", "ä", "a.b", "a/b", "a\u{1}b", "a+b"] {
            assert!(
                matches!(validate_topic(bad), Err(NameError::Characters { .. })),
                "{bad}"
            );
            assert!(
                matches!(validate_group(bad), Err(NameError::Characters { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn retry_and_dead_letter_topics_may_be_longer() {
        let too_long = |result| matches!(result, Err(NameError::TooLong { .. }));
        assert!(too_long(validate_topic(&"t".repeat(128))));
        assert_eq!(validate_topic(&retry_topic(&"g".repeat(248))), Ok(()));
        assert!(too_long(validate_topic(&retry_topic(&"g".repeat(249)))));
        assert_eq!(validate_topic(&dlq_topic(&"g".repeat(250))), Ok(()));
        assert!(too_long(validate_topic(&dlq_topic(&"g".repeat(251)))));
        assert_eq!(validate_group(&"g".repeat(120)), Ok(()));
        assert!(too_long(validate_group(&"g".repeat(121))));
    }

    #[test]
    fn an_error_does_not_echo_a_huge_name() {
        let error = validate_topic(&"é".repeat(1_000_000))
            .unwrap_err()
            .to_string();
        assert!(error.len() < 500);
    }

    #[test]
    fn system_topics_are_known() {
        assert!(is_system_topic(HALF_TOPIC) && is_system_topic("rmq_sys_wheel_timer"));
        assert!(is_system_topic(AUTO_CREATE_TOPIC) && !is_send_forbidden(AUTO_CREATE_TOPIC));
        assert!(is_send_forbidden(HALF_TOPIC) && is_send_forbidden(SCHEDULE_TOPIC));
        assert!(!is_system_topic("orders") && !is_send_forbidden("%RETRY%g"));
        assert_eq!(retry_group("%RETRY%g"), Some("g"));
        assert_eq!(dlq_group("%DLQ%g"), Some("g"));
        assert_eq!(retry_group("g"), None);
    }
}
