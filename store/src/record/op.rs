//! COMMIT, ROLLBACK, ANSWER, PARK, RESUME and CONFLICT: what happened to a half message, and who did it.

use escrow_protocol::transaction::Resolution;

use crate::ids::wide;
use crate::le::{Le, clip, put_text, put_varint, text_len, varint_len};

/// The longest reason that an op keeps, in bytes; longer ones are cut at a character boundary.
pub const REASON_BYTES_MAX: usize = 256;

/// Who made an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The producer, on its own.
    Producer,
    /// A producer that was asked.
    Check,
    /// A person.
    Operator,
    /// The broker itself.
    Policy,
}

impl Source {
    fn code(self) -> u8 {
        match self {
            Source::Producer => 1,
            Source::Check => 2,
            Source::Operator => 3,
            Source::Policy => 4,
        }
    }

    fn from_code(code: u8) -> Source {
        match code {
            1 => Source::Producer,
            2 => Source::Check,
            3 => Source::Operator,
            _ => Source::Policy,
        }
    }
}

/// How a record head writes a [`Resolution`].
fn resolution_code(resolution: Resolution) -> u8 {
    match resolution {
        Resolution::Unknown => 0,
        Resolution::Commit => 1,
        Resolution::Rollback => 2,
    }
}

fn resolution_from_code(code: u8) -> Resolution {
    match code {
        1 => Resolution::Commit,
        2 => Resolution::Rollback,
        _ => Resolution::Unknown,
    }
}

/// Flags of an op's record head: they survive a damaged body.
pub(crate) fn op_flags(source: Source, resolution: Resolution) -> u16 {
    u16::from_le_bytes([source.code(), resolution_code(resolution)])
}

/// Source and resolution from a record head.
pub(crate) fn read_op_flags(flags: u16) -> (Source, Resolution) {
    let [source, resolution] = flags.to_le_bytes();
    (Source::from_code(source), resolution_from_code(resolution))
}

/// Body of every op record; a COMMIT has [`CommitBody`] behind it. Numbers are varints ([`Le::varint`]), text stands behind
/// its length as a varint:
///
/// | size | field |
/// |---|---|
/// | 1..10 | handle: offset of the original HALF record |
/// | 1..10 | previous: the same half's op before this one, 0 if none |
/// | 1..10 | decision: the op that decided the half (of a CONFLICT), else 0 |
/// | 1.. + n | client id, its length plus 1; 0: the one that sent the half |
/// | 1.. + n | address, `ip:port` |
/// | 1.. + n | reason, at most 256 bytes |
///
/// Half sequence, source and resolution are in the record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpBody<'a> {
    pub(crate) handle: u64,
    pub(crate) previous: u64,
    pub(crate) decision: u64,
    /// `None`: the one that sent the half.
    pub(crate) client_id: Option<&'a str>,
    pub(crate) address: &'a str,
    pub(crate) reason: &'a str,
}

impl<'a> OpBody<'a> {
    pub(crate) fn len(&self) -> usize {
        varint_len(self.handle)
            + varint_len(self.previous)
            + varint_len(self.decision)
            + self
                .client_id
                .map_or(1, |id| varint_len(wide(id.len()) + 1) + id.len())
            + text_len(self.address)
            + text_len(clip(self.reason, REASON_BYTES_MAX))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.handle);
        put_varint(out, self.previous);
        put_varint(out, self.decision);
        put_varint(out, self.client_id.map_or(0, |id| wide(id.len()) + 1));
        out.extend_from_slice(self.client_id.unwrap_or_default().as_bytes());
        put_text(out, self.address);
        put_text(out, clip(self.reason, REASON_BYTES_MAX));
    }

    /// Reads the body and gives what follows it.
    pub(crate) fn decode(body: &'a [u8]) -> Option<(OpBody<'a>, &'a [u8])> {
        let mut le = Le::new(body);
        let (handle, previous, decision) = (le.varint()?, le.varint()?, le.varint()?);
        let client_id = match le.varint()? {
            0 => None,
            code => Some(std::str::from_utf8(le.take(usize::try_from(code - 1).ok()?)?).ok()?),
        };
        let (address, reason) = (le.text()?, le.text()?);
        Some((
            OpBody {
                handle,
                previous,
                decision,
                client_id,
                address,
                reason,
            },
            le.rest(),
        ))
    }
}

/// What a COMMIT carries behind its [`OpBody`]: all that consume queue and key index need, so that neither append nor replay
/// touches the half's bytes. Numbers are varints:
///
/// | size | field |
/// |---|---|
/// | 1..10 | place: record that holds the bytes, if retention carried them (RELOCATE); 0: the HALF record at the handle |
/// | 1..5 | size of the wire image, below 2 GiB |
/// | 1..5 | queue id, as u32 |
/// | 4 | hash of the tags, as Java's 32 bits, little-endian |
/// | 1..10 | age of the half, ms: how long before this record it was stored |
/// | 8 | hash of `UNIQ_KEY`, little-endian, 0 if none |
/// | 1.. + n | topic |
/// | rest | 8 bytes per word of `KEYS`: its hash, little-endian |
///
/// Queue offset and the hash of topic and queue id are in the record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitBody<'a> {
    /// The record that holds the bytes; the handle unless they were carried forward.
    pub(crate) place: u64,
    pub(crate) size: u32,
    pub(crate) queue_id: i32,
    pub(crate) tags: i32,
    pub(crate) age_ms: u64,
    pub(crate) unique: u64,
    pub(crate) topic: &'a str,
    /// Little-endian hashes, 8 bytes each.
    pub(crate) words: &'a [u8],
}

impl<'a> CommitBody<'a> {
    /// Bytes behind the op body of a half with this handle.
    pub(crate) fn len(&self, handle: u64) -> usize {
        varint_len(self.carried_to(handle))
            + varint_len(u64::from(self.size))
            + varint_len(u64::from(self.queue_id.cast_unsigned()))
            + 4
            + varint_len(self.age_ms)
            + 8
            + text_len(self.topic)
            + self.words.len()
    }

    /// Writes it behind the op body of a half with this handle.
    pub(crate) fn put(&self, handle: u64, out: &mut Vec<u8>) {
        put_varint(out, self.carried_to(handle));
        put_varint(out, u64::from(self.size));
        put_varint(out, u64::from(self.queue_id.cast_unsigned()));
        out.extend_from_slice(&self.tags.to_le_bytes());
        put_varint(out, self.age_ms);
        out.extend_from_slice(&self.unique.to_le_bytes());
        put_text(out, self.topic);
        out.extend_from_slice(self.words);
    }

    fn carried_to(&self, handle: u64) -> u64 {
        if self.place == handle { 0 } else { self.place }
    }

    /// Reads the whole body of a COMMIT record.
    pub(crate) fn decode(body: &'a [u8]) -> Option<(OpBody<'a>, CommitBody<'a>)> {
        let (op, rest) = OpBody::decode(body)?;
        let mut le = Le::new(rest);
        let carried_to = le.varint()?;
        let (size, queue_id) = (read_u32(&mut le)?, read_u32(&mut le)?.cast_signed());
        let (tags, age_ms, unique) = (le.i32()?, le.varint()?, le.u64()?);
        let topic = le.text()?;
        let words = le.rest();
        words.len().is_multiple_of(8).then_some(())?;
        // A page of a queue keeps no larger one.
        i32::try_from(size).ok()?;
        let commit = CommitBody {
            place: if carried_to == 0 {
                op.handle
            } else {
                carried_to
            },
            size,
            queue_id,
            tags,
            age_ms,
            unique,
            topic,
            words,
        };
        Some((op, commit))
    }

    pub(crate) fn word_hashes(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (words, _) = self.words.as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word))
    }
}

fn read_u32(le: &mut Le<'_>) -> Option<u32> {
    u32::try_from(le.varint()?).ok()
}
