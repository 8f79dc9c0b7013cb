//! Pages of consume queue files.

use crate::PhysicalOffset;
use crate::consume_queue::QueueEntry;
use crate::hash::crc32c;
use crate::ids::narrow;
use crate::le::Le;

pub(crate) const PAGE_BYTES: usize = 4096;

/// Entries of one page.
pub(crate) const ENTRIES_PER_PAGE: u64 = 169;

const HEADER: usize = 32;
const ENTRY_BYTES: usize = 24;
const FORMAT: u32 = 2;
const DAMAGED: u32 = 1 << 31;

/// A page of 4096 bytes, little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | CRC-32C of bytes 4..4096 |
/// | 4 | 4 | format, 2 |
/// | 8 | 4 | queue number, as in the file's name |
/// | 12 | 4 | entries in this page, at most 169 |
/// | 16 | 8 | queue offset of the first entry |
/// | 24 | 8 | zero |
/// | 32 | 169 x 24 | entries |
///
/// An entry of 24 bytes:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | log offset of the record that holds the bytes |
/// | 8 | 4 | size of the message as stored, below 2 GiB; the highest bit: lost to damage |
/// | 12 | 4 | hash of the tags |
/// | 16 | 8 | store timestamp, ms; of a committed half: when it was committed |
pub(crate) fn encode(number: u32, first: u64, entries: &[QueueEntry]) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend_from_slice(&[0; 4]);
    page.extend_from_slice(&FORMAT.to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(
        &u32::try_from(entries.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    page.extend_from_slice(&first.to_le_bytes());
    page.extend_from_slice(&[0; 8]);
    for entry in entries {
        page.extend_from_slice(&entry.physical.0.to_le_bytes());
        let damaged = if entry.damaged { DAMAGED } else { 0 };
        page.extend_from_slice(&(entry.size & !DAMAGED | damaged).to_le_bytes());
        page.extend_from_slice(&entry.tags.to_le_bytes());
        page.extend_from_slice(&entry.store_timestamp.to_le_bytes());
    }
    page.resize(PAGE_BYTES, 0);
    let crc = crc32c(page.get(4..).unwrap_or_default());
    page.splice(..4, crc.to_le_bytes());
    page
}

/// Reads the page of queue `number` that begins with `first`; `None` if it is damaged or another page.
pub(crate) fn decode(page: &[u8], number: u32, first: u64) -> Option<Vec<QueueEntry>> {
    let mut le = Le::new(page.get(..PAGE_BYTES)?);
    let (crc, format, found_number, count, found_first) =
        (le.u32()?, le.u32()?, le.u32()?, le.u32()?, le.u64()?);
    let intact = crc == crc32c(page.get(4..PAGE_BYTES)?) && format == FORMAT;
    if !intact
        || found_number != number
        || found_first != first
        || u64::from(count) > ENTRIES_PER_PAGE
    {
        return None;
    }
    let entries = page.get(HEADER..PAGE_BYTES)?.chunks_exact(ENTRY_BYTES);
    entries
        .take(narrow(u64::from(count)))
        .map(read_entry)
        .collect()
}

fn read_entry(bytes: &[u8]) -> Option<QueueEntry> {
    let mut le = Le::new(bytes);
    let (physical, size) = (PhysicalOffset(le.u64()?), le.u32()?);
    let (tags, store_timestamp) = (le.i32()?, le.i64()?);
    Some(QueueEntry {
        physical,
        size: size & !DAMAGED,
        tags,
        store_timestamp,
        damaged: size & DAMAGED != 0,
    })
}
