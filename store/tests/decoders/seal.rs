//! Checksums as the store puts them, so that content is looked at that a checksum would keep out.

const HEAD: usize = 72;
const PAGE: usize = 4096;

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

fn put(bytes: &mut [u8], at: usize, crc: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// A record: head of 72 bytes, then its body.
pub(super) fn record(record: &mut [u8]) {
    if record.len() < HEAD {
        return;
    }
    let crc = crc32c(&record[HEAD..]);
    put(record, 4, crc);
    let crc = crc32c(&record[4..HEAD]);
    put(record, 0, crc);
}

/// A page of a half queue, consume queue or key index.
pub(super) fn page(page: &mut [u8]) {
    if page.len() == PAGE {
        let crc = crc32c(&page[4..]);
        put(page, 0, crc);
    }
}

/// A checkpoint.
pub(super) fn checkpoint(bytes: &mut [u8]) {
    if bytes.len() >= 16 {
        let crc = crc32c(&bytes[12..]);
        put(bytes, 8, crc);
    }
}

/// The first page of a segment: two copies of 40 bytes.
pub(super) fn segment(page: &mut [u8]) {
    for at in [0, 2048] {
        if let Some(copy) = page.get_mut(at..at + 40) {
            put(copy, 12, 0);
            let crc = crc32c(copy);
            put(copy, 12, crc);
        }
    }
}

/// The first page of a segment that begins at `start`.
pub(super) fn segment_page(start: u64, bytes: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    for at in [0, 2048] {
        page[at..at + 8].copy_from_slice(b"ESCROWLG");
        page[at + 8] = 2;
        page[at + 16..at + 24].copy_from_slice(&start.to_le_bytes());
        page[at + 24..at + 32].copy_from_slice(&bytes.to_le_bytes());
    }
    segment(&mut page);
    page
}

/// Ends of the records in a segment's file, as their lengths chain: each with where it begins.
pub(super) fn records(file: &[u8]) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut at = PAGE;
    while let Some(len) = file.get(at + 8..at + 12) {
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        if len < HEAD || at + len > file.len() {
            break;
        }
        all.push((at, at + len));
        at += len.next_multiple_of(8);
    }
    all
}
