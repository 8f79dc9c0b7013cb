//! Replay: record by record through the functions that append uses, and what to do where the log fails.

use std::collections::VecDeque;
use std::sync::Arc;

use super::report::{CutKind, Damage, RecoveryReport};
use super::scan::{Found, Scan};
use crate::checkpoint::{self, Checkpointing};
use crate::commit_log::Resume;
use crate::disk::Disk;
use crate::ids::wide;
use crate::record::header::ALIGNMENT;
use crate::record::{HEADER_BYTES, Header};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::state::{NotApplied, State};
use crate::{Error, PhysicalOffset, Settings};

pub(super) struct Replay<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) settings: &'a Settings,
    pub(super) scan: Scan<'a>,
    pub(super) state: State,
    pub(super) checkpointing: Checkpointing,
    /// The highest durable watermark stated so far.
    pub(super) durable: u64,
    /// Good records that end above it: their places and header checksums.
    pub(super) window: VecDeque<(u64, u32)>,
    pub(super) at: u64,
    pub(super) previous: Option<u32>,
    pub(super) last: Resume,
    /// Damaged spans of which nothing is known: they may hide ops.
    pub(super) holes: Vec<(u64, u64)>,
    pub(super) flushed: u64,
    pub(super) report: RecoveryReport,
}

/// What to do where the log fails.
enum Verdict {
    Damage,
    Cut { kind: CutKind, records: u64 },
    End,
}

impl<'a> Replay<'a> {
    pub(super) fn run(&mut self) -> Result<(), Error> {
        while let Some(segment) = self.scan.segment_of(self.at) {
            // Damage may reach to the start of a segment that an earlier open made behind it, and to where an older segment has no
            // room left for a record.
            self.at = self.at.max(segment.start + SEGMENT_HEADER_BYTES);
            if segment.end().saturating_sub(self.at) < wide(HEADER_BYTES) {
                self.at = segment.end();
                continue;
            }
            match self.scan.at(segment, self.at, self.previous)? {
                Found::Record(stored) => {
                    let header = stored.header;
                    self.note_window(&header);
                    match self.state.apply(&stored) {
                        Ok(()) => self.note(segment, &header),
                        Err(NotApplied::Disk(error)) => return Err(error),
                        Err(NotApplied::Malformed) => {
                            self.step_over(segment, &header, "record body makes no sense")?
                        }
                    }
                    if !self.advance(segment, &header) {
                        break;
                    }
                    self.flush()?;
                }
                failed => {
                    if !self.fail(segment, failed)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, segment: &Segment, header: &Header) {
        self.report.records += 1;
        self.report.bytes += u64::from(header.len);
        self.state
            .note_record(segment.start, header.store_timestamp);
    }

    /// Goes on behind a record; false at the end of the last segment.
    fn advance(&mut self, segment: &Segment, header: &Header) -> bool {
        self.durable = self.durable.max(header.durable);
        self.previous = Some(header.crc);
        self.last = Resume {
            end: header.end(),
            previous_crc: header.crc,
            last_timestamp: self.last.last_timestamp.max(header.store_timestamp),
        };
        match self.scan.behind(segment, header) {
            Some(next) => self.at = next,
            None => {
                // The PAD is there, the next segment is not yet.
                self.at = segment.end();
                return false;
            }
        }
        true
    }

    /// The log fails at `self.at`. True if replay can go on behind the damage.
    fn fail(&mut self, segment: &'a Segment, found: Found) -> Result<bool, Error> {
        match self.judge(&found)? {
            Verdict::End => Ok(false),
            Verdict::Cut { kind, records } => {
                self.cut(segment, kind, records)?;
                Ok(false)
            }
            Verdict::Damage => self.skip(segment, found),
        }
    }

    fn search_end(&self) -> u64 {
        let record_max = wide(self.settings.record_bytes_max).saturating_add(8192);
        self.at
            .saturating_add(self.settings.unsynced_bytes_max)
            .saturating_add(record_max)
    }

    fn judge(&mut self, found: &Found) -> Result<Verdict, Error> {
        if self.at < self.durable {
            return Ok(Verdict::Damage);
        }
        let stated = match found {
            Found::BadHead { stated, .. } => *stated,
            Found::BadBody(header) => [header.crc; 2],
            Found::Record(_) | Found::Nothing => [0; 2],
        };
        let window = self.search_end();
        let mut records = 0;
        let mut from = self.at + ALIGNMENT;
        while let Some(header) = self.scan.next_good(from, window, stated)? {
            let chain = self.scan.follow(header)?;
            if chain.durable > self.at {
                self.durable = self.durable.max(chain.durable);
                return Ok(Verdict::Damage);
            }
            records += chain.records;
            from = chain.end;
        }
        if records > 0 {
            return Ok(Verdict::Cut {
                kind: CutKind::UnsyncedHole,
                records,
            });
        }
        let is_empty = self.scan.content_end(self.at, window)? == self.at;
        let is_last = self
            .scan
            .segment_of(self.at)
            .and_then(|segment| self.scan.segment_after(segment))
            .is_none();
        Ok(if is_empty && is_last {
            Verdict::End
        } else {
            Verdict::Cut {
                kind: CutKind::TornTail,
                records: 0,
            }
        })
    }

    /// Damage below the watermark: steps over what its head explains, or over everything up to the next good head.
    fn skip(&mut self, segment: &'a Segment, found: Found) -> Result<bool, Error> {
        let (header, what, stated) = match found {
            Found::BadBody(header) => (Some(header), "record body", [0; 2]),
            Found::BadHead { repaired, stated } => (repaired, "record head", stated),
            Found::Record(_) | Found::Nothing => (None, "record head", [0; 2]),
        };
        let is_usable = |header: &Header| header.end() <= segment.end() && header.is_possible();
        if let Some(header) = header.filter(is_usable) {
            self.step_over(segment, &header, what)?;
            return Ok(self.advance(segment, &header));
        }
        let from = self.at + ALIGNMENT;
        let next = self
            .scan
            .next_good(from, u64::MAX, stated)?
            .map(|header| header.offset);
        // Without a good head behind it everything up to the watermark is lost, and the log goes on there.
        let end = next.unwrap_or(self.durable).max(from);
        self.hole(segment, end);
        self.previous = None;
        self.at = end;
        Ok(true)
    }

    /// A record that cannot be read, but whose head can: what it did is known.
    fn step_over(
        &mut self,
        segment: &Segment,
        header: &Header,
        what: &'static str,
    ) -> Result<(), Error> {
        self.state.apply_head(header)?;
        self.state
            .note_record(segment.start, header.store_timestamp);
        self.damage(
            segment,
            u64::from(header.len),
            what,
            Some(header.kind.name()),
        );
        Ok(())
    }

    fn hole(&mut self, segment: &Segment, end: u64) {
        self.holes.push((self.at, end));
        self.damage(segment, end - self.at, "log", None);
    }

    fn damage(
        &mut self,
        segment: &Segment,
        bytes: u64,
        what: &'static str,
        record: Option<&'static str>,
    ) {
        self.state.shared.log.add_damage(self.at, self.at + bytes);
        self.report.damaged.push(Damage {
            file: segment.name.clone(),
            at: self.at - segment.start,
            offset: PhysicalOffset(self.at),
            bytes,
            what,
            record,
        });
    }

    /// Empties memory into the derived files, so that rebuilding a long log does not need memory for all of it.
    fn flush(&mut self) -> Result<(), Error> {
        if self.at.saturating_sub(self.flushed)
            < checkpoint::replay_flush_bytes(self.settings.checkpoint_bytes)
        {
            return Ok(());
        }
        self.flushed = self.at;
        // Derived files must never know more than a log that loses its unsynced tail.
        self.make_durable()?;
        let job = checkpoint::begin(
            self.disk,
            &mut self.state,
            &mut self.checkpointing,
            self.last,
            false,
        );
        checkpoint::finish(&self.state, &mut self.checkpointing, job.run())
    }
}
