//! HEART_BEAT (34): who a client is and what it produces and consumes.

use serde::{Deserialize, Deserializer, Serialize};

use super::null_default;

/// Body of HEART_BEAT.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Who sends.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Not 0 in a version 2 heartbeat.
    #[serde(default, deserialize_with = "null_default")]
    pub heartbeat_fingerprint: i32,
    /// The heartbeat carries no subscriptions, and must not clear them.
    #[serde(default, deserialize_with = "null_default", alias = "isWithoutSub")]
    pub without_sub: bool,
    /// Producer groups.
    #[serde(default, deserialize_with = "null_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Consumer groups.
    #[serde(default, deserialize_with = "null_default")]
    pub consumer_data_set: Vec<ConsumerData>,
}

/// A producer group of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerData {
    /// The group.
    pub group_name: String,
}

/// A consumer group of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerData {
    /// The group.
    pub group_name: String,
    /// Pull, push or pop.
    #[serde(default, deserialize_with = "null_default")]
    pub consume_type: ConsumeType,
    /// Clustering or broadcasting.
    #[serde(default, deserialize_with = "null_default")]
    pub message_model: MessageModel,
    /// Where a new group begins.
    #[serde(default, deserialize_with = "null_default")]
    pub consume_from_where: ConsumeFromWhere,
    /// Unit mode.
    #[serde(default, deserialize_with = "null_default")]
    pub unit_mode: bool,
    /// What it consumes.
    #[serde(default, deserialize_with = "null_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
}

/// A subscription to one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Class filter (obsolete).
    #[serde(default, deserialize_with = "null_default")]
    pub class_filter_mode: bool,
    /// The topic.
    pub topic: String,
    /// Expression as the user wrote it.
    #[serde(default, deserialize_with = "null_default")]
    pub sub_string: String,
    /// Tags wanted; none means all.
    #[serde(default, deserialize_with = "null_default")]
    pub tags_set: Vec<String>,
    /// Their hashes ([`crate::ids::tags_hash`]). Go writes them as text.
    #[serde(default, deserialize_with = "codes")]
    pub code_set: Vec<i32>,
    /// Grows with each change.
    #[serde(default, deserialize_with = "null_default")]
    pub sub_version: i64,
    /// `TAG` or `SQL92`.
    #[serde(default, deserialize_with = "null_default")]
    pub expression_type: String,
}

/// How a group gets its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ConsumeType {
    /// A pull consumer.
    #[serde(rename = "CONSUME_ACTIVELY")]
    Actively,
    /// A push consumer.
    #[serde(rename = "CONSUME_PASSIVELY")]
    Passively,
    /// A pop consumer.
    #[serde(rename = "CONSUME_POP")]
    Pop,
    /// A name we do not know.
    #[default]
    #[serde(other, rename = "UNKNOWN")]
    Unknown,
}

/// Whether the members of a group share the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum MessageModel {
    /// Every member gets every message.
    #[serde(rename = "BROADCASTING")]
    Broadcasting,
    /// Every message goes to one member.
    #[serde(rename = "CLUSTERING")]
    Clustering,
    /// A name we do not know.
    #[default]
    #[serde(other, rename = "UNKNOWN")]
    Unknown,
}

/// Where a group without offsets begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ConsumeFromWhere {
    /// At the end of the queue.
    #[serde(rename = "CONSUME_FROM_LAST_OFFSET")]
    LastOffset,
    /// At its beginning.
    #[serde(rename = "CONSUME_FROM_FIRST_OFFSET")]
    FirstOffset,
    /// At a store time that the client knows.
    #[serde(rename = "CONSUME_FROM_TIMESTAMP")]
    Timestamp,
    /// A name we do not know, such as the three that RocketMQ has given up.
    #[default]
    #[serde(other, rename = "UNKNOWN")]
    Unknown,
}

fn codes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code {
        Number(i32),
        Text(String),
    }
    let codes: Option<Vec<Code>> = Option::deserialize(input)?;
    let number = |code| match code {
        Code::Number(number) => Ok(number),
        Code::Text(text) => text
            .parse()
            .map_err(|_| serde::de::Error::custom("code is not a 32-bit integer")),
    };
    codes.unwrap_or_default().into_iter().map(number).collect()
}
