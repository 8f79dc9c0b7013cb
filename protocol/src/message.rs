//! The message record: what consumers get, what VIEW, QUERY and a check carry, and what a store keeps
//! (classes `MessageDecoder`, `MessageExtEncoder`).
//!
//! | offset | size | field | note |
//! |---|---|---|---|
//! | 0 | 4 | total size | of the whole record |
//! | 4 | 4 | magic | V1 `DAA320A7`, V2 `DAA320AB` |
//! | 8 | 4 | body CRC | CRC-32 (IEEE) of the body, without the highest bit |
//! | 12 | 4 | queue id | patched |
//! | 16 | 4 | flag | the user's |
//! | 20 | 8 | queue offset | patched |
//! | 28 | 8 | physical offset | patched |
//! | 36 | 4 | system flag | patched, but for the bits that say how long the hosts are |
//! | 40 | 8 | born timestamp | ms |
//! | 48 | b = 8 or 20 | born host | address (4, or 16 if flag 0x10), port (i32) |
//! | 48 + b | 8 | store timestamp | ms, patched |
//! | 56 + b | s = 8 or 20 | store host | address (4, or 16 if flag 0x20), port (i32) |
//! | 56 + b + s | 4 | reconsume times | |
//! | 60 + b + s | 8 | prepared transaction offset | patched |
//! | 68 + b + s | 4 + n | body length (i32), body | |
//! | | 1 + n or 2 + n | topic length, topic | V1: u8 up to 127; V2: i16 |
//! | | 2 + n | properties length (i16), properties | |
//!
//! All integers big-endian. V2 is written only for topics over 127 bytes, since Go clients read V1 alone.

mod codec;
mod patch;

use std::net::SocketAddr;

use crate::properties::Properties;
use crate::read::DecodeError;

pub use codec::{decode, decode_all, encode, encoded_len, view};
pub use patch::{HeadPatch, append_property, patch_head};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;

/// One message record; its variable parts are borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Queue that the message is in.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub physical_offset: i64,
    /// System flag ([`crate::sysflag`]). Encoding sets the two host bits as the hosts need them.
    pub sys_flag: i32,
    /// When the producer made the message, in ms by its own clock.
    pub born_timestamp: i64,
    /// Where the producer was.
    pub born_host: SocketAddr,
    /// When the broker stored the message, in ms.
    pub store_timestamp: i64,
    /// The broker's advertised address; part of the message id.
    pub store_host: SocketAddr,
    /// How often a consumer group has tried already.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this one came from, else 0.
    pub prepared_transaction_offset: i64,
    /// The body, compressed or not as the producer chose.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a str,
    /// The property string ([`Properties`]).
    pub properties: &'a str,
}

impl<'a> Message<'a> {
    /// The property string, for look-ups.
    pub fn properties(&self) -> Properties<'a> {
        Properties(self.properties)
    }

    /// The id made of store host and physical offset.
    pub fn offset_message_id(&self) -> String {
        crate::ids::offset_message_id(self.store_host, self.physical_offset)
    }
}

/// The layout of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordVersion {
    /// Topic up to 127 bytes.
    V1,
    /// Longer topics.
    V2,
}

/// A decoded record with what belongs to the record rather than to the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// The message.
    pub message: Message<'a>,
    /// Bytes of the whole record.
    pub size: usize,
    /// Layout of the record.
    pub version: RecordVersion,
    /// Checksum of the body as the record states it.
    pub body_crc: u32,
}

impl MessageView<'_> {
    /// True if the body has the checksum that the record states. Decoding does not look.
    pub fn body_is_intact(&self) -> bool {
        codec::body_crc(self.message.body) == self.body_crc
    }
}

/// Why bytes are not a message record, or a message cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end within the record.
    #[error("message record: {0}")]
    Short(#[from] DecodeError),
    /// The record begins with something else.
    #[error("message record: unknown magic {0:08X}")]
    Magic(u32),
    /// A total size that is not the sum of the parts.
    #[error("message record: says {said} bytes and has {has}")]
    SizeMismatch {
        /// Its total size.
        said: i32,
        /// The sum.
        has: usize,
    },
    /// A negative length.
    #[error("message record: negative {0}")]
    NegativeLength(&'static str),
    /// A port that does not fit 16 bits.
    #[error("message record: {what} has port {port}")]
    Port {
        /// Which host.
        what: &'static str,
        /// Its port.
        port: i32,
    },
    /// A topic or property string that is no UTF-8.
    #[error("message record: {0} is not UTF-8")]
    NotUtf8(&'static str),
    /// More bytes than a length field can say.
    #[error("message record: {what} of {len} bytes is longer than {max}")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
}

#[cfg(test)]
mod tests;
