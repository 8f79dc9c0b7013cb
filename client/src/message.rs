//! Messages as an application sees them: what it sends and what it receives, in owned memory.

use std::net::SocketAddr;

use bytes::Bytes;
use escrow_protocol::message::Message as Record;
use escrow_protocol::properties::{self, Properties, name};
use escrow_protocol::sysflag;

use crate::compression;
use crate::error::{Error, Result};

/// A larger body is refused before it is sent, and never inflated on receipt: the broker's `maxMessageSize`.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    pub(crate) properties: String,
}

impl Message {
    /// A message without tag and keys.
    #[must_use]
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            flag: 0,
            properties: String::new(),
        }
    }

    /// Sets the tag, by which consumers can filter.
    ///
    /// # Errors
    /// As [`Message::property`].
    pub fn tag(self, tag: &str) -> Result<Self> {
        self.property(name::TAGS, tag)
    }

    /// Sets the keys, separated by spaces, under which the message can be found again.
    ///
    /// # Errors
    /// As [`Message::property`].
    pub fn keys(self, keys: &str) -> Result<Self> {
        self.property(name::KEYS, keys)
    }

    /// Sets the key by which messages that must keep their order go to one queue; see
    /// [`Producer::send_by_key`](crate::Producer::send_by_key), which sets it itself.
    ///
    /// # Errors
    /// As [`Message::property`].
    pub fn sharding_key(self, key: &str) -> Result<Self> {
        self.property(name::SHARDING_KEY, key)
    }

    /// Has the broker deliver the message later: level 1 and up of its `messageDelayLevel` (as shipped: 1 s, 5 s, 10 s,
    /// 30 s, 1 min, 2 min, … 2 h). 0 takes a delay away again; a level over the highest counts as the highest.
    #[must_use]
    pub fn delay_level(mut self, level: u8) -> Self {
        properties::remove(&mut self.properties, name::DELAY);
        if level > 0 {
            properties::append(&mut self.properties, name::DELAY, &level.to_string());
        }
        self
    }

    /// Sets the flag, a number that RocketMQ carries for the application.
    #[must_use]
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Sets a property.
    ///
    /// # Errors
    /// [`Error::Message`] if name or value is empty or holds U+0001 or U+0002, which RocketMQ cannot carry.
    pub fn property(mut self, name: &str, value: &str) -> Result<Self> {
        let usable = |text: &str| !text.is_empty() && properties::is_clean(text);
        if !usable(name) || !usable(value) {
            return Err(Error::Message(
                "a property is empty or holds a separator (U+0001, U+0002)",
            ));
        }
        properties::set(&mut self.properties, name, value);
        Ok(self)
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.topic.is_empty() {
            return Err(Error::Message("the topic is empty"));
        }
        if self.body.is_empty() {
            return Err(Error::Message("the body is empty"));
        }
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Error::Message("the body is longer than 4 MiB"));
        }
        if self.properties.len() > properties::PROPERTIES_BYTES_MAX {
            return Err(Error::Message("the properties are longer than 32767 bytes"));
        }
        Ok(())
    }
}

/// A message that came from a broker, delivered or in a check.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    /// The topic.
    pub topic: String,
    /// The queue.
    pub queue_id: i32,
    /// Position in the queue; of an undecided half, in the half queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub physical_offset: i64,
    /// The body, inflated if the producer compressed it.
    pub body: Bytes,
    /// When the producer made it, in ms by the producer's clock.
    pub born_timestamp: i64,
    /// When the broker stored it (of a committed half: when it was committed), in ms.
    pub store_timestamp: i64,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often this consumer group failed to consume it.
    pub reconsume_times: i32,
    /// The number that the producer gave it, see [`Message::flag`].
    pub flag: i32,
    /// RocketMQ's system flag: compression, transaction state.
    pub sys_flag: i32,
    /// Of a committed half, its position in the commit log; else 0.
    pub prepared_transaction_offset: i64,
    properties: String,
    offset_id: String,
}

impl ReceivedMessage {
    /// Takes a record out of a reply.
    ///
    /// # Errors
    /// A text that says why the body cannot be read.
    pub fn from_record(record: &Record<'_>) -> std::result::Result<Self, String> {
        let mut message = Self::as_stored(record);
        message.inflate()?;
        Ok(message)
    }

    /// Takes a record out of a reply, with its body still compressed if it is.
    pub(crate) fn as_stored(record: &Record<'_>) -> Self {
        Self {
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            body: Bytes::copy_from_slice(record.body),
            born_timestamp: record.born_timestamp,
            store_timestamp: record.store_timestamp,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            flag: record.flag,
            sys_flag: record.sys_flag,
            prepared_transaction_offset: record.prepared_transaction_offset,
            properties: record.properties.to_owned(),
            offset_id: record.offset_message_id(),
        }
    }

    /// Puts the plain body in the place of the stored one.
    ///
    /// # Errors
    /// A text that says why it cannot be read; the body stays as it is.
    pub(crate) fn inflate(&mut self) -> std::result::Result<(), String> {
        if self.sys_flag & sysflag::COMPRESSED != 0 {
            self.body = compression::inflate(&self.body, self.sys_flag)?;
        }
        Ok(())
    }

    /// The id by which applications know a message: the producer's unique key, else the broker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.get(name::UNIQ_KEY).unwrap_or(&self.offset_id)
    }

    /// The broker's id: its address and the physical offset.
    #[must_use]
    pub fn offset_id(&self) -> &str {
        &self.offset_id
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.get(name::TAGS)
    }

    /// The keys, each of them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        Properties(&self.properties).keys()
    }

    pub(crate) fn properties_text(&self) -> &str {
        &self.properties
    }

    /// All properties, in no particular order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        Properties(&self.properties).iter()
    }

    /// A property, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        Properties(&self.properties).get(name)
    }
}
