//! Record <-> [`Message`].

use std::net::{IpAddr, SocketAddr};

use bytes::BufMut;

use super::{MAGIC_V1, MAGIC_V2, Message, MessageError, MessageView, RecordVersion};
use crate::properties::PROPERTIES_BYTES_MAX;
use crate::read::Reader;
use crate::sysflag::{BORN_HOST_V6, HOST_MASK, STORE_HOST_V6};

/// Everything but hosts, body, topic and properties; the topic length counted as one byte.
const FIXED_LEN: usize = 68 + 4 + 1 + 2;

/// The longest topic that a V1 record can hold.
const V1_TOPIC_BYTES_MAX: usize = 127;

/// The longest topic that a V2 record can hold, in bytes.
const TOPIC_BYTES_MAX: usize = 32_767;

/// How many bytes the record takes.
pub fn encoded_len(message: &Message<'_>) -> usize {
    FIXED_LEN
        + host_len(message.born_host)
        + host_len(message.store_host)
        + message.body.len()
        + message.topic.len()
        + usize::from(version_of(message) == RecordVersion::V2)
        + message.properties.len()
}

fn version_of(message: &Message<'_>) -> RecordVersion {
    if message.topic.len() > V1_TOPIC_BYTES_MAX {
        RecordVersion::V2
    } else {
        RecordVersion::V1
    }
}

fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

pub(super) fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// Appends the record and gives its length.
///
/// # Errors
/// A part is too long for its length field; `dst` is then as it was.
pub fn encode(message: &Message<'_>, dst: &mut impl BufMut) -> Result<usize, MessageError> {
    let len = encoded_len(message);
    let total = length32("record", len)?;
    let body_len = length32("body", message.body.len())?;
    let topic_len = length16("topic", message.topic.len(), TOPIC_BYTES_MAX)?;
    let properties_len = length16("properties", message.properties.len(), PROPERTIES_BYTES_MAX)?;
    let version = version_of(message);
    dst.put_i32(total);
    dst.put_u32(if version == RecordVersion::V1 {
        MAGIC_V1
    } else {
        MAGIC_V2
    });
    dst.put_u32(body_crc(message.body));
    dst.put_i32(message.queue_id);
    dst.put_i32(message.flag);
    dst.put_i64(message.queue_offset);
    dst.put_i64(message.physical_offset);
    dst.put_i32(message.sys_flag & !HOST_MASK | host_bits(message));
    dst.put_i64(message.born_timestamp);
    put_host(dst, message.born_host);
    dst.put_i64(message.store_timestamp);
    put_host(dst, message.store_host);
    dst.put_i32(message.reconsume_times);
    dst.put_i64(message.prepared_transaction_offset);
    dst.put_i32(body_len);
    dst.put_slice(message.body);
    match (version, u8::try_from(topic_len)) {
        (RecordVersion::V1, Ok(topic_len)) => dst.put_u8(topic_len),
        _ => dst.put_i16(topic_len),
    }
    dst.put_slice(message.topic.as_bytes());
    dst.put_i16(properties_len);
    dst.put_slice(message.properties.as_bytes());
    Ok(len)
}

pub(super) fn length32(what: &'static str, len: usize) -> Result<i32, MessageError> {
    const MAX: usize = 0x7FFF_FFFF;
    i32::try_from(len).map_err(|_| MessageError::TooLong {
        what,
        len,
        max: MAX,
    })
}

pub(super) fn length16(what: &'static str, len: usize, max: usize) -> Result<i16, MessageError> {
    i16::try_from(len).map_err(|_| MessageError::TooLong { what, len, max })
}

fn host_bits(message: &Message<'_>) -> i32 {
    let born = if message.born_host.is_ipv6() {
        BORN_HOST_V6
    } else {
        0
    };
    let store = if message.store_host.is_ipv6() {
        STORE_HOST_V6
    } else {
        0
    };
    born | store
}

fn put_host(dst: &mut impl BufMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => dst.put_slice(&ip.octets()),
        IpAddr::V6(ip) => dst.put_slice(&ip.octets()),
    }
    dst.put_i32(i32::from(host.port()));
}

/// Reads the record at the front of `bytes`; whatever follows it is ignored.
///
/// # Errors
/// There is no whole record. The body's checksum is not looked at, see [`view`].
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, MessageError> {
    view(bytes).map(|view| view.message)
}

/// Reads concatenated records, as a pull response carries them; ends after the first error.
pub fn decode_all(bytes: &[u8]) -> impl Iterator<Item = Result<MessageView<'_>, MessageError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = view(rest);
        let size = record.as_ref().map_or(rest.len(), |record| record.size);
        rest = rest.get(size..).unwrap_or_default();
        Some(record)
    })
}

/// Reads the record at the front of `bytes` together with its size, layout and checksum.
///
/// # Errors
/// There is no whole record.
pub fn view(bytes: &[u8]) -> Result<MessageView<'_>, MessageError> {
    let mut reader = Reader::new(bytes);
    let said = reader.i32("total size")?;
    let version = match reader.u32("magic")? {
        MAGIC_V1 => RecordVersion::V1,
        MAGIC_V2 => RecordVersion::V2,
        other => return Err(MessageError::Magic(other)),
    };
    let body_crc = reader.u32("body CRC")?;
    let message = read_message(&mut reader, version)?;
    let size = reader.offset();
    if usize::try_from(said) != Ok(size) {
        return Err(MessageError::SizeMismatch { said, has: size });
    }
    Ok(MessageView {
        message,
        size,
        version,
        body_crc,
    })
}

fn read_message<'a>(
    reader: &mut Reader<'a>,
    version: RecordVersion,
) -> Result<Message<'a>, MessageError> {
    let queue_id = reader.i32("queue id")?;
    let flag = reader.i32("flag")?;
    let queue_offset = reader.i64("queue offset")?;
    let physical_offset = reader.i64("physical offset")?;
    let sys_flag = reader.i32("system flag")?;
    let born_timestamp = reader.i64("born timestamp")?;
    let born_host = host(reader, "born host", sys_flag & BORN_HOST_V6 != 0)?;
    let store_timestamp = reader.i64("store timestamp")?;
    let store_host = host(reader, "store host", sys_flag & STORE_HOST_V6 != 0)?;
    let reconsume_times = reader.i32("reconsume times")?;
    let prepared_transaction_offset = reader.i64("prepared transaction offset")?;
    let (body, topic, properties) = read_variable_parts(reader, version)?;
    Ok(Message {
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic,
        properties,
    })
}

fn read_variable_parts<'a>(
    reader: &mut Reader<'a>,
    version: RecordVersion,
) -> Result<(&'a [u8], &'a str, &'a str), MessageError> {
    let body_len = length("body length", reader.i32("body length")?)?;
    let body = reader.bytes("body", body_len)?;
    let topic_len = match version {
        // One signed byte: 128 and more would read as negative in Java.
        RecordVersion::V1 => reader
            .u8("topic length")
            .map(|len| i32::from(len.cast_signed()))?,
        RecordVersion::V2 => reader.i16("topic length").map(i32::from)?,
    };
    let topic = text(reader, "topic", length("topic length", topic_len)?)?;
    let properties_len = i32::from(reader.i16("properties length")?);
    let properties = text(
        reader,
        "properties",
        length("properties length", properties_len)?,
    )?;
    Ok((body, topic, properties))
}

fn host(
    reader: &mut Reader<'_>,
    what: &'static str,
    is_v6: bool,
) -> Result<SocketAddr, MessageError> {
    let ip = if is_v6 {
        IpAddr::from(reader.array::<16>(what)?)
    } else {
        IpAddr::from(reader.array::<4>(what)?)
    };
    let port = reader.i32(what)?;
    let port = u16::try_from(port).map_err(|_| MessageError::Port { what, port })?;
    Ok(SocketAddr::new(ip, port))
}

fn length(what: &'static str, len: i32) -> Result<usize, MessageError> {
    usize::try_from(len).map_err(|_| MessageError::NegativeLength(what))
}

fn text<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    len: usize,
) -> Result<&'a str, MessageError> {
    std::str::from_utf8(reader.bytes(what, len)?).map_err(|_| MessageError::NotUtf8(what))
}
