//! QUERY_MESSAGE and VIEW_MESSAGE_BY_ID.

use super::field::header;

header! {
    /// QUERY_MESSAGE (12): messages by key.
    QueryMessage<'a> {
        /// Topic to search.
        required topic: &'a str = "topic",
        /// A word of `KEYS`, or a `UNIQ_KEY`.
        required key: &'a str = "key",
        /// Most messages wanted.
        required messages_max: i32 = "maxNum",
        /// Earliest store time, ms.
        required begin_timestamp: i64 = "beginTimestamp",
        /// Latest store time, ms.
        required end_timestamp: i64 = "endTimestamp",
        /// The key is a `UNIQ_KEY`; then the broker uses a limit of its own.
        default(false) unique_key: bool = "_UNIQUE_KEY_QUERY",
    }
}

header! {
    /// Response to QUERY_MESSAGE; the messages are in the body.
    QueryMessageResponse {
        /// When the index was last written, ms.
        required index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Physical offset that the index has reached.
        required index_last_update_offset: i64 = "indexLastUpdatePhyoffset",
    }
}

header! {
    /// VIEW_MESSAGE_BY_ID (33): one message by its physical offset.
    ViewMessage<'a> {
        /// Topic.
        optional topic: &'a str = "topic",
        /// Physical offset.
        required offset: i64 = "offset",
    }
}
