//! SEND_MESSAGE in its three forms.

use super::field::{HeaderError, Value, header, optional, required};
use crate::frame::ExtFields;

/// SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320): one header under long names and
/// under one-letter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendRequest<'a> {
    /// Producer group.
    pub producer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Topic to take after if `topic` has to be created.
    pub default_topic: &'a str,
    /// Queues that a created topic gets, at most.
    pub default_topic_queues: i32,
    /// Queue; below 0 the broker chooses.
    pub queue_id: i32,
    /// System flag ([`crate::sysflag`]).
    pub sys_flag: i32,
    /// When the message was made, ms by the producer's clock.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// Property string ([`crate::properties`]).
    pub properties: Option<&'a str>,
    /// Retries so far, on a send to a retry topic.
    pub reconsume_times: Option<i32>,
    /// Unit mode.
    pub unit_mode: bool,
    /// Retries allowed, on a send to a retry topic.
    pub reconsume_times_max: Option<i32>,
    /// The body is a batch ([`crate::batch`]).
    pub batch: bool,
    /// Broker that the request is meant for.
    pub broker_name: Option<&'a str>,
}

/// Long name and one-letter name of each field, in the order of the letters.
const NAMES: [(&str, &str); 14] = [
    ("producerGroup", "a"),
    ("topic", "b"),
    ("defaultTopic", "c"),
    ("defaultTopicQueueNums", "d"),
    ("queueId", "e"),
    ("sysFlag", "f"),
    ("bornTimestamp", "g"),
    ("flag", "h"),
    ("properties", "i"),
    ("reconsumeTimes", "j"),
    ("unitMode", "k"),
    ("maxReconsumeTimes", "l"),
    ("batch", "m"),
    ("bname", "n"),
];

/// The number of a field by either of its names.
fn field_index(name: &str) -> Option<usize> {
    match name.as_bytes() {
        [letter @ b'a'..=b'n'] => Some(usize::from(letter - b'a')),
        [_] => None,
        _ => NAMES.iter().position(|(long, _)| *long == name),
    }
}

impl<'a> SendRequest<'a> {
    /// Reads the header, whichever names it uses.
    ///
    /// # Errors
    /// A required field is missing, or a field is malformed.
    pub fn decode(ext: &'a ExtFields) -> Result<Self, HeaderError> {
        let mut texts = [None; NAMES.len()];
        for (name, text) in ext.iter() {
            if let Some(place) = field_index(name).and_then(|index| texts.get_mut(index)) {
                *place = Some(text);
            }
        }
        let [
            group,
            topic,
            default_topic,
            queues,
            queue_id,
            sys_flag,
            born,
            flag,
            properties,
            rest @ ..,
        ] = texts;
        let [
            reconsume_times,
            unit_mode,
            reconsume_times_max,
            batch,
            broker_name,
        ] = rest;
        Ok(SendRequest {
            producer_group: required(group, "producerGroup")?,
            topic: required(topic, "topic")?,
            default_topic: required(default_topic, "defaultTopic")?,
            default_topic_queues: required(queues, "defaultTopicQueueNums")?,
            queue_id: required(queue_id, "queueId")?,
            sys_flag: required(sys_flag, "sysFlag")?,
            born_timestamp: required(born, "bornTimestamp")?,
            flag: required(flag, "flag")?,
            properties: optional(properties, "properties")?,
            reconsume_times: optional(reconsume_times, "reconsumeTimes")?,
            unit_mode: optional(unit_mode, "unitMode")?.unwrap_or(false),
            reconsume_times_max: optional(reconsume_times_max, "maxReconsumeTimes")?,
            batch: optional(batch, "batch")?.unwrap_or(false),
            broker_name: optional(broker_name, "bname")?,
        })
    }

    /// Adds the fields under their one-letter names, for 310 and 320.
    pub fn encode(&self, ext: &mut ExtFields) {
        self.put(ext, NAMES.map(|(_, short)| short));
    }

    /// Adds the fields under their long names, for 10.
    pub fn encode_long(&self, ext: &mut ExtFields) {
        self.put(ext, NAMES.map(|(long, _)| long));
    }

    fn put(&self, ext: &mut ExtFields, names: [&'static str; NAMES.len()]) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = names;
        self.producer_group.put(a, ext);
        self.topic.put(b, ext);
        self.default_topic.put(c, ext);
        self.default_topic_queues.put(d, ext);
        self.queue_id.put(e, ext);
        self.sys_flag.put(f, ext);
        self.born_timestamp.put(g, ext);
        self.flag.put(h, ext);
        put_some(self.properties, i, ext);
        put_some(self.reconsume_times, j, ext);
        self.unit_mode.put(k, ext);
        put_some(self.reconsume_times_max, l, ext);
        self.batch.put(m, ext);
        put_some(self.broker_name, n, ext);
    }
}

fn put_some<'v, V: Value<'v>>(value: Option<V>, name: &'static str, ext: &mut ExtFields) {
    if let Some(value) = value {
        value.put(name, ext);
    }
}

header! {
    /// Response to all three. Java reads it with the codes 0, 10, 11 and 12 alike.
    SendResponse<'a> {
        /// Id made of store host and physical offset; several, joined by commas, for a batch.
        required message_id: &'a str = "msgId",
        /// Queue that the message is in; of a half message, the queue it is meant for.
        required queue_id: i32 = "queueId",
        /// Position there (of a batch, the first); of a half message, its position in the half queue.
        required queue_offset: i64 = "queueOffset",
        /// `UNIQ_KEY`.
        optional transaction_id: &'a str = "transactionId",
        /// Unique keys of a batch.
        optional batch_unique_id: &'a str = "batchUniqId",
        /// Handle to recall a timer message.
        optional recall_handle: &'a str = "recallHandle",
        /// Region. Java looks for it in every response to a send.
        optional region: &'a str = "MSG_REGION",
        /// `false` switches tracing off.
        optional trace_on: bool = "TRACE_ON",
    }
}
