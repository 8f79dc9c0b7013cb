//! COMMIT, ROLLBACK, ANSWER, PARK, RESUME and CONFLICT: what happened to a half message, and who did it.

use escrow_protocol::transaction::Resolution;

use crate::le::{Le, clip, put_str16};

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

/// Body of every op record, little-endian; a COMMIT has [`CommitBody`] behind it:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | handle: offset of the original HALF record |
/// | 8 | 8 | previous: the same half's op before this one, 0 if none |
/// | 16 | 8 | decision: the op that decided the half (of a CONFLICT), else 0 |
/// | 24 | 2 + n | client id |
/// | | 2 + n | address, `ip:port` |
/// | | 2 + n | reason, at most 256 bytes |
///
/// Half sequence, source and resolution are in the record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpBody<'a> {
    pub(crate) handle: u64,
    pub(crate) previous: u64,
    pub(crate) decision: u64,
    pub(crate) client_id: &'a str,
    pub(crate) address: &'a str,
    pub(crate) reason: &'a str,
}

impl<'a> OpBody<'a> {
    pub(crate) fn len(&self) -> usize {
        24 + 6
            + self.client_id.len()
            + self.address.len()
            + clip(self.reason, REASON_BYTES_MAX).len()
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.handle.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.decision.to_le_bytes());
        put_str16(out, self.client_id);
        put_str16(out, self.address);
        put_str16(out, clip(self.reason, REASON_BYTES_MAX));
    }

    /// Reads the body and gives what follows it.
    pub(crate) fn decode(body: &'a [u8]) -> Option<(OpBody<'a>, &'a [u8])> {
        let mut le = Le::new(body);
        let (handle, previous, decision) = (le.u64()?, le.u64()?, le.u64()?);
        let (client_id, address, reason) = (le.str16()?, le.str16()?, le.str16()?);
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

/// What a COMMIT carries behind its [`OpBody`], little-endian: all that consume queue and key index need, so that neither
/// append nor replay touches the half's bytes.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | place: record that holds the bytes (HALF, or RELOCATE after retention carried it) |
/// | 8 | 4 | size of the wire image |
/// | 12 | 4 | queue id |
/// | 16 | 8 | hash of the tags |
/// | 24 | 8 | store timestamp of the half, ms |
/// | 32 | 8 | hash of `UNIQ_KEY`, 0 if none |
/// | 40 | 2 + n | topic |
/// | | rest | 8 bytes per word of `KEYS`: its hash |
///
/// Queue offset and the hash of topic and queue id are in the record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitBody<'a> {
    pub(crate) place: u64,
    pub(crate) size: u32,
    pub(crate) queue_id: i32,
    pub(crate) tags: i64,
    pub(crate) half_timestamp: i64,
    pub(crate) unique: u64,
    pub(crate) topic: &'a str,
    /// Little-endian hashes, 8 bytes each.
    pub(crate) words: &'a [u8],
}

impl<'a> CommitBody<'a> {
    pub(crate) fn len(topic: &str, words: usize) -> usize {
        42 + topic.len() + 8 * words
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.queue_id.to_le_bytes());
        out.extend_from_slice(&self.tags.to_le_bytes());
        out.extend_from_slice(&self.half_timestamp.to_le_bytes());
        out.extend_from_slice(&self.unique.to_le_bytes());
        put_str16(out, self.topic);
        out.extend_from_slice(self.words);
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<CommitBody<'a>> {
        let mut le = Le::new(bytes);
        let (place, size, queue_id) = (le.u64()?, le.u32()?, le.i32()?);
        let (tags, half_timestamp, unique) = (le.i64()?, le.i64()?, le.u64()?);
        let topic = le.str16()?;
        let words = le.rest();
        words.len().is_multiple_of(8).then_some(())?;
        Some(CommitBody {
            place,
            size,
            queue_id,
            tags,
            half_timestamp,
            unique,
            topic,
            words,
        })
    }

    pub(crate) fn word_hashes(&self) -> impl Iterator<Item = u64> + use<'a> {
        let (words, _) = self.words.as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word))
    }
}
