//! The commit log as readers see it: written bytes only, the newest from memory, older ones from the files and verified.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::Error;
use crate::hash::crc32c;
use crate::ids::{narrow, wide};
use crate::record::header::claims_offset;
use crate::record::{HEADER_BYTES, Header, HeaderError};
use crate::segment::Segment;
use crate::tail::Tail;

/// What one read of an unknown record asks for: most records fit.
const FIRST_READ: usize = 2048;

/// A record as it is kept, both checksums verified.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

/// Shared by the writer, who adds, and all readers.
#[derive(Debug)]
pub(crate) struct LogView {
    segments: RwLock<BTreeMap<u64, Segment>>,
    tail: RwLock<Tail>,
    /// Spans that recovery found damaged: start and end.
    damaged: RwLock<BTreeMap<u64, u64>>,
    written: AtomicU64,
    durable: AtomicU64,
}

impl LogView {
    pub(crate) fn new(tail_bytes: usize) -> Self {
        LogView {
            segments: RwLock::default(),
            tail: RwLock::new(Tail::new(tail_bytes)),
            damaged: RwLock::default(),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
        }
    }

    /// Adds a segment. The one before it ends where it starts: an open may have had to begin one behind a gap, and what was in the
    /// gap is lost, not gone with the oldest.
    pub(crate) fn add_segment(&self, segment: Segment) {
        let mut segments = self.segments.write();
        if let Some((_, before)) = segments.range_mut(..segment.start).next_back() {
            before.bytes = segment.start - before.start;
        }
        segments.insert(segment.start, segment);
    }

    pub(crate) fn remove_segment(&self, start: u64) -> Option<Segment> {
        self.segments.write().remove(&start)
    }

    /// Starts and ends of all segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<(u64, u64)> {
        self.segments
            .read()
            .values()
            .map(|segment| (segment.start, segment.end()))
            .collect()
    }

    /// All segments, oldest first.
    pub(crate) fn open_segments(&self) -> Vec<Segment> {
        self.segments.read().values().cloned().collect()
    }

    /// Where the oldest segment starts; nothing below it is kept.
    pub(crate) fn start(&self) -> u64 {
        self.segments
            .read()
            .first_key_value()
            .map_or(0, |(start, _)| *start)
    }

    pub(crate) fn add_damage(&self, start: u64, end: u64) {
        self.damaged.write().insert(start, end);
    }

    /// Shows readers a batch that was just written.
    pub(crate) fn push_tail(&self, offset: u64, batch: Bytes) {
        self.tail.write().push(offset, batch);
    }

    pub(crate) fn set_written(&self, written: u64) {
        self.written.store(written, Ordering::Release);
    }

    pub(crate) fn set_durable(&self, durable: u64) {
        self.durable.store(durable, Ordering::Release);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn segment_of(&self, offset: u64) -> Option<Segment> {
        let segments = self.segments.read();
        let (_, segment) = segments.range(..=offset).next_back()?;
        (offset < segment.end()).then(|| segment.clone())
    }

    /// The record that must be at `offset`, because something of ours says so. `size_hint` saves a second read.
    ///
    /// # Errors
    /// `NotFound` if the offset is outside what is kept, `Damaged` if it is inside and no good record is there.
    pub(crate) fn read(&self, offset: u64, size_hint: usize) -> Result<Stored, Error> {
        match self.look(offset, size_hint)? {
            Some(stored) => Ok(stored),
            None => Err(self.damaged(offset, "no record begins here")),
        }
    }

    /// True if the record at this offset is read from memory.
    pub(crate) fn is_in_memory(&self, offset: u64) -> bool {
        self.tail.read().at(offset).is_some()
    }

    /// The record at an offset that a client or operator gave; `Ok(None)` if none begins there.
    pub(crate) fn look(&self, offset: u64, size_hint: usize) -> Result<Option<Stored>, Error> {
        let not_found = Error::NotFound { what: "log offset" };
        if offset >= self.written() {
            return Err(not_found);
        }
        let cached = self.tail.read().at(offset);
        if let Some(batch) = cached {
            return Ok(in_memory(&batch, offset));
        }
        let segment = self.segment_of(offset).ok_or(not_found)?;
        self.look_in(&segment, offset, size_hint)
    }

    fn look_in(
        &self,
        segment: &Segment,
        offset: u64,
        size_hint: usize,
    ) -> Result<Option<Stored>, Error> {
        let room = narrow(self.written().min(segment.end()).saturating_sub(offset));
        let mut bytes = vec![0; size_hint.max(FIRST_READ).min(room)];
        let read = segment.read(&mut bytes, offset)?;
        bytes.truncate(read);
        let header = match Header::decode(&bytes, offset) {
            Ok(header) => header,
            Err(HeaderError::Newer(_)) => {
                return Err(segment.damaged(offset, "unknown kind of record"));
            }
            Err(HeaderError::Bad) => {
                let was_record = claims_offset(&bytes, offset)
                    || self.is_known_damage(offset)
                    || Header::repair(&bytes, offset).is_some();
                return if was_record {
                    Err(segment.damaged(offset, "record head"))
                } else {
                    Ok(None)
                };
            }
        };
        let len = narrow(u64::from(header.len));
        if len > room {
            return Err(segment.damaged(offset, "record length"));
        }
        if let Some(missing) = len.checked_sub(bytes.len()).filter(|missing| *missing > 0) {
            let have = bytes.len();
            bytes.resize(have + missing, 0);
            let rest = bytes.get_mut(have..).unwrap_or_default();
            if segment.read(rest, offset + wide(have))? < missing {
                return Err(segment.damaged(offset, "record body is cut short"));
            }
        }
        bytes.truncate(len);
        let body = Bytes::from(bytes).slice(HEADER_BYTES..);
        if crc32c(&body) != header.body_crc {
            return Err(segment.damaged(offset, "record body"));
        }
        Ok(Some(Stored { header, body }))
    }

    fn is_known_damage(&self, offset: u64) -> bool {
        let damaged = self.damaged.read();
        damaged
            .range(..=offset)
            .next_back()
            .is_some_and(|(_, end)| offset < *end)
    }

    /// An error that names the file and place of `offset`.
    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> Error {
        match self.segment_of(offset) {
            Some(segment) => segment.damaged(offset, what),
            None => Error::NotFound { what: "log offset" },
        }
    }
}

/// A record in bytes that never left memory: its head is checked to tell records from what lies between, its body is ours.
fn in_memory(batch: &Bytes, offset: u64) -> Option<Stored> {
    let header = Header::decode(batch, offset).ok()?;
    let len = narrow(u64::from(header.len));
    (len <= batch.len()).then(|| Stored {
        header,
        body: batch.slice(HEADER_BYTES..len),
    })
}
