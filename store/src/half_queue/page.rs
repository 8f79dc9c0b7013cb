//! Pages of the half queue's files.

use super::entry::{HalfEntry, HalfState};
use crate::hash::crc32c;
use crate::le::Le;
use crate::{NameId, PhysicalOffset};

pub(crate) const PAGE_BYTES: usize = 4096;

/// Entries of one page.
pub(crate) const ENTRIES_PER_PAGE: u64 = 51;

const HEADER: usize = 16;
const FORMAT: u32 = 1;

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
/// | 4 | 4 | format, 1 |
/// | 8 | 8 | sequence of the first entry |
/// | 16 | 51 x 80 | entries |
///
/// An entry of 80 bytes:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | handle |
/// | 8 | 8 | place |
/// | 16 | 8 | last op |
/// | 24 | 8 | store timestamp, ms |
/// | 32 | 8 | hash of `UNIQ_KEY` |
/// | 40 | 4 | topic id |
/// | 44 | 4 | producer group id |
/// | 48 | 4 | client id |
/// | 52 | 4 | queue id |
/// | 56 | 4 | size of the wire image |
/// | 60 | 4 | immunity, ms |
/// | 64 | 4 | hash of the tags |
/// | 68 | 2 | answered checks |
/// | 70 | 1 | state: 0 vacant, 1 pending, 2 parked, 3 committed, 4 rolled back |
/// | 71 | 1 | flags: 1 has key words, 2 unreadable, 4 log damaged, 8 has a database domain |
/// | 72 | 8 | zero |
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

const ROW_BYTES: usize = 80;

fn put_row(page: &mut Vec<u8>, row: Option<&Row>) {
    let start = page.len();
    if let Some(Row { entry, place }) = row {
        page.extend_from_slice(&entry.handle.0.to_le_bytes());
        page.extend_from_slice(&place.to_le_bytes());
        page.extend_from_slice(&entry.last_op.0.to_le_bytes());
        page.extend_from_slice(&entry.store_timestamp.to_le_bytes());
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
    let (handle, place, last_op) = (
        PhysicalOffset(le.u64()?),
        le.u64()?,
        PhysicalOffset(le.u64()?),
    );
    let (store_timestamp, unique_hash) = (le.i64()?, le.u64()?);
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
