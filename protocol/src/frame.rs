//! The remoting frame, RocketMQ's `RemotingCommand`: one request or response on a connection.
//!
//! | offset | size | field | note |
//! |---|---|---|---|
//! | 0 | 4 | length | i32 big-endian, bytes after this word |
//! | 4 | 1 | serialization | 0 JSON, 1 ROCKETMQ |
//! | 5 | 3 | header length | u24 big-endian |
//! | 8 | n | header | JSON or binary, see `frame/json.rs` and `frame/binary.rs` |
//! | 8 + n | m | body | length - 4 - n bytes |
//!
//! (classes `NettyDecoder`, `NettyEncoder`, `RemotingCommand`)

mod binary;
mod ext;
mod json;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::read::DecodeError;
use crate::version;

pub use ext::ExtFields;
pub use json::JsonError;

/// The largest frame, its length word included; Apache's `com.rocketmq.remoting.frameMaxLength`.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most `extFields` a header may have. Stock clients send fewer than thirty.
pub const EXT_FIELDS_MAX: usize = 512;

/// Length word and header word.
const PREFIX: usize = 8;

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;

/// Ordinals of `LanguageCode`, in [`Frame::language`].
pub mod language {
    /// Java, which servers say they are.
    pub const JAVA: u8 = 0;
    /// C++.
    pub const CPP: u8 = 1;
    /// Anything that has no code of its own.
    pub const OTHER: u8 = 7;
    /// Go.
    pub const GO: u8 = 9;
    /// Rust.
    pub const RUST: u8 = 12;

    const NAMES: [&str; 14] = [
        "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO",
        "PHP", "OMS", "RUST", "NODE_JS",
    ];

    /// True for an ordinal that has a name.
    pub(super) fn is_known(ordinal: u8) -> bool {
        usize::from(ordinal) < NAMES.len()
    }

    /// The name of an ordinal; unknown ones are `OTHER`.
    pub fn name(ordinal: u8) -> &'static str {
        NAMES.get(usize::from(ordinal)).copied().unwrap_or("OTHER")
    }

    /// The ordinal of a name; unknown ones are [`OTHER`].
    pub fn ordinal(name: &str) -> u8 {
        let known = NAMES.iter().position(|known| *known == name);
        known.and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER)
    }
}

/// How a frame's header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// JSON text, the default of all clients.
    #[default]
    Json,
    /// RocketMQ's binary header, which has room for 16-bit codes only.
    RocketMq,
}

/// One request or response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// A request code ([`crate::code::request`]) or a response code ([`crate::code::response`]).
    pub code: i32,
    /// Ordinal of the sender's language ([`language`]).
    pub language: u8,
    /// Ordinal of the sender's version ([`crate::version`]).
    pub version: i32,
    /// Ties a response to its request; each direction of a connection counts for itself.
    pub opaque: i32,
    /// Bit 0: response. Bit 1: oneway.
    pub flag: i32,
    /// Free text, on a response mostly the reason of a refusal.
    pub remark: Option<String>,
    /// The fields of the request's or response's own header.
    pub ext: ExtFields,
    /// The body, possibly empty.
    pub body: Bytes,
    /// How the header was or will be written.
    pub serialization: Serialization,
}

/// Why bytes are not a frame, or a frame cannot become bytes. After a decoding error the framing is lost
/// and the connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length word is negative or leaves no room for the header word.
    #[error("frame length {0} is too small")]
    TooShort(i32),
    /// The frame is longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// The header would end behind the frame.
    #[error("header of {header} bytes in a frame of length {frame}")]
    HeaderTooLong {
        /// Header length given by the header word.
        header: usize,
        /// Value of the length word.
        frame: usize,
    },
    /// Neither JSON nor ROCKETMQ.
    #[error("unknown header serialization {0}")]
    UnknownSerialization(u8),
    /// The header is not UTF-8.
    #[error("header is not UTF-8 from offset {0} on")]
    NotUtf8(usize),
    /// A JSON header that is not the JSON we need.
    #[error("JSON header: {0}")]
    Json(#[from] JsonError),
    /// A binary header that ends too early or holds a wrong length.
    #[error("binary header: {0}")]
    Binary(#[from] DecodeError),
    /// A negative length in a binary header.
    #[error("binary header: negative length of {0}")]
    NegativeLength(&'static str),
    /// More than [`EXT_FIELDS_MAX`] fields.
    #[error("more than {EXT_FIELDS_MAX} header fields")]
    TooManyFields,
}

impl Frame {
    /// A request in JSON, from a Rust program, with opaque 0 and without body.
    pub fn request(code: i32) -> Self {
        Frame {
            code,
            language: language::RUST,
            version: version::V5_5_0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::new(),
            body: Bytes::new(),
            serialization: Serialization::Json,
        }
    }

    /// A response with the opaque and the serialization of its request. It says it comes from `JAVA`, as
    /// every Apache server does, since some clients know no other.
    pub fn response_to(request: &Frame, code: i32) -> Self {
        Frame {
            language: language::JAVA,
            opaque: request.opaque,
            flag: FLAG_RESPONSE,
            serialization: request.serialization,
            ..Frame::request(code)
        }
    }

    /// The same frame with a remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// The same frame with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same frame, marked as needing no response.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// True for a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// True if the sender wants no response, not even an error.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Takes one whole frame from the front of `src`; `None` if it is not all there yet, and then `src` is
    /// left alone. The frame's body shares the memory of `src`.
    ///
    /// # Errors
    /// The bytes are no frame, or one over a limit; found as early as the bytes at hand allow. `src` is
    /// then in no defined state.
    pub fn decode(src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((length_word, rest)) = src.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = frame_length(i32::from_be_bytes(*length_word))?;
        let Some((header_word, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let [serialization, high, middle, low] = *header_word;
        let header_len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let serialization = match serialization {
            0 => Serialization::Json,
            1 => Serialization::RocketMq,
            other => return Err(FrameError::UnknownSerialization(other)),
        };
        let Some(body_len) = (length - 4).checked_sub(header_len) else {
            return Err(FrameError::HeaderTooLong {
                header: header_len,
                frame: length,
            });
        };
        if rest.len() < length - 4 {
            return Ok(None);
        }
        let header = rest.get(..header_len).unwrap_or_default();
        let mut frame = match serialization {
            Serialization::Json => json::decode(header)?,
            Serialization::RocketMq => binary::decode(header)?,
        };
        src.advance(PREFIX + header_len);
        frame.body = src.split_to(body_len).freeze();
        Ok(Some(frame))
    }

    /// Appends the whole frame to `dst`.
    ///
    /// # Errors
    /// The frame is over [`FRAME_BYTES_MAX`]; `dst` is then as it was.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), FrameError> {
        self.encode_head(dst)?;
        dst.extend_from_slice(&self.body);
        Ok(())
    }

    /// Appends everything but the body, for callers that write the body from where it is.
    ///
    /// A header that does not fit the binary form (a code over 16 bits) is written as JSON, which every
    /// client reads.
    ///
    /// # Errors
    /// Head and body together are over [`FRAME_BYTES_MAX`]; `dst` is then as it was.
    pub fn encode_head(&self, dst: &mut BytesMut) -> Result<(), FrameError> {
        let start = dst.len();
        dst.reserve(PREFIX + 128 + self.ext.text_len() + 8 * self.ext.len());
        dst.put_u64(0);
        let binary = self.serialization == Serialization::RocketMq && binary::encode(self, dst);
        if !binary {
            dst.truncate(start + PREFIX);
            json::encode(self, dst);
        }
        let header_len = dst.len() - start - PREFIX;
        let total = PREFIX + header_len + self.body.len();
        let words = if total <= FRAME_BYTES_MAX {
            prefix(binary, header_len, total)
        } else {
            None
        };
        match (words, dst.get_mut(start..start + PREFIX)) {
            (Some(words), Some(place)) => {
                place.copy_from_slice(&words.to_be_bytes());
                Ok(())
            }
            _ => {
                dst.truncate(start);
                Err(FrameError::TooLong(total))
            }
        }
    }
}

/// Checks the length word before anything waits or allocates for the bytes that it promises.
fn frame_length(word: i32) -> Result<usize, FrameError> {
    let length = usize::try_from(word).map_err(|_| FrameError::TooShort(word))?;
    if length < 4 {
        return Err(FrameError::TooShort(word));
    }
    if length > FRAME_BYTES_MAX - 4 {
        return Err(FrameError::TooLong(length.saturating_add(4)));
    }
    Ok(length)
}

/// The two leading words; `None` if a length does not fit its word.
fn prefix(binary: bool, header_len: usize, total: usize) -> Option<u64> {
    let header_word = u32::try_from(header_len)
        .ok()
        .filter(|len| *len < 1 << 24)?
        | u32::from(binary) << 24;
    let length = u32::try_from(total - 4).ok()?;
    Some(u64::from(length) << 32 | u64::from(header_word))
}

#[cfg(test)]
mod tests;
