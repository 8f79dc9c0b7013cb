//! The bytes of a checkpoint.

use crate::Error;
use crate::commit_log::Resume;
use crate::half_queue::ENTRIES_PER_PAGE;
use crate::hash::crc32c;
use crate::ids::wide;
use crate::le::{Le, put_bytes32, put_str16};
use crate::queues::Lost;
use crate::record::header::{is_time, records_max};
use crate::state::SegmentUse;

const MAGIC: [u8; 8] = *b"ESCROWCP";
const FORMAT: u32 = 2;

/// No log comes so far: a page of the half queue keeps seven bytes of an offset.
const OFFSET_MAX: u64 = (1 << 56) - 1;

/// Nor does anybody write so many checkpoints, or runs of the key index.
const COUNT_MAX: u64 = OFFSET_MAX;

/// A larger file is not read: it cannot be a checkpoint.
pub(crate) const BYTES_MAX: u64 = 1 << 32;

/// A queue as a checkpoint knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueTail {
    pub(crate) topic: String,
    pub(crate) id: i32,
    pub(crate) number: u32,
    pub(crate) min: u64,
    pub(crate) end: u64,
}

/// A checkpoint, little-endian. `count` is a u32, `text` a u16 length and UTF-8:
///
/// | size | field |
/// |---|---|
/// | 8 | magic `ESCROWCP` |
/// | 4 | CRC-32C of all that follows |
/// | 4 | format, 2 (in format 1 it stood before its checksum, which did not cover it) |
/// | 8 | generation: the newer copy wins |
/// | 8 | log offset up to which everything is in the derived files, and where replay begins |
/// | 4 | header crc of the record before it |
/// | 8 | its store timestamp, ms |
/// | 8 + 8 + 8 | half queue: next sequence, first sequence kept, offset of the newest half |
/// | count x 16 | runs of half queue pages with undecided halfs: first page, page behind the last |
/// | count x text | names, in the order of their ids |
/// | count x (text, 4 + n, 8) | metadata: key, value, log offset of the record |
/// | count x 12 | schedule progress: level queue (4), next offset (8) |
/// | count x 24 | segments: start, newest record (ms), newest reference (ms) |
/// | 4 | next queue number |
/// | count x (text, 4, 4, 8, 8) | queues: topic, id, number, first offset kept, end |
/// | count x 32 | lost entries of unknown queues: hash, queue offset, log offset, ms |
/// | 8 | next run of the key index |
/// | count x 24 | runs: id, items, newest log offset |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) generation: u64,
    pub(crate) position: Resume,
    pub(crate) half_next: u64,
    pub(crate) half_first_kept: u64,
    pub(crate) last_half_at: u64,
    pub(crate) undecided_pages: Vec<(u64, u64)>,
    pub(crate) names: Vec<String>,
    pub(crate) meta: Vec<(String, Vec<u8>, u64)>,
    pub(crate) schedule: Vec<(u32, u64)>,
    pub(crate) segments: Vec<(u64, SegmentUse)>,
    pub(crate) next_number: u32,
    pub(crate) queues: Vec<QueueTail>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) next_run: u64,
    pub(crate) runs: Vec<(u64, u64, u64)>,
}

/// The checksum covers all that follows it, the format first.
const SUMMED: usize = MAGIC.len() + 4;

fn put_u64s<const N: usize>(out: &mut Vec<u8>, words: [u64; N]) {
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&u32::try_from(list.len()).unwrap_or(u32::MAX).to_le_bytes());
    for item in list {
        put(out, item);
    }
}

/// Reads a list whose items have at least `size_min` bytes each.
fn list<'a, T>(
    le: &mut Le<'a>,
    size_min: usize,
    read: impl Fn(&mut Le<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = le.count32(size_min)?;
    (0..count).map(|_| read(le)).collect()
}

impl Content {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        put_u64s(&mut out, [self.generation, self.position.end]);
        out.extend_from_slice(&self.position.previous_crc.to_le_bytes());
        out.extend_from_slice(&self.position.last_timestamp.to_le_bytes());
        put_u64s(
            &mut out,
            [self.half_next, self.half_first_kept, self.last_half_at],
        );
        put_list(&mut out, &self.undecided_pages, |out, run| {
            put_u64s(out, [run.0, run.1])
        });
        put_list(&mut out, &self.names, |out, name| put_str16(out, name));
        put_list(&mut out, &self.meta, |out, (key, value, at)| {
            put_str16(out, key);
            put_bytes32(out, value);
            put_u64s(out, [*at]);
        });
        put_list(&mut out, &self.schedule, |out, (level, next)| {
            out.extend_from_slice(&level.to_le_bytes());
            put_u64s(out, [*next]);
        });
        put_list(&mut out, &self.segments, |out, (start, used)| {
            put_u64s(
                out,
                [
                    *start,
                    used.newest.cast_unsigned(),
                    used.referred.cast_unsigned(),
                ],
            );
        });
        out.extend_from_slice(&self.next_number.to_le_bytes());
        put_list(&mut out, &self.queues, |out, queue| {
            put_str16(out, &queue.topic);
            out.extend_from_slice(&queue.id.to_le_bytes());
            out.extend_from_slice(&queue.number.to_le_bytes());
            put_u64s(out, [queue.min, queue.end]);
        });
        put_list(&mut out, &self.lost, |out, lost| {
            put_u64s(
                out,
                [
                    lost.hash,
                    lost.offset,
                    lost.physical,
                    lost.store_timestamp.cast_unsigned(),
                ],
            );
        });
        put_u64s(&mut out, [self.next_run]);
        put_list(&mut out, &self.runs, |out, run| {
            put_u64s(out, [run.0, run.1, run.2])
        });
        let crc = crc32c(out.get(SUMMED..).unwrap_or_default());
        out.splice(MAGIC.len()..SUMMED, crc.to_le_bytes());
        out
    }

    /// Reads a checkpoint; `Ok(None)` if it is damaged.
    pub(crate) fn decode(bytes: &[u8], file: &str) -> Result<Option<Content>, Error> {
        let mut le = Le::new(bytes);
        let mut head = || Some((le.take(MAGIC.len())? == MAGIC, le.u32()?));
        let Some((true, crc)) = head() else {
            return Ok(None);
        };
        // The format too: a turned bit in it is damage, not a newer version's file that this one must leave alone.
        if crc != crc32c(le.rest()) {
            return Ok(None);
        }
        let Some(format) = le.u32() else {
            return Ok(None);
        };
        if format > FORMAT {
            return Err(Error::OtherFormat {
                file: file.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        Ok(Content::decode_body(le).filter(Content::can_be_counted_on))
    }

    fn decode_body(mut le: Le<'_>) -> Option<Content> {
        let generation = le.u64()?;
        let position = Resume {
            end: le.u64()?,
            previous_crc: le.u32()?,
            last_timestamp: le.i64()?,
        };
        let (half_next, half_first_kept, last_half_at) = (le.u64()?, le.u64()?, le.u64()?);
        let undecided_pages = list(&mut le, 16, |le| Some((le.u64()?, le.u64()?)))?;
        let names = list(&mut le, 2, |le| le.str16().map(str::to_owned))?;
        let meta = list(&mut le, 14, |le| {
            Some((le.str16()?.to_owned(), le.bytes32()?.to_vec(), le.u64()?))
        })?;
        let schedule = list(&mut le, 12, |le| Some((le.u32()?, le.u64()?)))?;
        let segments = list(&mut le, 24, |le| {
            Some((
                le.u64()?,
                SegmentUse {
                    newest: le.i64()?,
                    referred: le.i64()?,
                },
            ))
        })?;
        let next_number = le.u32()?;
        let queues = list(&mut le, 26, |le| {
            let topic = le.str16()?.to_owned();
            Some(QueueTail {
                topic,
                id: le.i32()?,
                number: le.u32()?,
                min: le.u64()?,
                end: le.u64()?,
            })
        })?;
        let lost = list(&mut le, 32, |le| {
            Some(Lost {
                hash: le.u64()?,
                offset: le.u64()?,
                physical: le.u64()?,
                store_timestamp: le.i64()?,
            })
        })?;
        let next_run = le.u64()?;
        let runs = list(&mut le, 24, |le| Some((le.u64()?, le.u64()?, le.u64()?)))?;
        Some(Content {
            generation,
            position,
            half_next,
            half_first_kept,
            last_half_at,
            undecided_pages,
            names,
            meta,
            schedule,
            segments,
            next_number,
            queues,
            lost,
            next_run,
            runs,
        })
    }

    /// Whether there is a next generation, run and queue: nobody comes near the end of these numbers.
    fn can_be_counted_on(&self) -> bool {
        self.generation <= COUNT_MAX
            && self.next_run <= COUNT_MAX
            && self.next_number <= u32::MAX / 2
    }

    /// Nothing can have been counted of which there is more than the log before the checkpoint can hold; anything else is
    /// refused before it sizes anything.
    pub(crate) fn is_sane(&self) -> bool {
        let end = self.position.end;
        let records = records_max(end);
        let pages = self.half_next.div_ceil(ENTRIES_PER_PAGE);
        end <= OFFSET_MAX
            && is_time(self.position.last_timestamp)
            && self.half_next <= records
            && self.half_first_kept <= self.half_next
            && self
                .queues
                .iter()
                .all(|queue| queue.min <= queue.end && queue.end <= records)
            && self.lost.iter().all(|lost| lost.offset < records)
            && self.runs.iter().all(|(_, items, _)| *items <= end)
            && self
                .undecided_pages
                .iter()
                .all(|(from, to)| from < to && *to <= pages)
            && wide(self.names.len()) < u64::from(u32::MAX)
    }
}
