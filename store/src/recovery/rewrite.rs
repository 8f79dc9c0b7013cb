//! Writing again what replay has read and nobody knows to be durable.
//!
//! A sync that fails may leave bytes behind that reads still show and that no later sync writes: Linux marks such pages clean. A
//! process that comes up without a restart of the machine reads them like any others; a power loss later they are gone. So a sync
//! at open is not enough. The window from the durable watermark to the end of the log is written once more, which makes its
//! pages dirty again, and only then synced and believed.
//!
//! - Below the watermark nothing need be written: every record states how far the log had been synced with success before it.
//! - The window is what one process writes between two syncs: `unsynced_bytes_max` and a round's writes at most, however long the
//!   log is, and one small record after a clean end.
//! - A crash meanwhile leaves each byte as it was or as it is in the file: they are the same where it was durable, and nobody was
//!   ever told of the rest.
//! - What is written is what was checked, out of one buffer. A page that counts as clean may leave memory at any time, and the
//!   next read then shows what the platter has.
//! - Derived files need none of this: a checkpoint names only what was synced, and replay has the pages written again of all that
//!   it applies.

use super::replay::Replay;
use super::scan::{Found, Scan};
use crate::Error;
use crate::ids::narrow;
use crate::record::Header;
use crate::segment::{LOG_FOLDER, SEGMENT_HEADER_BYTES, Segment};

impl Replay<'_> {
    /// Takes note of a record that is good, and of how far the log is known to be durable. What lies between the records in the
    /// window is theirs: damage begins below the watermark, so that none is left from before it.
    pub(super) fn note_window(&mut self, header: &Header) {
        self.durable = self.durable.max(header.durable);
        let durable = self.durable;
        while self
            .window
            .pop_front_if(|(offset, _)| *offset < durable)
            .is_some()
        {}
        if header.end() > durable {
            self.window.push_back((header.offset, header.crc));
        }
    }

    /// Makes everything durable that replay has read: it will be acknowledged and shown. Heals headers of segments.
    pub(super) fn make_durable(&mut self) -> Result<(), Error> {
        for segment in self.state.shared.log.open_segments() {
            let first = segment.start + SEGMENT_HEADER_BYTES;
            let is_header_safe = segment.header_is_good && self.durable > first;
            if !is_header_safe {
                write(&segment, &segment.header().encode(), segment.start)?;
            }
            let window = self.read_window(&segment)?;
            if let Some((offset, bytes)) = &window {
                write(&segment, bytes, *offset)?;
            }
            if !is_header_safe || window.is_some() {
                let synced = segment.file.sync();
                synced.map_err(Error::disk("sync", &segment.name))?;
            }
        }
        let synced = self.disk.sync_folder(LOG_FOLDER);
        synced.map_err(Error::disk("sync", LOG_FOLDER))?;
        self.durable = self.durable.max(self.last.end);
        self.window.clear();
        Ok(())
    }

    /// The part of the window that lies in a segment: where it begins, and its records.
    fn read_window(&self, segment: &Segment) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let segments = std::slice::from_ref(segment);
        let mut scan = Scan::new(segments, self.settings.record_bytes_max);
        let mut window: Option<(u64, Vec<u8>)> = None;
        let inside = self.window.iter();
        for (offset, crc) in inside.filter(|(at, _)| (segment.start..segment.end()).contains(at)) {
            let header = match scan.at(segment, *offset, None)? {
                Found::Record(stored) if stored.header.crc == *crc => stored.header,
                _ => {
                    let changed = std::io::Error::other("a record is not there any more");
                    return Err(Error::disk("read again", &segment.name)(changed));
                }
            };
            let (start, bytes) = window.get_or_insert((*offset, Vec::new()));
            bytes.extend_from_slice(scan.bytes(segment, *offset, narrow(u64::from(header.len)))?);
            bytes.resize(narrow(header.end() - *start), 0);
        }
        Ok(window)
    }
}

fn write(segment: &Segment, bytes: &[u8], offset: u64) -> Result<(), Error> {
    let written = segment.file.write_at(bytes, offset - segment.start);
    written.map_err(Error::disk("write", &segment.name))
}
