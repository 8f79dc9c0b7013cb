//! What is sent, apart from where to.

use bytes::Bytes;
use escrow_protocol::properties::{self, name};

use crate::compression;
use crate::message::{Message, ReceivedMessage};

/// What one send carries, whatever queue it goes to.
pub(crate) struct Content<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) properties: String,
    pub(crate) batch: bool,
    pub(crate) reconsumed: Option<Reconsumed>,
}

/// What a message that failed says about itself when it is sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reconsumed {
    pub(crate) times: i32,
    pub(crate) times_max: i32,
}

impl<'a> Content<'a> {
    /// A message under a unique key; `half_of` is the producer group if it is to be a half, else empty.
    pub(crate) fn plain(message: &'a Message, key: &str, half_of: &str) -> Self {
        let mut properties = keyed_properties(message, key);
        if !half_of.is_empty() {
            properties::set(&mut properties, name::TRAN_MSG, "true");
            properties::set(&mut properties, name::PGROUP, half_of);
        }
        let (body, sys_flag) = compression::compress(&message.body);
        Self {
            topic: &message.topic,
            body,
            flag: message.flag,
            sys_flag,
            properties,
            batch: false,
            reconsumed: None,
        }
    }

    /// A message that was received, for the retry topic of its group.
    pub(crate) fn again(
        retry_topic: &'a str,
        message: &ReceivedMessage,
        properties: String,
        reconsumed: Reconsumed,
    ) -> Self {
        let (body, sys_flag) = compression::compress(&message.body);
        Self {
            topic: retry_topic,
            body,
            flag: message.flag,
            sys_flag,
            properties,
            batch: false,
            reconsumed: Some(reconsumed),
        }
    }
}

pub(super) fn keyed_properties(message: &Message, key: &str) -> String {
    let mut text = message.properties.clone();
    properties::set(&mut text, name::UNIQ_KEY, key);
    properties::set(&mut text, name::WAIT, "true");
    text
}
