//! A consume queue page, found again in the log: rot in a derived file costs nothing that the log still has.

use crate::consume_queue::page::ENTRIES_PER_PAGE;
use crate::consume_queue::{Queue, QueueEntry};
use crate::hash::{queue_hash, topic_hash};
use crate::ids::narrow;
use crate::log_view::Stored;
use crate::record::header::ALIGNMENT;
use crate::record::{Header, Kind};
use crate::recovery::scan::{Found, Scan};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::state::entry_of;
use crate::{Error, PhysicalOffset};

/// The entries of `queue` from `first` on, one page of them. No record of theirs is before `from`.
pub(crate) fn entries(
    segments: &[Segment],
    record_bytes_max: usize,
    queue: &Queue,
    first: u64,
    from: u64,
) -> Result<Vec<QueueEntry>, Error> {
    let mut scan = Scan::new(segments, record_bytes_max);
    let hash = queue_hash(&queue.topic, queue.id);
    let mut page = Page {
        queue,
        hash,
        first,
        found: vec![None; narrow(ENTRIES_PER_PAGE)],
    };
    let start = segments
        .first()
        .map_or(0, |segment| segment.start + SEGMENT_HEADER_BYTES);
    let mut next = Some(from.max(start));
    while let Some(at) = next.filter(|_| !page.is_whole()) {
        next = match scan.segment_of(at) {
            Some(segment) => step(&mut scan, segment, at, &mut page)?,
            None => None,
        };
    }
    Ok(page.finish())
}

/// Looks at what is at `at`, and gives where to go on.
fn step(
    scan: &mut Scan<'_>,
    segment: &Segment,
    at: u64,
    page: &mut Page<'_>,
) -> Result<Option<u64>, Error> {
    Ok(match scan.at(segment, at, None)? {
        Found::Record(stored) => {
            page.take(&stored);
            scan.behind(segment, &stored.header)
        }
        Found::BadBody(header)
        | Found::BadHead {
            repaired: Some(header),
            ..
        } => {
            page.lose(&header);
            scan.behind(segment, &header)
        }
        Found::BadHead {
            repaired: None,
            stated,
        } => scan
            .next_good(at + ALIGNMENT, u64::MAX, stated)?
            .map(|header| header.offset),
        Found::Nothing => None,
    })
}

struct Page<'a> {
    queue: &'a Queue,
    hash: u64,
    first: u64,
    found: Vec<Option<QueueEntry>>,
}

impl Page<'_> {
    fn slot(&mut self, header: &Header) -> Option<&mut Option<QueueEntry>> {
        let is_entry = matches!(header.kind, Kind::Normal | Kind::Delivery | Kind::Commit);
        let slot = header.position.checked_sub(self.first).map(narrow)?;
        if is_entry && header.subject == self.hash {
            self.found.get_mut(slot)
        } else {
            None
        }
    }

    fn take(&mut self, stored: &Stored) {
        let header = &stored.header;
        if header.kind == Kind::DropTopic && header.subject == topic_hash(&self.queue.topic) {
            // What came before belonged to a topic that is gone.
            self.found.fill(None);
        }
        if let Some(slot) = self.slot(header) {
            *slot = entry_of(stored);
        }
    }

    fn lose(&mut self, header: &Header) {
        let physical = PhysicalOffset(header.offset);
        let store_timestamp = header.store_timestamp;
        if let Some(slot) = self.slot(header) {
            *slot = Some(QueueEntry {
                physical,
                size: 0,
                tags: 0,
                store_timestamp,
                damaged: true,
            });
        }
    }

    fn is_whole(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    /// Offsets that nothing in the log explains stay occupied.
    fn finish(self) -> Vec<QueueEntry> {
        let mut store_timestamp = 0;
        let entries = self.found.into_iter().map(|entry| {
            let lost = QueueEntry {
                physical: PhysicalOffset(0),
                size: 0,
                tags: 0,
                store_timestamp,
                damaged: true,
            };
            let entry = entry.unwrap_or(lost);
            store_timestamp = entry.store_timestamp;
            entry
        });
        entries.collect()
    }
}
