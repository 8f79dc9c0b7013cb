//! Retention: segments leave from the head of the log, never before what still matters in them was carried forward.

use std::ops::ControlFlow;

use crate::ids::wide;
use crate::log_view::LogView;
use crate::record::MetaBody;
use crate::segment::LOG_FOLDER;
use crate::state::{OWN_META, SegmentUse, Shared, half_tail_key, level_tail_key, queue_tail_key};
use crate::{Error, HalfSeq, PhysicalOffset, SpaceState, Store};

const HOUR_MS: i64 = 3_600_000;

/// What one step of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Undecided halfs whose bytes were carried forward.
    pub relocated: u64,
    /// Bytes written for that.
    pub relocated_bytes: u64,
    /// Undecided halfs whose bytes cannot be read and go with the segment; that they exist is carried forward.
    pub unreadable: u64,
    /// The segment that left: its start.
    pub removed: Option<PhysicalOffset>,
    /// True if another step has work to do at once.
    pub is_unfinished: bool,
}

/// The oldest segment, once it may leave.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    start: u64,
    end: u64,
    used: SegmentUse,
}

impl Store {
    /// Carries a bounded amount of what is undecided out of the oldest segment, if that is old enough or the disk is nearly
    /// full, and removes it when nothing is left. To be called now and then, and again at once while there is more to do.
    ///
    /// # Errors
    /// The disk failed; a failed log write poisons the store.
    pub fn retention_step(&mut self, now_ms: i64) -> Result<RetentionReport, Error> {
        let mut report = RetentionReport::default();
        let Some(leaving) = self.leaving(now_ms) else {
            return Ok(report);
        };
        if !self.relocate_out_of(now_ms, leaving, &mut report)? {
            report.is_unfinished = true;
            return Ok(report);
        }
        self.carry_tails(now_ms, leaving)?;
        // What was carried must be durable before its only other copy goes.
        self.log.write()?;
        self.log.sync()?;
        // A message goes when it has been shown: nobody could tell of one that is still to be shown that it has left.
        let queues = self.shared().queues.all();
        if queues
            .iter()
            .any(|queue| queue.will_show_below(leaving.end))
        {
            report.is_unfinished = true;
            return Ok(report);
        }
        self.remove(leaving)?;
        report.removed = Some(PhysicalOffset(leaving.start));
        report.is_unfinished = self.leaving(now_ms).is_some();
        Ok(report)
    }

    fn leaving(&self, now_ms: i64) -> Option<Leaving> {
        let (start, end) = self.shared().log.segments().first().copied()?;
        if start == self.log.segment_start() {
            return None;
        }
        let used = self.state.segments.get(&start).copied().unwrap_or_default();
        let reserved = i64::try_from(self.settings.file_reserved.as_millis()).unwrap_or(i64::MAX);
        let hour = now_ms.div_euclid(HOUR_MS).rem_euclid(24);
        let is_hour = self.settings.delete_hours.is_empty()
            || self
                .settings
                .delete_hours
                .iter()
                .any(|wanted| i64::from(*wanted) == hour);
        let is_old = used.referred.saturating_add(reserved) < now_ms;
        let is_time = is_hour || self.space.is_tight();
        let is_due = (is_old && is_time) || self.space.state() >= SpaceState::Clean;
        is_due.then_some(Leaving { start, end, used })
    }

    /// True when no undecided half that can be read is left in the segment.
    fn relocate_out_of(
        &mut self,
        now_ms: i64,
        leaving: Leaving,
        report: &mut RetentionReport,
    ) -> Result<bool, Error> {
        let (halfs, is_all) = self.undecided_in(leaving);
        let (mut all_carried, mut outcome) = (Vec::new(), Ok(is_all));
        for seq in halfs {
            match self.carry(now_ms, seq) {
                Ok(carried) => {
                    report.relocated += 1;
                    report.relocated_bytes += carried.bytes;
                    all_carried.push(carried);
                }
                Err(Error::Damaged { .. } | Error::NotFound { .. }) => {
                    self.relocate_without_bytes(now_ms, seq)?;
                    report.unreadable += 1;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // Readers look for a half where it was until it is there, also if it never comes to be.
        self.log.write()?;
        for carried in all_carried {
            self.look_there(&carried);
        }
        outcome
    }

    /// Undecided halfs with their bytes in the segment, about as many as one step carries; and whether these are all.
    fn undecided_in(&self, leaving: Leaving) -> (Vec<HalfSeq>, bool) {
        let (mut found, mut bytes, mut is_all) = (Vec::new(), 0, true);
        self.shared().each_undecided(|seq, row| {
            // Handles grow with the sequence: behind the first one beyond the segment there are no more.
            if row.entry.handle.0 >= leaving.end {
                return ControlFlow::Break(());
            }
            if row.place < leaving.end {
                is_all = bytes < self.settings.relocate_step_bytes;
                if !is_all {
                    return ControlFlow::Break(());
                }
                bytes += u64::from(row.entry.size);
                found.push(seq);
            }
            ControlFlow::Continue(())
        });
        (found, is_all)
    }

    /// Carries forward what only this segment says: metadata, and how far sequences had come whose last record is in it.
    fn carry_tails(&mut self, now_ms: i64, leaving: Leaving) -> Result<(), Error> {
        let mut carried: Vec<(String, Vec<u8>)> = Vec::new();
        for queue in self.shared().queues.all() {
            let min = queue.min_after(
                &self.shared().queue_files,
                leaving.end,
                leaving.used.referred,
            )?;
            let (_, end) = queue.extent();
            if min == end && end > 0 {
                carried.push((
                    queue_tail_key(&queue.topic, queue.id),
                    end.to_le_bytes().to_vec(),
                ));
            }
        }
        for (level, next) in &self.state.schedule {
            carried.push((level_tail_key(*level), next.to_le_bytes().to_vec()));
        }
        if self.state.last_half_at < leaving.end {
            carried.push((half_tail_key(), self.next_half().0.to_le_bytes().to_vec()));
        }
        // Said already, in a record that stays.
        carried.retain(|(key, value)| {
            let known = self.state.meta.get(key);
            known.is_none_or(|known| known.value != *value || known.at < leaving.end)
        });
        // An end that was carried once and is not now has messages behind it that tell more.
        let metas = self
            .state
            .meta
            .iter()
            .filter(|(key, meta)| meta.at < leaving.end && !key.starts_with(OWN_META));
        let metas: Vec<_> = metas
            .map(|(key, meta)| (key.clone(), meta.value.clone()))
            .collect();
        for (key, value) in carried.into_iter().chain(metas) {
            self.append_meta(
                now_ms,
                MetaBody {
                    key: &key,
                    value: &value,
                },
                0,
            )?;
        }
        Ok(())
    }

    fn remove(&mut self, leaving: Leaving) -> Result<(), Error> {
        let shared = self.shared().clone();
        for queue in shared.queues.all() {
            let min = queue.min_after(&shared.queue_files, leaving.end, leaving.used.referred)?;
            queue.raise_min(min);
        }
        let first_kept = shared.first_half_from(PhysicalOffset(leaving.end))?;
        shared.halfs.write().forget_below(first_kept.0);
        shared.index.write().forget_below(leaving.end);
        self.state.queues.set_whole(false);
        self.state.segments.remove(&leaving.start);
        remove_file(&shared.log, &*self.disk, leaving.start)
    }
}

fn remove_file(log: &LogView, disk: &dyn crate::Disk, start: u64) -> Result<(), Error> {
    let Some(segment) = log.remove_segment(start) else {
        return Ok(());
    };
    disk.remove(&segment.name)
        .map_err(Error::disk("remove", &segment.name))?;
    disk.sync_folder(LOG_FOLDER)
        .map_err(Error::disk("sync", LOG_FOLDER))
}

impl Shared {
    /// The first sequence whose half was written at or behind `offset`.
    fn first_half_from(&self, offset: PhysicalOffset) -> Result<HalfSeq, Error> {
        let (mut low, mut high) = {
            let halfs = self.halfs.read();
            (halfs.first_kept(), halfs.next().0)
        };
        while low < high {
            let middle = low + (high - low) / 2;
            let mut at = middle;
            let mut handle = None;
            // A damaged page only makes us keep more than we need.
            while at < high && handle.is_none() {
                handle = self
                    .half_row(HalfSeq(at))
                    .ok()
                    .flatten()
                    .map(|row| row.entry.handle);
                at += wide(1);
            }
            if handle.is_some_and(|handle| handle < offset) {
                low = at;
            } else {
                high = middle;
            }
        }
        Ok(HalfSeq(low))
    }
}
