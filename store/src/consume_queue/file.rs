//! Consume queue files: `queue/<number>-<file>`, 1024 pages each, written at checkpoints.
//! Files are opened as they are needed, so that tens of thousands of queues cost no descriptors.

use std::sync::Arc;

use crate::consume_queue::page::{self, ENTRIES_PER_PAGE, PAGE_BYTES};
use crate::consume_queue::{DirtyEntries, Queue, QueueEntry, rebuild};
use crate::disk::{Disk, DiskFile, read_full};
use crate::ids::{narrow, wide};
use crate::log_view::LogView;
use crate::{Error, PhysicalOffset};

/// Folder of the consume queues.
pub(crate) const QUEUE_FOLDER: &str = "queue";

const PAGES_PER_FILE: u64 = 1024;

/// Reads and writes consume queue pages.
#[derive(Clone, Debug)]
pub(crate) struct QueueFiles {
    disk: Arc<dyn Disk>,
    /// What a damaged page is rebuilt from.
    log: Arc<LogView>,
    record_bytes_max: usize,
}

fn name(number: u32, page: u64) -> String {
    format!("{QUEUE_FOLDER}/{number:08x}-{:08x}", page / PAGES_PER_FILE)
}

fn position(page: u64) -> u64 {
    page % PAGES_PER_FILE * wide(PAGE_BYTES)
}

impl QueueFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, log: Arc<LogView>, record_bytes_max: usize) -> Self {
        QueueFiles {
            disk,
            log,
            record_bytes_max,
        }
    }

    /// The entries of a whole page of a queue. A page that is missing or damaged is rebuilt from the log, and written anew.
    pub(crate) fn page(&self, queue: &Queue, page: u64) -> Result<Vec<QueueEntry>, Error> {
        match self.stored_page(queue.number, page) {
            Err(Error::Damaged { .. } | Error::Disk { .. }) => self.rebuild(queue, page),
            result => result,
        }
    }

    fn rebuild(&self, queue: &Queue, page: u64) -> Result<Vec<QueueEntry>, Error> {
        let before = page
            .checked_sub(1)
            .and_then(|before| self.stored_page(queue.number, before).ok());
        let from = before
            .and_then(|entries| entries.last().map(|entry| entry.physical.0))
            .unwrap_or(0);
        let first = page * ENTRIES_PER_PAGE;
        let segments = self.log.open_segments();
        let entries = rebuild::entries(&segments, self.record_bytes_max, queue, first, from)?;
        // The page is an old, whole one, which no checkpoint writes any more. If it cannot be written, it is rebuilt again.
        let name = name(queue.number, page);
        if let Ok(file) = self.open_or_create(&name) {
            let _ = file.write_at(&page::encode(queue.number, first, &entries), position(page));
        }
        Ok(entries)
    }

    fn stored_page(&self, number: u32, page: u64) -> Result<Vec<QueueEntry>, Error> {
        let name = name(number, page);
        let file = self.disk.open(&name).map_err(Error::disk("open", &name))?;
        let mut bytes = vec![0; PAGE_BYTES];
        read_full(&*file, &mut bytes, position(page)).map_err(Error::disk("read", &name))?;
        page::decode(&bytes, number, page * ENTRIES_PER_PAGE).ok_or_else(|| {
            let offset = PhysicalOffset(page * ENTRIES_PER_PAGE);
            Error::Damaged {
                file: name,
                at: position(page),
                offset,
                what: "consume queue page",
            }
        })
    }

    /// The entries of the last, partial page of a queue with `end` entries.
    pub(crate) fn last_page(&self, number: u32, end: u64) -> Result<Vec<QueueEntry>, Error> {
        let count = narrow(end % ENTRIES_PER_PAGE);
        if end == 0 {
            return Ok(Vec::new());
        }
        // Also when the last page is full: a queue whose file is missing is found out at open.
        let mut entries = self.stored_page(number, (end - 1) / ENTRIES_PER_PAGE)?;
        let have = entries.len();
        let need = if count == 0 {
            narrow(ENTRIES_PER_PAGE)
        } else {
            count
        };
        if have < need {
            let file = name(number, end / ENTRIES_PER_PAGE);
            let offset = PhysicalOffset(end);
            return Err(Error::Damaged {
                file,
                at: 0,
                offset,
                what: "consume queue is behind its checkpoint",
            });
        }
        entries.truncate(count);
        Ok(entries)
    }

    /// Writes entries and makes them durable.
    pub(crate) fn write(&self, queues: &[DirtyEntries]) -> Result<(), Error> {
        let mut unsynced: Vec<(String, Arc<dyn DiskFile>)> = Vec::new();
        for dirty in queues {
            let mut first = dirty.start;
            let pages: Vec<_> = dirty.entries.chunks(narrow(ENTRIES_PER_PAGE)).collect();
            let per_file = |index: u64| (dirty.start / ENTRIES_PER_PAGE + index) / PAGES_PER_FILE;
            let indexed: Vec<(u64, &[QueueEntry])> = (0..).zip(pages).collect();
            for group in indexed.chunk_by(|one, next| per_file(one.0) == per_file(next.0)) {
                let page = first / ENTRIES_PER_PAGE;
                let name = name(dirty.queue.number, page);
                let file = self.open_or_create(&name)?;
                let mut bytes = Vec::with_capacity(group.len() * PAGE_BYTES);
                for (_, entries) in group {
                    bytes.extend_from_slice(&page::encode(dirty.queue.number, first, entries));
                    first += ENTRIES_PER_PAGE;
                }
                file.write_at(&bytes, position(page))
                    .map_err(Error::disk("write", &name))?;
                unsynced.push((name, file));
                if unsynced.len() >= 64 {
                    sync_all(&mut unsynced)?;
                }
            }
        }
        sync_all(&mut unsynced)?;
        // Each time: a file that is there may have been made by a write that did not come so far.
        self.disk
            .sync_folder(QUEUE_FOLDER)
            .map_err(Error::disk("sync", QUEUE_FOLDER))
    }

    fn open_or_create(&self, name: &str) -> Result<Arc<dyn DiskFile>, Error> {
        match self.disk.open(name) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.disk.create(name).map_err(Error::disk("create", name))
            }
            Err(error) => Err(Error::disk("open", name)(error)),
        }
    }

    /// Removes files of queues that `keep` does not know, and those that lie wholly below a queue's first offset.
    /// `keep` gives a queue's first offset by its number.
    pub(crate) fn remove_unused(&self, keep: impl Fn(u32) -> Option<u64>) -> Result<(), Error> {
        for short in self
            .disk
            .list(QUEUE_FOLDER)
            .map_err(Error::disk("list", QUEUE_FOLDER))?
        {
            let Some((number, file)) = parse(&short) else {
                continue;
            };
            let end = (file + 1).saturating_mul(PAGES_PER_FILE * ENTRIES_PER_PAGE);
            if keep(number).is_none_or(|min| end <= min) {
                let name = format!("{QUEUE_FOLDER}/{short}");
                self.disk
                    .remove(&name)
                    .map_err(Error::disk("remove", &name))?;
            }
        }
        Ok(())
    }
}

fn parse(short: &str) -> Option<(u32, u64)> {
    let (number, file) = short.split_once('-')?;
    Some((
        u32::from_str_radix(number, 16).ok()?,
        u64::from_str_radix(file, 16).ok()?,
    ))
}

fn sync_all(files: &mut Vec<(String, Arc<dyn DiskFile>)>) -> Result<(), Error> {
    for (name, file) in files.drain(..) {
        file.sync().map_err(Error::disk("sync", &name))?;
    }
    Ok(())
}
