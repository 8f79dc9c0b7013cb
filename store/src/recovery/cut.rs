//! Cutting the end of a log: what goes is saved first, and named.

use super::replay::Replay;
use super::report::{Cut, CutKind};
use crate::ids::narrow;
use crate::segment::{LOG_FOLDER, Segment};
use crate::{Error, PhysicalOffset};

/// Keeps what was cut.
pub(super) const LOST_FOLDER: &str = "lost+found";

impl<'a> Replay<'a> {
    /// Takes everything from `self.at` on away: saves it, then zeroes it, so that no stale record can ever be met again.
    pub(super) fn cut(
        &mut self,
        segment: &'a Segment,
        kind: CutKind,
        records: u64,
    ) -> Result<(), Error> {
        let mut end = self.scan.content_end(self.at, u64::MAX)?;
        // A file that is longer than its segment: what is behind would come to light once the segments behind it have left.
        let mut whole = segment.clone();
        whole.bytes = whole.bytes.max(segment.file_bytes()?);
        if whole.bytes > segment.bytes {
            end = whole.end();
        }
        let mut saved = Vec::new();
        if end > self.at {
            saved.push(self.save(&whole, end)?);
            self.zero(segment, end)?;
            segment
                .file
                .sync()
                .map_err(Error::disk("sync", &segment.name))?;
        }
        let mut bytes = end - self.at;
        let mut next = self.scan.segment_after(segment);
        while let Some(later) = next {
            bytes += later.file_end()?.saturating_sub(later.start);
            let name = self.unused(format!("segment-{:020}", later.start))?;
            self.disk
                .rename(&later.name, &name)
                .map_err(Error::disk("rename", &later.name))?;
            self.state.shared.log.remove_segment(later.start);
            saved.push(name);
            next = self.scan.segment_after(later);
        }
        for folder in [LOST_FOLDER, LOG_FOLDER] {
            self.disk
                .sync_folder(folder)
                .map_err(Error::disk("sync", folder))?;
        }
        self.report.cut = Some(Cut {
            kind,
            file: segment.name.clone(),
            at: self.at - segment.start,
            offset: PhysicalOffset(self.at),
            bytes,
            records,
            saved,
        });
        Ok(())
    }

    fn zero(&self, segment: &Segment, end: u64) -> Result<(), Error> {
        for (start, len) in steps(self.at, end) {
            let zeroed = segment.file.write_at(&vec![0; len], start - segment.start);
            zeroed.map_err(Error::disk("write", &segment.name))?;
        }
        Ok(())
    }

    /// Where to keep what is cut: never over what an earlier cut kept.
    fn unused(&self, first: String) -> Result<String, Error> {
        let kept = self
            .disk
            .list(LOST_FOLDER)
            .map_err(Error::disk("list", LOST_FOLDER))?;
        let others = (1..).map(|number| format!("{first}-{number}"));
        let mut names = std::iter::once(first.clone()).chain(others);
        let name = names.find(|name| !kept.contains(name)).unwrap_or(first);
        Ok(format!("{LOST_FOLDER}/{name}"))
    }

    /// Keeps what is about to be cut.
    fn save(&self, segment: &Segment, end: u64) -> Result<String, Error> {
        let name = self.unused(format!("{:020}", self.at))?;
        let file = self
            .disk
            .create(&name)
            .map_err(Error::disk("create", &name))?;
        for (start, len) in steps(self.at, end) {
            let mut bytes = vec![0; len];
            segment.read(&mut bytes, start)?;
            file.write_at(&bytes, start - self.at)
                .map_err(Error::disk("write", &name))?;
        }
        file.sync().map_err(Error::disk("sync", &name))?;
        Ok(name)
    }
}

/// Cuts a span into pieces that fit memory.
fn steps(start: u64, end: u64) -> impl Iterator<Item = (u64, usize)> {
    const STEP: u64 = 1 << 20;
    (0..end.saturating_sub(start).div_ceil(STEP)).map(move |step| {
        let from = start + step * STEP;
        (from, narrow((end - from).min(STEP)))
    })
}
