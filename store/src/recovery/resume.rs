//! Opening the log for appending where replay ended.

use super::Recovered;
use super::replay::Replay;
use super::restore::raise_minimums;
use crate::commit_log::{CommitLog, Head, Resume};
use crate::half_queue::LOG_DAMAGED;
use crate::record::{CutBody, Kind};
use crate::segment::{LOG_FOLDER, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use crate::{Error, HalfSeq, HalfState};

impl Replay<'_> {
    /// Opens the log for appending where replay ended.
    pub(super) fn open_log(mut self, now_ms: i64) -> Result<Recovered, Error> {
        if self.report.checkpoint.is_none() && self.state.shared.log.start() > 0 {
            raise_minimums(&self.state.shared, i64::MAX)?;
        } else if let Some(newest) = self.state.left_referred {
            raise_minimums(&self.state.shared, newest)?;
        }
        if self.state.first_half_is_unknown {
            let mut halfs = self.state.shared.halfs.write();
            let next = halfs.next().0;
            halfs.forget_below(next);
        }
        let unexplained = self.unexplained();
        for seq in &unexplained {
            self.state.shared.halfs.write().flag(*seq, LOG_DAMAGED);
        }
        self.report.parked.clone_from(&unexplained);
        self.make_durable()?;
        let view = self.state.shared.log.clone();
        let segment = match view.segment_of(self.at) {
            Some(segment) => segment,
            None => self.next_segment(now_ms)?,
        };
        let first = segment.start + SEGMENT_HEADER_BYTES;
        let resume = Resume {
            end: self.at.max(first),
            ..self.last
        };
        let mut log = CommitLog::resume(self.disk.clone(), view, self.settings, segment, resume)?;
        if let Some(cut) = &self.report.cut {
            let body = CutBody {
                bytes: cut.bytes,
                records: cut.records,
            };
            log.append(Head::of(Kind::Cut), now_ms, CutBody::LEN, |_, out| {
                body.put(out)
            })?;
        }
        Ok(Recovered {
            log,
            state: self.state,
            checkpointing: self.checkpointing,
            unexplained,
            report: self.report,
        })
    }

    /// The process may have died between a roll's PAD and the next segment.
    fn next_segment(&self, now_ms: i64) -> Result<Segment, Error> {
        let header = SegmentHeader {
            start: self.at,
            bytes: self.settings.segment_bytes,
            created: now_ms,
        };
        let segment = Segment::create(&**self.disk, header, None)?;
        segment
            .file
            .sync()
            .map_err(Error::disk("sync", &segment.name))?;
        self.disk
            .sync_folder(LOG_FOLDER)
            .map_err(Error::disk("sync", LOG_FOLDER))?;
        self.state.shared.log.add_segment(segment.clone());
        Ok(segment)
    }

    /// Halfs that were undecided before a hole, and of which nothing behind it says that they still were.
    fn unexplained(&self) -> Vec<HalfSeq> {
        let Some(hole_end) = self.holes.iter().map(|(_, end)| *end).max() else {
            return Vec::new();
        };
        let halfs = self.state.shared.halfs.read();
        let undecided = halfs.undecided(HalfSeq(0)).filter(|(_, entry)| {
            entry.state == HalfState::Pending
                && entry.handle.0 < hole_end
                && entry.last_op.0 < hole_end
        });
        undecided.map(|(seq, _)| seq).collect()
    }
}
