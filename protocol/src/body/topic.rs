//! Topics and members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_default;

/// The settings of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicConfig {
    /// `+key=value` settings of Apache's brokers.
    #[serde(default, deserialize_with = "null_default")]
    pub attributes: BTreeMap<String, String>,
    /// Globally ordered.
    #[serde(default, deserialize_with = "null_default")]
    pub order: bool,
    /// Bits of [`crate::sysflag::perm`].
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    #[serde(default = "single_tag")]
    pub topic_filter_type: String,
    /// The topic.
    pub topic_name: String,
    /// Unit bits.
    #[serde(default, deserialize_with = "null_default")]
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
}

fn single_tag() -> String {
    "SINGLE_TAG".to_owned()
}

impl TopicConfig {
    /// A readable and writable topic with as many queues to read as to write.
    pub fn new(topic_name: impl Into<String>, queues: i32) -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: crate::sysflag::perm::READ | crate::sysflag::perm::WRITE,
            read_queue_nums: queues,
            topic_filter_type: single_tag(),
            topic_name: topic_name.into(),
            topic_sys_flag: 0,
            write_queue_nums: queues,
        }
    }
}

/// Body of the response to GET_ALL_TOPIC_LIST_FROM_NAMESERVER (206) and its relatives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicList {
    /// Address of one broker, where the request asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The topics.
    #[serde(default, deserialize_with = "null_default")]
    pub topic_list: Vec<String>,
}

/// Body of the response to GET_CONSUMER_LIST_BY_GROUP (38).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerList {
    /// Client ids of the members.
    #[serde(default, deserialize_with = "null_default")]
    pub consumer_id_list: Vec<String>,
}
