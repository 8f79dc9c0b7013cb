//! Changing the fixed head of an encoded record or adding a property to it, without touching anything else.

use super::codec::{length16, length32};
use super::{MessageError, decode};
use crate::properties::{self, PROPERTIES_BYTES_MAX};
use crate::read::DecodeError;
use crate::sysflag::{BORN_HOST_V6, HOST_MASK, STORE_HOST_V6};

const QUEUE_ID: usize = 12;
const QUEUE_OFFSET: usize = 20;
const PHYSICAL_OFFSET: usize = 28;
const SYS_FLAG: usize = 36;
const BORN_HOST: usize = 48;

/// The fields of a record that are known only when it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadPatch {
    /// Queue that the message is in.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub physical_offset: i64,
    /// System flag; the host bits of the record stay, they are part of its layout.
    pub sys_flag: i32,
    /// When the broker stored or committed the message, in ms.
    pub store_timestamp: i64,
    /// Physical offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
}

/// Writes `patch` into the record at the front of `record`.
///
/// # Errors
/// The bytes are too short to be a record's head; they are then as they were.
pub fn patch_head(record: &mut [u8], patch: &HeadPatch) -> Result<(), MessageError> {
    let flag_bytes = record
        .get(SYS_FLAG..)
        .and_then(|rest| rest.first_chunk::<4>());
    let layout = flag_bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes)) & HOST_MASK;
    let store_timestamp = BORN_HOST + if layout & BORN_HOST_V6 == 0 { 8 } else { 20 };
    let store_host = store_timestamp + 8;
    let prepared_offset = store_host + if layout & STORE_HOST_V6 == 0 { 8 } else { 20 } + 4;
    let need = prepared_offset + 8;
    if record.len() < need {
        let short = DecodeError {
            what: "record head",
            offset: 0,
            need,
            have: record.len(),
        };
        return Err(short.into());
    }
    put(record, QUEUE_ID, patch.queue_id.to_be_bytes());
    put(record, QUEUE_OFFSET, patch.queue_offset.to_be_bytes());
    put(record, PHYSICAL_OFFSET, patch.physical_offset.to_be_bytes());
    put(
        record,
        SYS_FLAG,
        (patch.sys_flag & !HOST_MASK | layout).to_be_bytes(),
    );
    put(record, store_timestamp, patch.store_timestamp.to_be_bytes());
    put(
        record,
        prepared_offset,
        patch.prepared_transaction_offset.to_be_bytes(),
    );
    Ok(())
}

/// Adds a property to the record that is the whole of `record`, as [`properties::append`] does to a property string.
///
/// # Errors
/// The bytes are no whole record, or its properties would be too long; they are then as they were.
pub fn append_property(record: &mut Vec<u8>, name: &str, value: &str) -> Result<(), MessageError> {
    let before = decode(record)?.properties;
    let mut added = String::with_capacity(name.len() + value.len() + 3);
    if properties::is_open(before) {
        added.push(properties::PROPERTY_SEPARATOR);
    }
    properties::append(&mut added, name, value);
    let properties_len = before.len() + added.len();
    let properties = length16("properties", properties_len, PROPERTIES_BYTES_MAX)?;
    let total = length32("record", record.len() + added.len())?;
    let place = record.len() - before.len() - size_of::<i16>();
    put(record, place, properties.to_be_bytes());
    put(record, 0, total.to_be_bytes());
    record.extend_from_slice(added.as_bytes());
    Ok(())
}

/// Writes a field; the caller has checked that it is within the record.
fn put<const N: usize>(record: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = record.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}
