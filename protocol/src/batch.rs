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

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BatchMessage<'_> = BatchMessage {
        flag: 7,
        body: b"hi",
        properties: "a\u{1}b\u{2}",
    };

    fn encoded(messages: &[BatchMessage<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            encode(message, &mut body).unwrap();
        }
        body
    }

    #[test]
    fn a_record_has_the_known_bytes() {
        let golden = [
            &[0, 0, 0, 28][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 7],
            &[0, 0, 0, 2],
            b"hi",
            &[0, 4],
            b"a\x01b\x02",
        ];
        assert_eq!(encoded(&[ONE]), golden.concat());
    }

    #[test]
    fn messages_follow_each_other() {
        let two = BatchMessage {
            flag: 0,
            body: b"",
            properties: "",
        };
        let body = encoded(&[ONE, two, ONE]);
        let decoded: Result<Vec<_>, _> = decode(&body).collect();
        assert_eq!(decoded, Ok(vec![ONE, two, ONE]));
        assert_eq!(decode(b"").count(), 0);
    }

    #[test]
    fn a_cut_anywhere_ends_in_one_error() {
        let body = encoded(&[ONE, ONE]);
        for cut in 1..body.len() {
            let decoded: Vec<_> = decode(&body[..cut]).collect();
            let whole = cut / (body.len() / 2);
            assert!(decoded[..whole].iter().all(Result::is_ok), "cut at {cut}");
            let expected = whole + usize::from(cut % (body.len() / 2) != 0);
            assert_eq!(decoded.len(), expected, "cut at {cut}");
            assert!(
                decoded.get(whole).is_none_or(Result::is_err),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        let wrong = |at: usize, bytes: &[u8]| {
            let mut body = encoded(&[ONE]);
            body[at..at + bytes.len()].copy_from_slice(bytes);
            decode(&body).next().unwrap().unwrap_err()
        };
        assert_eq!(
            wrong(0, &[0, 0, 0, 27]),
            BatchError::SizeMismatch { said: 27, has: 28 }
        );
        assert_eq!(
            wrong(0, &[0xFF; 4]),
            BatchError::SizeMismatch { said: -1, has: 28 }
        );
        assert_eq!(
            wrong(16, &[0xFF; 4]),
            BatchError::NegativeLength("body length")
        );
        assert!(matches!(
            wrong(16, &[0x7F, 0xFF, 0xFF, 0xFF]),
            BatchError::Short(_)
        ));
        assert_eq!(
            wrong(22, &[0xFF; 2]),
            BatchError::NegativeLength("properties length")
        );
        assert_eq!(wrong(24, &[0xFF]), BatchError::NotUtf8);
    }

    #[test]
    fn properties_longer_than_their_length_field_are_refused() {
        let properties = "p".repeat(32_768);
        let message = BatchMessage {
            properties: &properties,
            ..ONE
        };
        let mut body = Vec::new();
        assert!(matches!(
            encode(&message, &mut body),
            Err(BatchError::TooLong {
                what: "properties",
                ..
            })
        ));
        assert!(body.is_empty());
    }
}
