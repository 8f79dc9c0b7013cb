//! The body of SEND_BATCH_MESSAGE: short records, one per message (class `MessageDecoder`). Topic, queue,
//! born time and system flag come from the request's header.
//!
//! | size | field | note |
//! |---|---|---|
//! | 4 | total size | of this record |
//! | 4 | magic | 0, not looked at |
//! | 4 | body CRC | 0, not looked at |
//! | 4 | flag | the user's |
//! | 4 + n | body length (i32), body | |
//! | 2 + n | properties length (i16), properties | |
//!
//! All integers big-endian.

use bytes::BufMut;

use crate::properties::PROPERTIES_BYTES_MAX;
use crate::read::{DecodeError, Reader};

/// Bytes of a record besides body and properties.
const FIXED_LEN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The property string.
    pub properties: &'a str,
}

/// Why bytes are not a batch, or messages cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end within a record.
    #[error("batch: {0}")]
    Short(#[from] DecodeError),
    /// A negative length.
    #[error("batch: negative {0}")]
    NegativeLength(&'static str),
    /// A record whose total size is not the sum of its parts.
    #[error("batch: record says {said} bytes and has {has}")]
    SizeMismatch {
        /// Its total size.
        said: i32,
        /// The sum.
        has: usize,
    },
    /// A property string that is no UTF-8.
    #[error("batch: properties are not UTF-8")]
    NotUtf8,
    /// More bytes than a length field can say.
    #[error("batch: {what} of {len} bytes is too long")]
    TooLong {
        /// Body or properties.
        what: &'static str,
        /// Its length.
        len: usize,
    },
}

/// The messages of a batch body, read one by one; ends after the first error.
pub fn decode(body: &[u8]) -> impl Iterator<Item = Result<BatchMessage<'_>, BatchError>> {
    let mut reader = Reader::new(body);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let message = decode_one(&mut reader);
        failed = message.is_err();
        Some(message)
    })
}

fn decode_one<'a>(reader: &mut Reader<'a>) -> Result<BatchMessage<'a>, BatchError> {
    let start = reader.offset();
    let said = reader.i32("total size")?;
    reader.bytes("magic and body CRC", 8)?;
    let flag = reader.i32("flag")?;
    let body_len = reader.i32("body length")?;
    let body_len =
        usize::try_from(body_len).map_err(|_| BatchError::NegativeLength("body length"))?;
    let body = reader.bytes("body", body_len)?;
    let properties_len = reader.i16("properties length")?;
    let properties_len = usize::try_from(properties_len)
        .map_err(|_| BatchError::NegativeLength("properties length"))?;
    let properties = reader.bytes("properties", properties_len)?;
    let properties = std::str::from_utf8(properties).map_err(|_| BatchError::NotUtf8)?;
    let has = reader.offset() - start;
    if usize::try_from(said) != Ok(has) {
        return Err(BatchError::SizeMismatch { said, has });
    }
    Ok(BatchMessage {
        flag,
        body,
        properties,
    })
}

/// Appends one message.
///
/// # Errors
/// Body or properties are too long; `dst` is then as it was.
pub fn encode(message: &BatchMessage<'_>, dst: &mut impl BufMut) -> Result<(), BatchError> {
    let total = FIXED_LEN + message.body.len() + message.properties.len();
    let too_long = |what, len| BatchError::TooLong { what, len };
    let body_len =
        i32::try_from(message.body.len()).map_err(|_| too_long("body", message.body.len()))?;
    let total = i32::try_from(total).map_err(|_| too_long("body", message.body.len()))?;
    let properties_len = i16::try_from(message.properties.len())
        .map_err(|_| too_long("properties", message.properties.len()))?;
    debug_assert!(message.properties.len() <= PROPERTIES_BYTES_MAX);
    dst.put_i32(total);
    dst.put_i32(0);
    dst.put_i32(0);
    dst.put_i32(message.flag);
    dst.put_i32(body_len);
    dst.put_slice(message.body);
    dst.put_i16(properties_len);
    dst.put_slice(message.properties.as_bytes());
    Ok(())
}
