//! One topic queue: fixed-size entries that point into the commit log, dense from 0. Shared by the writer, who adds entries and
//! moves the visible end, and by readers, who see what lies below it. Entries that are not yet in a file are in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::ids::{narrow, wide};
use crate::{Error, PhysicalOffset, QueueOffset};

pub(crate) mod file;
pub(crate) mod page;
mod rebuild;

pub(crate) use file::QueueFiles;
use page::ENTRIES_PER_PAGE;

/// A message's entry in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// The record that holds the message's bytes.
    pub physical: PhysicalOffset,
    /// Bytes of the message as stored; a committed one is delivered with its transaction id besides.
    pub size: u32,
    /// Hash of its tags as Apache computes it, 0 if it has none.
    pub tags: i32,
    /// When it was stored or, for a transactional message, committed; ms. Never decreases along a queue.
    pub store_timestamp: i64,
    /// True if the message was lost to damage: its offset stays occupied, reading it is an error.
    pub damaged: bool,
}

/// Which of equal or missing timestamps a search by time means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at or after the time; the end of the queue if there is none.
    #[default]
    Lower,
    /// The last message stored at or before the time; the first message if there is none.
    Upper,
}

#[derive(Debug, Default)]
struct Body {
    /// Messages below have left the log.
    min: u64,
    /// The store timestamp of the first message kept, once somebody asked.
    min_timestamp: Option<i64>,
    /// The index of the first entry in memory, a page boundary.
    memory_start: u64,
    memory: VecDeque<QueueEntry>,
    /// Entries below are in the file.
    flushed: u64,
    /// Readers see entries below.
    visible: u64,
}

/// The shared side of a queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) topic: Arc<str>,
    pub(crate) id: i32,
    /// Names its files.
    pub(crate) number: u32,
    body: RwLock<Body>,
}

/// Entries that a checkpoint writes, from a page boundary on.
#[derive(Clone, Debug)]
pub(crate) struct DirtyEntries {
    pub(crate) queue: Arc<Queue>,
    pub(crate) start: u64,
    pub(crate) entries: Vec<QueueEntry>,
}

impl DirtyEntries {
    pub(crate) fn end(&self) -> u64 {
        self.start + wide(self.entries.len())
    }
}

fn page_start(index: u64) -> u64 {
    index - index % ENTRIES_PER_PAGE
}

const VACANT: QueueEntry = QueueEntry {
    physical: PhysicalOffset(0),
    size: 0,
    tags: 0,
    store_timestamp: 0,
    damaged: true,
};

impl Queue {
    /// A queue whose first entry will be `start`.
    pub(crate) fn new(topic: Arc<str>, id: i32, number: u32, start: u64) -> Queue {
        let queue = Queue {
            topic,
            id,
            number,
            body: RwLock::default(),
        };
        queue.restart(start);
        queue
    }

    /// Forgets everything below `start`. Pages begin at fixed indexes, so the first one is filled up with vacant entries.
    pub(crate) fn restart(&self, start: u64) {
        let mut body = self.body.write();
        let memory_start = page_start(start);
        let memory = std::iter::repeat_n(VACANT, narrow(start - memory_start)).collect();
        *body = Body {
            min: start,
            min_timestamp: None,
            memory_start,
            memory,
            flushed: memory_start,
            visible: start,
        };
    }

    /// A queue as a checkpoint knows it: all entries below `end` are in files, `last_page` holds those of the last, partial one.
    pub(crate) fn restore(
        topic: Arc<str>,
        id: i32,
        number: u32,
        min: u64,
        end: u64,
        last_page: Vec<QueueEntry>,
    ) -> Queue {
        let memory_start = page_start(end);
        let body = Body {
            min,
            min_timestamp: None,
            memory_start,
            memory: last_page.into(),
            flushed: end,
            visible: end,
        };
        Queue {
            topic,
            id,
            number,
            body: RwLock::new(body),
        }
    }

    pub(crate) fn push(&self, entry: QueueEntry) {
        self.body.write().memory.push_back(entry);
    }

    /// Lets readers see entries below `end`.
    pub(crate) fn show(&self, end: u64) {
        self.body.write().visible = end;
    }

    /// The first offset kept and the visible end.
    pub(crate) fn range(&self) -> (QueueOffset, QueueOffset) {
        let body = self.body.read();
        (
            QueueOffset(body.min.min(body.visible)),
            QueueOffset(body.visible),
        )
    }

    /// Raises the first offset kept.
    pub(crate) fn raise_min(&self, min: u64) {
        let mut body = self.body.write();
        if min > body.min {
            body.min = min;
            body.min_timestamp = None;
        }
    }

    /// The store timestamp of the first message kept; remembered, so that retention need not read a page of every queue.
    fn first_timestamp(&self, files: &QueueFiles) -> Result<i64, Error> {
        let (min, known) = {
            let body = self.body.read();
            (body.min, body.min_timestamp)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let timestamp = self.timestamp(files, min)?;
        let mut body = self.body.write();
        if body.min == min && timestamp != i64::MAX {
            body.min_timestamp = Some(timestamp);
        }
        Ok(timestamp)
    }

    /// The store timestamp of the newest entry, visible or not.
    pub(crate) fn last_timestamp(&self) -> i64 {
        self.body
            .read()
            .memory
            .back()
            .map_or(0, |entry| entry.store_timestamp)
    }

    /// Up to `max` visible entries from `from` on. `from` must not be below the first offset kept.
    pub(crate) fn entries(
        &self,
        files: &QueueFiles,
        from: u64,
        max: usize,
    ) -> Result<Vec<QueueEntry>, Error> {
        let mut found = Vec::new();
        let mut at = from;
        while found.len() < max {
            let page = {
                let body = self.body.read();
                if at < body.min || at >= body.visible {
                    break;
                }
                match at.checked_sub(body.memory_start) {
                    Some(skip) => {
                        let end = narrow(body.visible - body.memory_start);
                        let range = body.memory.range(narrow(skip)..end.min(body.memory.len()));
                        let wanted = max - found.len();
                        found.extend(range.take(wanted).copied());
                        break;
                    }
                    None => at / ENTRIES_PER_PAGE,
                }
            };
            let entries = files.page(self, page)?;
            let skip = narrow(at % ENTRIES_PER_PAGE);
            let wanted = max - found.len();
            found.extend(entries.get(skip..).unwrap_or_default().iter().take(wanted));
            at = (page + 1) * ENTRIES_PER_PAGE;
        }
        Ok(found)
    }

    /// The visible entry at `at`, unless it is only in a file.
    pub(crate) fn in_memory(&self, at: u64) -> Option<QueueEntry> {
        let body = self.body.read();
        if at < body.min || at >= body.visible {
            return None;
        }
        let index = at.checked_sub(body.memory_start)?;
        body.memory.get(narrow(index)).copied()
    }

    fn timestamp(&self, files: &QueueFiles, index: u64) -> Result<i64, Error> {
        let entry = self.entries(files, index, 1)?.first().copied();
        Ok(entry.map_or(i64::MAX, |entry| entry.store_timestamp))
    }

    /// The first index in the visible range whose timestamp satisfies `after`, which holds for all later ones too.
    fn partition(&self, files: &QueueFiles, after: impl Fn(i64) -> bool) -> Result<u64, Error> {
        let (QueueOffset(mut low), QueueOffset(mut high)) = self.range();
        while low < high {
            let middle = low + (high - low) / 2;
            if after(self.timestamp(files, middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The offset for a time.
    pub(crate) fn by_time(
        &self,
        files: &QueueFiles,
        time: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, Error> {
        let (min, _) = self.range();
        match boundary {
            Boundary::Lower => self.partition(files, |at| at >= time).map(QueueOffset),
            Boundary::Upper => {
                let above = self.partition(files, |at| at > time)?;
                Ok(QueueOffset(above.saturating_sub(1)).max(min))
            }
        }
    }

    /// What retention asks when the log is about to begin at `log_start`: the offset below which everything is older than
    /// `newest` and some bytes are gone.
    pub(crate) fn min_after(
        &self,
        files: &QueueFiles,
        log_start: u64,
        newest: i64,
    ) -> Result<u64, Error> {
        let (QueueOffset(min), _) = self.range();
        if self.first_timestamp(files)? > newest {
            return Ok(min);
        }
        let mut index = self.partition(files, |at| at > newest)?;
        while index > min {
            let entry = self.entries(files, index - 1, 1)?;
            if entry
                .first()
                .is_none_or(|entry| entry.physical.0 < log_start)
            {
                break;
            }
            index -= 1;
        }
        Ok(index.max(min))
    }

    /// Whether an entry that nobody has seen yet has its bytes below `log_start`.
    pub(crate) fn will_show_below(&self, log_start: u64) -> bool {
        let body = self.body.read();
        let shown = narrow(body.visible.saturating_sub(body.memory_start));
        let mut unseen = body.memory.iter().skip(shown);
        unseen.any(|entry| entry.physical.0 < log_start)
    }

    /// What a checkpoint must write: everything that is not in a file, from the boundary of its page on.
    pub(crate) fn dirty(self: &Arc<Self>) -> Option<DirtyEntries> {
        let body = self.body.read();
        let end = body.memory_start + wide(body.memory.len());
        if end == body.flushed {
            return None;
        }
        Some(DirtyEntries {
            queue: self.clone(),
            start: body.memory_start,
            entries: body.memory.iter().copied().collect(),
        })
    }

    /// Entries below `end` are in the file: whole pages leave memory.
    pub(crate) fn written(&self, end: u64) {
        let mut body = self.body.write();
        if end < body.flushed {
            return;
        }
        body.flushed = end;
        let start = page_start(end.min(body.visible));
        let drop = narrow(start.saturating_sub(body.memory_start)).min(body.memory.len());
        body.memory.drain(..drop);
        body.memory_start += wide(drop);
        if body.memory.capacity() > 4 * body.memory.len() + 256 {
            body.memory.shrink_to_fit();
        }
    }

    /// First offset kept and the end of all entries, visible or not.
    pub(crate) fn extent(&self) -> (u64, u64) {
        let body = self.body.read();
        (body.min, body.memory_start + wide(body.memory.len()))
    }
}
