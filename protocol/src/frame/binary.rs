//! The ROCKETMQ header (class `RocketMQSerializable`); all integers big-endian.
//!
//! | size | field |
//! |---|---|
//! | 2 | code (i16) |
//! | 1 | language |
//! | 2 | version (i16) |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 + n | remark length, remark (UTF-8; length 0: none) |
//! | 4 | length of all that follows |
//! | 2 + k, 4 + v | name length (i16), name, value length (i32), value; repeated |

use bytes::{BufMut, Bytes, BytesMut};

use super::{EXT_FIELDS_MAX, ExtFields, Frame, FrameError, Serialization};
use crate::read::Reader;

/// Reads a header; the frame it gives has no body yet.
pub(super) fn decode(header: &[u8]) -> Result<Frame, FrameError> {
    let mut reader = Reader::new(header);
    let code = i32::from(reader.i16("code")?);
    let language = reader.u8("language")?;
    let version = i32::from(reader.i16("version")?);
    let opaque = reader.i32("opaque")?;
    let flag = reader.i32("flag")?;
    let remark_len = reader.i32("remark length")?;
    let remark = text(&mut reader, "remark", remark_len)?;
    let ext_len = length("extFields", reader.i32("extFields length")?)?;
    let ext = decode_ext(reader.bytes("extFields", ext_len)?)?;
    Ok(Frame {
        code,
        language,
        version,
        opaque,
        flag,
        remark: (!remark.is_empty()).then(|| remark.to_owned()),
        ext,
        body: Bytes::new(),
        serialization: Serialization::RocketMq,
    })
}

fn decode_ext(bytes: &[u8]) -> Result<ExtFields, FrameError> {
    let mut ext = if bytes.is_empty() {
        ExtFields::new()
    } else {
        ExtFields::with_capacity(16, bytes.len())
    };
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let name_len = i32::from(reader.i16("field name length")?);
        let name = text(&mut reader, "field name", name_len)?;
        let value_len = reader.i32("field value length")?;
        let value = text(&mut reader, "field value", value_len)?;
        if ext.len() == EXT_FIELDS_MAX {
            return Err(FrameError::TooManyFields);
        }
        // Java reads an empty name as null, under which nobody can find the value.
        if !name.is_empty() {
            ext.insert(name, value);
        }
    }
    Ok(ext)
}

fn text<'a>(reader: &mut Reader<'a>, what: &'static str, len: i32) -> Result<&'a str, FrameError> {
    let len = length(what, len)?;
    let offset = reader.offset();
    let bytes = reader.bytes(what, len)?;
    std::str::from_utf8(bytes).map_err(|error| FrameError::NotUtf8(offset + error.valid_up_to()))
}

fn length(what: &'static str, len: i32) -> Result<usize, FrameError> {
    usize::try_from(len).map_err(|_| FrameError::NegativeLength(what))
}

/// Appends the header; false if it does not fit this form, and then what was written must be dropped.
pub(super) fn encode(frame: &Frame, dst: &mut BytesMut) -> bool {
    try_encode(frame, dst).is_some()
}

fn try_encode(frame: &Frame, dst: &mut BytesMut) -> Option<()> {
    dst.put_i16(i16::try_from(frame.code).ok()?);
    dst.put_u8(frame.language);
    dst.put_i16(i16::try_from(frame.version).ok()?);
    dst.put_i32(frame.opaque);
    dst.put_i32(frame.flag);
    let remark = frame.remark.as_deref().unwrap_or_default();
    dst.put_i32(i32::try_from(remark.len()).ok()?);
    dst.put_slice(remark.as_bytes());
    let ext_len: usize = frame
        .ext
        .iter()
        .map(|(name, value)| 2 + name.len() + 4 + value.len())
        .sum();
    dst.put_i32(i32::try_from(ext_len).ok()?);
    for (name, value) in frame.ext.iter() {
        dst.put_i16(i16::try_from(name.len()).ok()?);
        dst.put_slice(name.as_bytes());
        dst.put_i32(i32::try_from(value.len()).ok()?);
        dst.put_slice(value.as_bytes());
    }
    Some(())
}
