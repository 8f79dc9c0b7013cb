//! Walking the log record by record, and finding the way on where it is damaged.

use crate::Error;
use crate::hash::crc32c;
use crate::ids::{narrow, wide};
use crate::log_view::Stored;
use crate::record::header::{ALIGNMENT, header_crc, stated_crc};
use crate::record::{HEADER_BYTES, Header, HeaderError, Kind};
use crate::segment::{FORMAT, SEGMENT_HEADER_BYTES, Segment};

/// What one read brings in.
const CHUNK: usize = 1 << 20;

/// What stands at a place in the log.
#[derive(Debug)]
pub(crate) enum Found {
    Record(Stored),
    /// A head that can be trusted before a body that cannot.
    BadBody(Header),
    /// No head that can be trusted. `repaired` says what it was, if a single byte is wrong.
    BadHead {
        repaired: Option<Header>,
        stated: [u32; 2],
    },
    /// Nothing but zeros, or the end of the file.
    Nothing,
}

/// Records that follow one another without a gap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) records: u64,
    /// The highest durable watermark among them.
    pub(crate) durable: u64,
    /// Where the next one would be.
    pub(crate) end: u64,
}

/// Reads the log through a buffer, within one segment at a time.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    segments: &'a [Segment],
    buffer: Vec<u8>,
    /// The log offset of the buffer's first byte.
    start: u64,
    /// The segment that it is from, and whether that ends with it.
    buffered: u64,
    is_end: bool,
    record_bytes_max: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(segments: &'a [Segment], record_bytes_max: usize) -> Self {
        let record_bytes_max = wide(record_bytes_max + HEADER_BYTES);
        Scan {
            segments,
            buffer: Vec::new(),
            start: 0,
            buffered: u64::MAX,
            is_end: false,
            record_bytes_max,
        }
    }

    pub(crate) fn segment_of(&self, offset: u64) -> Option<&'a Segment> {
        let index = self
            .segments
            .partition_point(|segment| segment.start <= offset)
            .checked_sub(1)?;
        self.segments
            .get(index)
            .filter(|segment| offset < segment.end())
    }

    pub(crate) fn segment_after(&self, segment: &Segment) -> Option<&'a Segment> {
        self.segments
            .iter()
            .find(|other| other.start >= segment.end())
    }

    /// Up to `len` bytes at `offset`; fewer at the end of the segment or its file. Those of a record that was just found are the
    /// very ones that were checked.
    pub(super) fn bytes(
        &mut self,
        segment: &Segment,
        offset: u64,
        len: usize,
    ) -> Result<&[u8], Error> {
        let has = offset.checked_sub(self.start).map(narrow);
        let has = has.filter(|_| self.buffered == segment.start);
        let is_buffered = has.is_some_and(|skip| {
            let ends_within = skip.saturating_add(len) <= self.buffer.len();
            ends_within || (self.is_end && skip <= self.buffer.len())
        });
        if !is_buffered {
            let room = narrow(segment.end().saturating_sub(offset));
            let wanted = len.max(CHUNK).min(room);
            self.buffer = vec![0; wanted];
            let read = segment.read(&mut self.buffer, offset)?;
            self.buffer.truncate(read);
            self.start = offset;
            self.buffered = segment.start;
            self.is_end = read < wanted || wanted == room;
        }
        let rest = self
            .buffer
            .get(narrow(offset - self.start)..)
            .unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }

    /// What stands at `offset`. `previous` is the header crc of the record before, where it is known.
    pub(crate) fn at(
        &mut self,
        segment: &Segment,
        offset: u64,
        previous: Option<u32>,
    ) -> Result<Found, Error> {
        let head = self.bytes(segment, offset, HEADER_BYTES)?;
        let Some(head) = head.first_chunk::<HEADER_BYTES>().copied() else {
            let is_empty = head.iter().all(|byte| *byte == 0);
            return Ok(if is_empty {
                Found::Nothing
            } else {
                bad_head([0; HEADER_BYTES], offset)
            });
        };
        let header = match Header::decode(&head, offset) {
            Ok(header) => header,
            Err(HeaderError::Newer(found)) => {
                return Err(Error::OtherFormat {
                    file: segment.name.clone(),
                    found: u32::from(found),
                    known: FORMAT,
                });
            }
            Err(HeaderError::Bad) if head.iter().all(|byte| *byte == 0) => {
                return Ok(Found::Nothing);
            }
            Err(HeaderError::Bad) => return Ok(bad_head(head, offset)),
        };
        let is_next = previous.is_none_or(|previous| header.previous_crc == previous);
        if !is_next || !self.fits(segment, &header) {
            return Ok(Found::BadHead {
                repaired: None,
                stated: [0; 2],
            });
        }
        let len = narrow(u64::from(header.len));
        let record = self.bytes(segment, offset, len)?;
        let body = record.get(HEADER_BYTES..).unwrap_or_default();
        if record.len() < len || crc32c(body) != header.body_crc {
            return Ok(Found::BadBody(header));
        }
        Ok(Found::Record(Stored {
            header,
            body: bytes::Bytes::copy_from_slice(body),
        }))
    }

    fn fits(&self, segment: &Segment, header: &Header) -> bool {
        u64::from(header.len) <= self.record_bytes_max.max(segment.bytes)
            && header.end() <= segment.end()
            && header.is_possible()
    }

    /// Where the record behind `header` begins; `None` if that segment is not there yet.
    pub(crate) fn behind(&self, segment: &Segment, header: &Header) -> Option<u64> {
        match header.kind {
            Kind::Pad => self
                .segment_after(segment)
                .map(|next| next.start + SEGMENT_HEADER_BYTES),
            _ => Some(header.end()),
        }
    }

    /// The first record with a good head from `from` on, up to `until`, in this segment or a later one. One whose chain fits
    /// one of the `stated` checksums of the damaged record before it is preferred: bytes of a message body could look like a
    /// record, but cannot be chained to.
    pub(crate) fn next_good(
        &mut self,
        from: u64,
        until: u64,
        stated: [u32; 2],
    ) -> Result<Option<Header>, Error> {
        let mut first = None;
        let mut at = from;
        while let Some(segment) = self.segment_of(at) {
            let file_end = segment.file_end()?;
            let end = file_end.min(until);
            while at < end {
                if let Some(header) = self.head_at(segment, at)? {
                    if stated.contains(&header.previous_crc) {
                        return Ok(Some(header));
                    }
                    first = first.or(Some(header));
                }
                at += ALIGNMENT;
            }
            let Some(next) = self.segment_after(segment) else {
                break;
            };
            if first.is_some() || next.start >= until {
                break;
            }
            at = next.start + SEGMENT_HEADER_BYTES;
        }
        Ok(first)
    }

    /// The record's head at `offset`, if it can be trusted.
    pub(crate) fn head_at(
        &mut self,
        segment: &Segment,
        offset: u64,
    ) -> Result<Option<Header>, Error> {
        let head = self.bytes(segment, offset, HEADER_BYTES)?;
        let header = Header::decode(head, offset).ok();
        Ok(header.filter(|header| self.fits(segment, header)))
    }

    /// Good heads from `header` on, along the chain of lengths.
    pub(crate) fn follow(&mut self, header: Header) -> Result<Chain, Error> {
        let mut chain = Chain {
            records: 0,
            durable: 0,
            end: header.offset,
        };
        let mut next = Some(header);
        while let Some(header) = next {
            chain.records += 1;
            chain.durable = chain.durable.max(header.durable);
            let segment = self.segment_of(header.offset);
            let at = segment.and_then(|segment| self.behind(segment, &header));
            chain.end = at.unwrap_or(header.end());
            next = match at.and_then(|at| Some((self.segment_of(at)?, at))) {
                Some((segment, at)) => self.head_at(segment, at)?,
                None => None,
            };
        }
        Ok(chain)
    }

    /// The end of the last byte at or behind `from` and before `until` that is not zero, within the segment of `from`.
    pub(crate) fn content_end(&mut self, from: u64, until: u64) -> Result<u64, Error> {
        let mut content_end = from;
        let Some(segment) = self.segment_of(from) else {
            return Ok(content_end);
        };
        let end = segment.file_end()?.min(until);
        let mut at = from;
        while at < end {
            let len = narrow(end - at).min(CHUNK);
            let bytes = self.bytes(segment, at, len)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                content_end = at + wide(last) + 1;
            }
            at += wide(bytes.len());
        }
        Ok(content_end)
    }
}

fn bad_head(head: [u8; HEADER_BYTES], offset: u64) -> Found {
    Found::BadHead {
        repaired: Header::repair(&head, offset),
        stated: [stated_crc(&head), header_crc(&head)],
    }
}
