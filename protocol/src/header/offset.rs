//! Offsets of queues and of consumer groups.

use super::field::{Value, header};
use crate::frame::ExtFields;

header! {
    /// QUERY_CONSUMER_OFFSET (14).
    QueryConsumerOffset<'a> {
        /// Whose offset.
        required consumer_group: &'a str = "consumerGroup",
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// False: a group without offset gets QUERY_NOT_FOUND whatever the queue holds.
        optional set_zero_if_not_found: bool = "setZeroIfNotFound",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// UPDATE_CONSUMER_OFFSET (15), mostly oneway.
    UpdateConsumerOffset<'a> {
        /// Whose offset.
        required consumer_group: &'a str = "consumerGroup",
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// Next offset that the group wants to consume.
        required commit_offset: i64 = "commitOffset",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    SearchOffset<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// Store time, ms.
        required timestamp: i64 = "timestamp",
        /// Which side of the time.
        default(Boundary::Lower) boundary: Boundary = "boundaryType",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

/// Which message a timestamp stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Boundary {
    /// The first stored at that time or later.
    #[default]
    Lower,
    /// The last stored at that time or before.
    Upper,
}

/// Apache reads a name it does not know as the default.
impl Value<'_> for Boundary {
    const EXPECTED: &'static str = "LOWER or UPPER";

    fn parse(text: &str) -> Option<Self> {
        Some(if text.eq_ignore_ascii_case("upper") {
            Boundary::Upper
        } else {
            Boundary::Lower
        })
    }

    fn put(&self, field: &'static str, ext: &mut ExtFields) {
        ext.insert(
            field,
            if *self == Boundary::Upper {
                "UPPER"
            } else {
                "LOWER"
            },
        );
    }
}

header! {
    /// GET_MAX_OFFSET (30).
    GetMaxOffset<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// Only what consumers can see.
        default(true) committed: bool = "committed",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// GET_MIN_OFFSET (31).
    GetMinOffset<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// GET_EARLIEST_MSG_STORETIME (32).
    GetEarliestStoreTime<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Queue.
        required queue_id: i32 = "queueId",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// Response to 14, 29, 30 and 31.
    OffsetResponse {
        /// The offset.
        required offset: i64 = "offset",
    }
}

header! {
    /// Response to 32.
    TimestampResponse {
        /// Store time in ms; -1 if there is no message.
        required timestamp: i64 = "timestamp",
    }
}
