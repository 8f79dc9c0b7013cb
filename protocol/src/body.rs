//! JSON bodies.
//!
//! What we write is standard JSON without white space and with quoted keys: every Java version reads it,
//! and the Go client, which takes routes apart by hand, needs it. What we read may come from Java's or
//! Go's library: unknown fields are ignored, a `null` list is an empty one, names of enums that we do not
//! know are kept apart as `Unknown`, and keys that are whole numbers may stand without quotes, as in what Apache's name
//! server says of its cluster.

mod cluster;
mod heartbeat;
mod keys;
mod lock;
mod topic;

pub use cluster::{BrokerData, ClusterInfo, QueueData, TopicRouteData};
pub use heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData,
    SubscriptionData,
};
pub use lock::{LockBatchRequest, LockBatchResponse, MessageQueue};
pub use topic::{ConsumerList, TopicConfig, TopicList};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// A body that is not the JSON it should be.
#[derive(Debug, thiserror::Error)]
#[error("JSON body: {0}")]
pub struct BodyError(#[from] serde_json::Error);

/// Reads a body.
///
/// # Errors
/// The bytes are no JSON, or JSON of another form.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(error) if error.is_syntax() => Ok(serde_json::from_slice(&keys::quoted(body))?),
        Err(error) => Err(error.into()),
    }
}

/// Writes a body.
///
/// # Errors
/// Only for a type that has no JSON form; none in this module is such a type.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, BodyError> {
    Ok(serde_json::to_vec(body)?)
}

/// Takes `null` for the default.
fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
