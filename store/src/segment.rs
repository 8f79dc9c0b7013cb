//! Segments: the files that the commit log is cut into.

use std::sync::Arc;

use crate::Error;
use crate::disk::{Disk, DiskFile, read_full};
use crate::hash::crc32c;
use crate::ids::narrow;
use crate::le::Le;

/// Folder of the segments.
pub(crate) const LOG_FOLDER: &str = "log";

/// Bytes before the first record.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;

/// The format written and read. 1 had longer op bodies and was never released.
pub(crate) const FORMAT: u32 = 2;

const MAGIC: [u8; 8] = *b"ESCROWLG";
const COPY_BYTES: usize = 40;
const SECOND_COPY: usize = 2048;

/// The first page of a segment, little-endian. Written twice, at 0 and at 2048; either copy will do:
///
/// | offset | size | field | |
/// |---|---|---|---|
/// | 0 | 8 | magic | `ESCROWLG` |
/// | 8 | 4 | format | 2 |
/// | 12 | 4 | crc | CRC-32C of the 40 bytes with this field 0 |
/// | 16 | 8 | start | log offset of the segment's first byte, also its name in 20 digits |
/// | 24 | 8 | segment bytes | where the next segment starts, relative to this one |
/// | 32 | 8 | created | ms |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    pub(crate) created: i64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&FORMAT.to_le_bytes());
        copy.extend_from_slice(&[0; 4]);
        copy.extend_from_slice(&self.start.to_le_bytes());
        copy.extend_from_slice(&self.bytes.to_le_bytes());
        copy.extend_from_slice(&self.created.to_le_bytes());
        let crc = crc32c(&copy).to_le_bytes();
        copy.splice(12..16, crc);
        let mut page = copy.clone();
        page.resize(SECOND_COPY, 0);
        page.extend_from_slice(&copy);
        page.resize(narrow(SEGMENT_HEADER_BYTES), 0);
        page
    }

    /// Reads either copy; `None` if both are bad.
    fn decode(page: &[u8], file: &str) -> Result<Option<SegmentHeader>, Error> {
        for at in [0, SECOND_COPY] {
            let copy = page.get(at..at + COPY_BYTES).unwrap_or_default();
            if let Some((header, format)) = decode_copy(copy) {
                if format != FORMAT {
                    return Err(Error::OtherFormat {
                        file: file.to_owned(),
                        found: format,
                        known: FORMAT,
                    });
                }
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

fn decode_copy(copy: &[u8]) -> Option<(SegmentHeader, u32)> {
    let mut le = Le::new(copy);
    let (magic, format, crc) = (le.take(8)?, le.u32()?, le.u32()?);
    let header = SegmentHeader {
        start: le.u64()?,
        bytes: le.u64()?,
        created: le.i64()?,
    };
    let mut unsigned = copy.to_vec();
    unsigned.get_mut(12..16)?.fill(0);
    (magic == MAGIC && crc == crc32c(&unsigned)).then_some((header, format))
}

/// An open segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    /// When it was made, ms; 0 if that is lost.
    created: i64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// False if both copies of the header were bad; the file name then gave the start.
    pub(crate) header_is_good: bool,
}

impl Segment {
    /// Where the next segment starts.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// What its first page says, or should.
    pub(crate) fn header(&self) -> SegmentHeader {
        SegmentHeader {
            start: self.start,
            bytes: self.bytes,
            created: self.created,
        }
    }

    /// The name of the segment that starts at `start`.
    pub(crate) fn name(start: u64) -> String {
        format!("{LOG_FOLDER}/{start:020}")
    }

    /// Makes the segment that starts at `start` out of `prepared`, a file of zeros, or anew.
    pub(crate) fn create(
        disk: &dyn Disk,
        header: SegmentHeader,
        prepared: Option<&str>,
    ) -> Result<Segment, Error> {
        let name = Segment::name(header.start);
        let file = match prepared {
            Some(prepared) => {
                disk.rename(prepared, &name)
                    .map_err(Error::disk("rename", prepared))?;
                disk.open(&name).map_err(Error::disk("open", &name))?
            }
            None => disk.create(&name).map_err(Error::disk("create", &name))?,
        };
        file.write_at(&header.encode(), 0)
            .map_err(Error::disk("write", &name))?;
        Ok(Segment {
            start: header.start,
            bytes: header.bytes,
            created: header.created,
            name,
            file,
            header_is_good: true,
        })
    }

    /// Opens the segment called `short` within the log folder; `Ok(None)` if that is no segment's name.
    pub(crate) fn open(disk: &dyn Disk, short: &str, bytes: u64) -> Result<Option<Segment>, Error> {
        let digits = short.len() == 20 && short.bytes().all(|byte| byte.is_ascii_digit());
        let Some(start) = digits.then(|| short.parse::<u64>().ok()).flatten() else {
            return Ok(None);
        };
        let name = Segment::name(start);
        let file = disk.open(&name).map_err(Error::disk("open", &name))?;
        let mut page = vec![0; narrow(SEGMENT_HEADER_BYTES)];
        read_full(&*file, &mut page, 0).map_err(Error::disk("read", &name))?;
        let header = SegmentHeader::decode(&page, &name)?;
        if header.is_some_and(|header| header.start != start) {
            return Err(Error::Foreign {
                file: name,
                what: "its header names another start offset",
            });
        }
        let header_is_good = header.is_some();
        // A segment keeps the size it was made with, whatever the settings say now; one that is said to be shorter than its file
        // must not hide what lies there.
        let size = file.size().map_err(Error::disk("size", &name))?;
        let bytes = header
            .map_or(bytes, |header| header.bytes)
            .max(
                size.checked_next_multiple_of(SEGMENT_HEADER_BYTES)
                    .unwrap_or(size),
            )
            .max(SEGMENT_HEADER_BYTES);
        Ok(Some(Segment {
            start,
            bytes,
            created: header.map_or(0, |header| header.created),
            name,
            file,
            header_is_good,
        }))
    }

    /// Reads up to `into.len()` bytes of the log at `offset`, which lies in this segment.
    pub(crate) fn read(&self, into: &mut [u8], offset: u64) -> Result<usize, Error> {
        let at = offset.saturating_sub(self.start);
        let room = narrow(self.end().saturating_sub(offset)).min(into.len());
        let into = into.get_mut(..room).unwrap_or_default();
        read_full(&*self.file, into, at).map_err(Error::disk("read", &self.name))
    }

    /// An error that names the place of `offset` in this segment's file.
    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> Error {
        let at = offset.saturating_sub(self.start);
        Error::Damaged {
            file: self.name.clone(),
            at,
            offset: crate::PhysicalOffset(offset),
            what,
        }
    }

    /// Bytes in the file, at most those that belong to the segment.
    pub(crate) fn file_end(&self) -> Result<u64, Error> {
        Ok(self
            .start
            .saturating_add(self.file_bytes()?.min(self.bytes)))
    }

    /// Bytes in the file.
    pub(crate) fn file_bytes(&self) -> Result<u64, Error> {
        self.file.size().map_err(Error::disk("size", &self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_known_bytes() {
        let header = SegmentHeader {
            start: 0x4000_0000,
            bytes: 0x4000_0000,
            created: 0x0102,
        };
        let page = header.encode();
        let mut expected = b"ESCROWLG\x02\0\0\0".to_vec();
        expected.extend_from_slice(&[0xff; 4]);
        expected.extend_from_slice(&[
            0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0,
        ]);
        let mut copy = page[..COPY_BYTES].to_vec();
        copy[12..16].fill(0xff);
        assert_eq!(copy, expected);
        assert_eq!(
            page[..COPY_BYTES],
            page[SECOND_COPY..SECOND_COPY + COPY_BYTES]
        );
        assert_eq!(SegmentHeader::decode(&page, "f").unwrap(), Some(header));
    }

    #[test]
    fn either_copy_will_do_and_another_format_is_refused() {
        let header = SegmentHeader {
            start: 0,
            bytes: 8192,
            created: 7,
        };
        let mut page = header.encode();
        page[17] ^= 1;
        assert_eq!(SegmentHeader::decode(&page, "f").unwrap(), Some(header));
        page[SECOND_COPY + 17] ^= 1;
        assert_eq!(SegmentHeader::decode(&page, "f").unwrap(), None);
        let mut copy = header.encode();
        copy[8] = 3;
        copy[12..16].fill(0);
        let crc = crc32c(&copy[..COPY_BYTES]).to_le_bytes();
        copy[12..16].copy_from_slice(&crc);
        assert!(matches!(
            SegmentHeader::decode(&copy, "f"),
            Err(Error::OtherFormat { found: 3, .. })
        ));
    }
}
