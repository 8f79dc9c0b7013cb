//! Message ids and the hash of a tag.

use std::net::{IpAddr, SocketAddr};

use crate::read::Reader;

/// Why a text is not a message id made of an address and an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdError {
    /// Neither 32 (IPv4) nor 56 (IPv6) characters.
    #[error("message id has {0} characters instead of 32 or 56")]
    Length(usize),
    /// A character that is no hex digit.
    #[error("message id is not hexadecimal")]
    NotHex,
    /// The port does not fit 16 bits.
    #[error("message id names port {0}")]
    Port(i32),
}

/// The id that a broker gives a message: upper-case hex of its address (4 or 16 bytes), port (i32) and the
/// record's physical offset (i64), big-endian (class `MessageDecoder`).
pub fn offset_message_id(host: SocketAddr, offset: i64) -> String {
    let mut id = String::with_capacity(56);
    push_offset_message_id(&mut id, host, offset);
    id
}

/// Appends what [`offset_message_id`] gives.
pub fn push_offset_message_id(text: &mut String, host: SocketAddr, offset: i64) {
    match host.ip() {
        IpAddr::V4(ip) => push_hex(text, &ip.octets()),
        IpAddr::V6(ip) => push_hex(text, &ip.octets()),
    }
    push_hex(text, &i32::from(host.port()).to_be_bytes());
    push_hex(text, &offset.to_be_bytes());
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xF] {
            let digit = DIGITS.get(usize::from(nibble)).copied();
            text.push(char::from(digit.unwrap_or_default()));
        }
    }
}

/// Reads what [`offset_message_id`] wrote, in either case.
///
/// # Errors
/// The text is no such id. An id made by a client (`UNIQ_KEY`) has the same form and reads as nonsense:
/// whoever looks up the offset must check what is there.
pub fn decode_offset_message_id(id: &str) -> Result<(SocketAddr, i64), MessageIdError> {
    if id.len() != 32 && id.len() != 56 {
        return Err(MessageIdError::Length(id.len()));
    }
    let mut bytes = Vec::with_capacity(28);
    for pair in id.as_bytes().chunks_exact(2) {
        let digits = std::str::from_utf8(pair).map_err(|_| MessageIdError::NotHex)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(MessageIdError::NotHex);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| MessageIdError::NotHex)?);
    }
    let mut reader = Reader::new(&bytes);
    let length = MessageIdError::Length(id.len());
    let ip = if bytes.len() == 16 {
        reader.array::<4>("address").map(IpAddr::from)
    } else {
        reader.array::<16>("address").map(IpAddr::from)
    };
    let (Ok(ip), Ok(port), Ok(offset)) = (ip, reader.i32("port"), reader.i64("offset")) else {
        return Err(length);
    };
    let port = u16::try_from(port).map_err(|_| MessageIdError::Port(port))?;
    Ok((SocketAddr::new(ip, port), offset))
}

/// The tag code of a consume queue: Java's `String.hashCode` (31·h + UTF-16 unit, wrapping at 32 bits),
/// sign-extended. A message without tag, or with an empty one, has 0.
pub fn tags_hash(tags: &str) -> i64 {
    let hash = tags.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    i64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_id_has_the_known_form() {
        let host = "127.0.0.1:10911".parse().unwrap();
        let id = offset_message_id(host, 0x1234);
        assert_eq!(id, "7F00000100002A9F0000000000001234");
        assert_eq!(decode_offset_message_id(&id), Ok((host, 0x1234)));
        assert_eq!(
            decode_offset_message_id(&id.to_lowercase()),
            Ok((host, 0x1234))
        );
    }

    #[test]
    fn what_is_no_offset_id_is_refused() {
        assert_eq!(decode_offset_message_id(""), Err(MessageIdError::Length(0)));
        assert_eq!(
            decode_offset_message_id(&"0".repeat(31)),
            Err(MessageIdError::Length(31))
        );
        assert_eq!(
            decode_offset_message_id(&"+1".repeat(16)),
            Err(MessageIdError::NotHex)
        );
        assert_eq!(
            decode_offset_message_id(&"ä".repeat(16)),
            Err(MessageIdError::NotHex)
        );
        let port = format!("7F000001{:08X}{:016X}", 65_536, 0);
        assert_eq!(
            decode_offset_message_id(&port),
            Err(MessageIdError::Port(65_536))
        );
    }

    #[test]
    fn tags_hash_like_java() {
        assert_eq!(tags_hash("TagA"), 2_598_919);
        assert_eq!(tags_hash(""), 0);
        assert_eq!(tags_hash("polygenelubricants"), i64::from(i32::MIN));
        assert_eq!(tags_hash("\u{1F600}"), i64::from(0xD83D * 31 + 0xDE00));
    }
}
