//! The fixed head of every record in the commit log.

use crate::hash::crc32c;
use crate::ids::{narrow, wide};
use crate::le::Le;

/// Bytes of a record's head.
pub(crate) const HEADER_BYTES: usize = 72;

/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;

/// The record version written and read.
pub(crate) const RECORD_VERSION: u8 = 2;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Normal,
    Half,
    Commit,
    Rollback,
    Relocate,
    Answer,
    Park,
    Resume,
    Conflict,
    Meta,
    DropTopic,
    Delivery,
    Mark,
    Cut,
    Pad,
}

impl Kind {
    const ALL: [Kind; 15] = [
        Kind::Normal,
        Kind::Half,
        Kind::Commit,
        Kind::Rollback,
        Kind::Relocate,
        Kind::Answer,
        Kind::Park,
        Kind::Resume,
        Kind::Conflict,
        Kind::Meta,
        Kind::DropTopic,
        Kind::Delivery,
        Kind::Mark,
        Kind::Cut,
        Kind::Pad,
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Kind::Normal => 1,
            Kind::Half => 2,
            Kind::Commit => 3,
            Kind::Rollback => 4,
            Kind::Relocate => 5,
            Kind::Answer => 6,
            Kind::Park => 7,
            Kind::Resume => 8,
            Kind::Conflict => 9,
            Kind::Meta => 10,
            Kind::DropTopic => 11,
            Kind::Delivery => 12,
            Kind::Mark => 13,
            Kind::Cut => 14,
            Kind::Pad => 15,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Normal => "message",
            Kind::Half => "half",
            Kind::Commit => "commit",
            Kind::Rollback => "rollback",
            Kind::Relocate => "relocate",
            Kind::Answer => "answer",
            Kind::Park => "park",
            Kind::Resume => "resume",
            Kind::Conflict => "conflict",
            Kind::Meta => "meta",
            Kind::DropTopic => "drop topic",
            Kind::Delivery => "delivery",
            Kind::Mark => "mark",
            Kind::Cut => "cut",
            Kind::Pad => "pad",
        }
    }
}

/// A record's head, little-endian:
///
/// | offset | size | field | |
/// |---|---|---|---|
/// | 0 | 4 | header crc | CRC-32C of bytes 4..72 |
/// | 4 | 4 | body crc | CRC-32C of bytes 72..len |
/// | 8 | 4 | len | head and body without padding; the next record begins at the next multiple of 8 |
/// | 12 | 1 | kind | 1 message, 2 half, 3 commit, 4 rollback, 5 relocate, 6 answer, 7 park, 8 resume, 9 conflict, 10 meta, 11 drop topic, 12 delivery, 13 mark, 14 cut, 15 pad |
/// | 13 | 1 | version | 2 |
/// | 14 | 2 | flags | ops: source (low byte) and resolution (high byte); delivery: level queue; meta: 1 = delete |
/// | 16 | 8 | offset | the record's own place: stale and misdirected bytes fail here |
/// | 24 | 4 | epoch | leadership epoch |
/// | 28 | 4 | previous crc | header crc of the record before: a swapped, dropped or spliced record shows |
/// | 32 | 8 | durable | all below was known to be synced when this record was built |
/// | 40 | 8 | store timestamp | ms, never less than the record before |
/// | 48 | 8 | subject | message, delivery, commit: hash of topic and queue id; drop topic: of the topic; meta: of the key |
/// | 56 | 8 | position | message, delivery, commit: queue offset; relocate: the half's handle |
/// | 64 | 8 | link | half, ops, relocate: half sequence; delivery: offset in the level queue |
///
/// The last three say what a record does even when its body is damaged: a flipped bit in a body loses no queue offset and
/// no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) crc: u32,
    pub(crate) body_crc: u32,
    pub(crate) len: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) epoch: u32,
    pub(crate) previous_crc: u32,
    pub(crate) durable: u64,
    pub(crate) store_timestamp: i64,
    pub(crate) subject: u64,
    pub(crate) position: u64,
    pub(crate) link: u64,
}

/// Why the head at a place is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Wrong checksum, wrong place or wrong length.
    Bad,
    /// Right checksum, but a version or kind that we do not know.
    Newer(u8),
}

impl Header {
    /// Fills in `crc` and gives the bytes.
    pub(crate) fn seal(&mut self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        self.write_to(&mut bytes);
        self.crc = header_crc(&bytes);
        put(&mut bytes, 0, self.crc.to_le_bytes());
        bytes
    }

    fn write_to(&self, bytes: &mut [u8; HEADER_BYTES]) {
        put(bytes, 4, self.body_crc.to_le_bytes());
        put(bytes, 8, self.len.to_le_bytes());
        put(bytes, 12, [self.kind.code(), RECORD_VERSION]);
        put(bytes, 14, self.flags.to_le_bytes());
        put(bytes, 16, self.offset.to_le_bytes());
        put(bytes, 24, self.epoch.to_le_bytes());
        put(bytes, 28, self.previous_crc.to_le_bytes());
        put(bytes, 32, self.durable.to_le_bytes());
        put(bytes, 40, self.store_timestamp.to_le_bytes());
        put(bytes, 48, self.subject.to_le_bytes());
        put(bytes, 56, self.position.to_le_bytes());
        put(bytes, 64, self.link.to_le_bytes());
    }

    /// Reads the head of the record that should begin at `offset`.
    pub(crate) fn decode(bytes: &[u8], offset: u64) -> Result<Header, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(HeaderError::Bad)?;
        // Cheapest first: most of what recovery looks at is no record at all.
        if field_u64(bytes, 16) != offset || field_u32(bytes, 0) != header_crc(bytes) {
            return Err(HeaderError::Bad);
        }
        Header::parse(bytes)
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, HeaderError> {
        let mut le = Le::new(bytes);
        let mut read = || {
            let (crc, body_crc, len) = (le.u32()?, le.u32()?, le.u32()?);
            let (kind, version, flags) = (le.u8()?, le.u8()?, le.u16()?);
            let (offset, epoch, previous_crc, durable) =
                (le.u64()?, le.u32()?, le.u32()?, le.u64()?);
            let (store_timestamp, subject, position, link) =
                (le.i64()?, le.u64()?, le.u64()?, le.u64()?);
            let header = Header {
                crc,
                body_crc,
                len,
                kind: Kind::Pad,
                flags,
                offset,
                epoch,
                previous_crc,
                durable,
                store_timestamp,
                subject,
                position,
                link,
            };
            Some((header, kind, version))
        };
        let (header, kind, version) = read().ok_or(HeaderError::Bad)?;
        if version != RECORD_VERSION {
            return Err(HeaderError::Newer(version));
        }
        let kind = Kind::from_code(kind).ok_or(HeaderError::Newer(kind))?;
        if narrow(u64::from(header.len)) < HEADER_BYTES {
            return Err(HeaderError::Bad);
        }
        Ok(Header { kind, ..header })
    }

    /// Whether the log before this record can hold what its numbers count: each queue offset and each half took a record. Who
    /// believed others would size memory, or count past the end of numbers, by what no log can say.
    pub(crate) fn is_possible(&self) -> bool {
        let records = records_max(self.offset);
        let position_max = match self.kind {
            Kind::Relocate => self.offset,
            _ => records,
        };
        self.position <= position_max
            && self.link <= records
            && self.durable <= self.offset
            && is_time(self.store_timestamp)
    }

    /// Where the next record begins, unless this one closes its segment.
    pub(crate) fn end(&self) -> u64 {
        align(self.offset.saturating_add(u64::from(self.len)))
    }

    /// Finds the head that a single damaged byte made of the one at `offset`. It says what the record was, so that its queue
    /// offset stays occupied and its decision stands; the record itself is still reported as damaged and never served.
    ///
    /// A CRC-32C over so few bytes tells the true correction from any other but for about one chance in 200 000.
    pub(crate) fn repair(bytes: &[u8], offset: u64) -> Option<Header> {
        let original: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let mut trial = *original;
        for (at, byte) in original.iter().enumerate() {
            for value in 0..=u8::MAX {
                put(&mut trial, at, [value]);
                if let Ok(header) = Header::decode(&trial, offset) {
                    return Some(header);
                }
            }
            put(&mut trial, at, [*byte]);
        }
        None
    }
}

/// Whether a page of the half queue can keep this time, in ms: two million years are enough.
pub(crate) fn is_time(ms: i64) -> bool {
    ms.unsigned_abs() < 1 << 55
}

/// How many records the log may have before `offset`: as many halfs, and messages in one queue, can there be.
pub(crate) fn records_max(offset: u64) -> u64 {
    offset / wide(HEADER_BYTES)
}

/// The checksum that a head should state.
pub(crate) fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c(bytes.get(4..).unwrap_or_default())
}

/// The checksum that a head states.
pub(crate) fn stated_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    field_u32(bytes, 0)
}

/// True if the bytes claim to be the record at `offset`, whatever their checksum says.
pub(crate) fn claims_offset(bytes: &[u8], offset: u64) -> bool {
    bytes
        .first_chunk::<HEADER_BYTES>()
        .is_some_and(|bytes| field_u64(bytes, 16) == offset)
}

/// Rounds up to where a record may begin.
pub(crate) fn align(offset: u64) -> u64 {
    offset
        .checked_next_multiple_of(ALIGNMENT)
        .unwrap_or(u64::MAX)
}

/// Bytes that a record with this body takes in the log.
pub(crate) fn record_bytes(body: usize) -> u64 {
    align(wide(HEADER_BYTES).saturating_add(wide(body)))
}

fn field_u32(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn field_u64(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|field| field.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

fn put<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}
