//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42), by which orderly consumers own queues.

use serde::{Deserialize, Serialize};

use super::null_default;

/// A queue of a topic on a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// The broker.
    pub broker_name: String,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// Body of 41 and 42.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockBatchRequest {
    /// Who locks: the member.
    pub client_id: String,
    /// Who locks: the group.
    pub consumer_group: String,
    /// The queues.
    #[serde(default, deserialize_with = "null_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Do not ask replicas.
    #[serde(default, deserialize_with = "null_default")]
    pub only_this_broker: bool,
}

/// Body of the response to 41.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockBatchResponse {
    /// The queues that the member holds now.
    #[serde(rename = "lockOKMQSet", default, deserialize_with = "null_default")]
    pub locked: Vec<MessageQueue>,
}
