//! Pages of the half queue's files.

use super::entry::{HalfEntry, HalfState};
use crate::hash::crc32c;
use crate::le::Le;
use crate::{NameId, PhysicalOffset};

pub(crate) const PAGE_BYTES: usize = 4096;

/// Entries of one page.
pub(crate) const ENTRIES_PER_PAGE: u64 = 60;

const HEADER: usize = 16;
const FORMAT: u32 = 2;

/// An entry with what only the file keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) entry: HalfEntry,
    /// The record that holds the bytes: the handle, or the newest RELOCATE.
    pub(crate) place: u64,
}

/// A page of 4096 bytes, little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | CRC-32C of bytes 4..4096 |
/// | 4 | 4 | format, 2 |
/// | 8 | 8 | sequence of the first entry |
/// | 16 | 60 x 68 | entries |
///
/// An entry of 68 bytes:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 7 | handle |
/// | 7 | 7 | place |
/// | 14 | 7 | last op |
/// | 21 | 7 | store timestamp, ms, signed |
/// | 28 | 8 | hash of `UNIQ_KEY` |
/// | 36 | 4 | topic id |
/// | 40 | 4 | producer group id |
/// | 44 | 4 | client id |
/// | 48 | 4 | queue id |
/// | 52 | 4 | size of the wire image |
/// | 56 | 4 | immunity, ms |
/// | 60 | 4 | hash of the tags |
/// | 64 | 2 | answered checks |
/// | 66 | 1 | state: 0 vacant, 1 pending, 2 parked, 3 committed, 4 rolled back |
/// | 67 | 1 | flags: 1 has key words, 2 unreadable, 4 log damaged, 8 has a database domain |
///
/// Seven bytes are enough for 64 PiB of log and for two million years.
pub(crate) fn encode(first: u64, rows: &[Option<Row>]) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend_from_slice(&[0; 4]);
    page.extend_from_slice(&FORMAT.to_le_bytes());
    page.extend_from_slice(&first.to_le_bytes());
    for row in rows {
        put_row(&mut page, row.as_ref());
    }
    page.resize(PAGE_BYTES, 0);
    let crc = crc32c(page.get(4..).unwrap_or_default());
    page.splice(..4, crc.to_le_bytes());
    page
}

const ROW_BYTES: usize = 68;

fn put_row(page: &mut Vec<u8>, row: Option<&Row>) {
    let start = page.len();
    if let Some(Row { entry, place }) = row {
        let wide = [
            entry.handle.0,
            *place,
            entry.last_op.0,
            entry.store_timestamp.cast_unsigned(),
        ];
        for field in wide {
            let [low @ .., _] = field.to_le_bytes();
            page.extend_from_slice(&low);
        }
        page.extend_from_slice(&entry.unique_hash.to_le_bytes());
        page.extend_from_slice(&entry.topic.0.to_le_bytes());
        page.extend_from_slice(&entry.group.0.to_le_bytes());
        page.extend_from_slice(&entry.client.0.to_le_bytes());
        page.extend_from_slice(&entry.queue_id.to_le_bytes());
        page.extend_from_slice(&entry.size.to_le_bytes());
        page.extend_from_slice(&entry.immunity.to_le_bytes());
        page.extend_from_slice(&entry.tags.to_le_bytes());
        page.extend_from_slice(&entry.answered.to_le_bytes());
        page.push(state_code(entry.state));
        page.push(entry.flags);
    }
    page.resize(start + ROW_BYTES, 0);
}

fn state_code(state: HalfState) -> u8 {
    match state {
        HalfState::Pending => 1,
        HalfState::Parked => 2,
        HalfState::Committed => 3,
        HalfState::RolledBack => 4,
    }
}

fn state_from_code(code: u8) -> Option<HalfState> {
    match code {
        1 => Some(HalfState::Pending),
        2 => Some(HalfState::Parked),
        3 => Some(HalfState::Committed),
        4 => Some(HalfState::RolledBack),
        _ => None,
    }
}

/// Reads a page that must begin with `first`; `None` if it is damaged or another page.
pub(crate) fn decode(page: &[u8], first: u64) -> Option<Vec<Option<Row>>> {
    let mut le = Le::new(page.get(..PAGE_BYTES)?);
    let (crc, format, found) = (le.u32()?, le.u32()?, le.u64()?);
    if crc != crc32c(page.get(4..PAGE_BYTES)?) || format != FORMAT || found != first {
        return None;
    }
    let rows = page.get(HEADER..PAGE_BYTES)?.chunks_exact(ROW_BYTES);
    Some(rows.map(read_row).collect())
}

fn read_row(bytes: &[u8]) -> Option<Row> {
    let mut le = Le::new(bytes);
    let (handle, place) = (PhysicalOffset(le.u56()?), le.u56()?);
    let last_op = PhysicalOffset(le.u56()?);
    // The sign is in the highest bit of the seventh byte.
    let store_timestamp = (le.u56()? << 8).cast_signed() >> 8;
    let unique_hash = le.u64()?;
    let (topic, group, client) = (NameId(le.u32()?), NameId(le.u32()?), NameId(le.u32()?));
    let (queue_id, size, immunity, tags) = (le.i32()?, le.u32()?, le.u32()?, le.i32()?);
    let (answered, state, flags) = (le.u16()?, state_from_code(le.u8()?)?, le.u8()?);
    let entry = HalfEntry {
        handle,
        last_op,
        store_timestamp,
        unique_hash,
        topic,
        group,
        client,
        queue_id,
        size,
        immunity,
        tags,
        answered,
        state,
        flags,
    };
    Some(Row { entry, place })
}
