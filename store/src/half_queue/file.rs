//! The half queue's files: `half/<number>`, 1280 pages each. Written at checkpoints, read for decided halfs and at open.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Error;
use crate::disk::{Disk, DiskFile, read_full};
use crate::error::is_missing;
use crate::half_queue::page::{self, ENTRIES_PER_PAGE, PAGE_BYTES, Row};
use crate::half_queue::{DirtyPage, HalfSeq};
use crate::ids::{narrow, wide};

/// Folder of the half queue.
pub(crate) const HALF_FOLDER: &str = "half";

/// Pages of one file.
const PAGES_PER_FILE: u64 = 1280;

/// Pages that an open reads at a time.
const PAGES_AT_A_TIME: u64 = 64;

/// Opens files as they are needed: few are ever live.
#[derive(Clone, Debug)]
pub(crate) struct HalfFiles {
    disk: Arc<dyn Disk>,
    /// The numbers of the files that are there, once somebody has asked. Of a long history few are.
    there: Arc<Mutex<Option<BTreeSet<u64>>>>,
}

fn name(page: u64) -> String {
    format!("{HALF_FOLDER}/{:012}", page / PAGES_PER_FILE)
}

fn position(page: u64) -> u64 {
    page % PAGES_PER_FILE * wide(PAGE_BYTES)
}

impl HalfFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        HalfFiles {
            disk,
            there: Arc::default(),
        }
    }

    /// The first page from `page` on that a file has.
    pub(crate) fn next_in_a_file(&self, page: u64) -> Result<Option<u64>, Error> {
        let mut from = Some(page / PAGES_PER_FILE);
        while let Some(first) = from {
            let Some(number) = self.next_file(first)? else {
                break;
            };
            let next = page.max(number.saturating_mul(PAGES_PER_FILE));
            match self.open(next) {
                Ok((name, file)) => {
                    let size = file.size().map_err(Error::disk("size", &name))?;
                    if position(next) < size {
                        return Ok(Some(next));
                    }
                }
                // It has just been removed.
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
            from = number.checked_add(1);
        }
        Ok(None)
    }

    fn next_file(&self, number: u64) -> Result<Option<u64>, Error> {
        let mut there = self.there.lock();
        let numbers = match &mut *there {
            Some(numbers) => numbers,
            unknown => unknown.insert(self.list()?.collect()),
        };
        Ok(numbers.range(number..).next().copied())
    }

    fn list(&self) -> Result<impl Iterator<Item = u64>, Error> {
        let names = self.disk.list(HALF_FOLDER);
        let names = names.map_err(Error::disk("list", HALF_FOLDER))?;
        Ok(names.into_iter().filter_map(|short| short.parse().ok()))
    }

    fn create(&self, page: u64) -> Result<Arc<dyn DiskFile>, Error> {
        let name = name(page);
        let file = self.disk.create(&name);
        let file = file.map_err(Error::disk("create", &name))?;
        if let Some(there) = &mut *self.there.lock() {
            there.insert(page / PAGES_PER_FILE);
        }
        Ok(file)
    }

    fn remove(&self, page: u64) -> Result<(), Error> {
        let name = name(page);
        let removed = self.disk.remove(&name);
        removed.map_err(Error::disk("remove", &name))?;
        if let Some(there) = &mut *self.there.lock() {
            there.remove(&(page / PAGES_PER_FILE));
        }
        Ok(())
    }

    fn open(&self, page: u64) -> Result<(String, Arc<dyn DiskFile>), Error> {
        let name = name(page);
        let file = self.disk.open(&name).map_err(Error::disk("open", &name))?;
        Ok((name, file))
    }

    /// The row of one half; `Ok(None)` if its slot is vacant.
    pub(crate) fn row(&self, seq: HalfSeq) -> Result<Option<Row>, Error> {
        let page = seq.0 / ENTRIES_PER_PAGE;
        let rows = self.page(page)?;
        Ok(rows
            .get(narrow(seq.0 % ENTRIES_PER_PAGE))
            .copied()
            .flatten())
    }

    /// The rows of a page that may never have been written; `Ok(None)` if it was not.
    pub(crate) fn page_if_written(&self, number: u64) -> Result<Option<Vec<Option<Row>>>, Error> {
        let (name, file) = match self.open(number) {
            Ok(opened) => opened,
            Err(Error::Disk { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; PAGE_BYTES];
        read_full(&*file, &mut bytes, position(number)).map_err(Error::disk("read", &name))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.page(number).map(Some)
    }

    /// The rows of a page that is there.
    pub(crate) fn page(&self, number: u64) -> Result<Vec<Option<Row>>, Error> {
        let (name, file) = match self.open(number) {
            // As good as damaged: the log has what it held.
            Err(error) if is_missing(&error) => return Err(damaged_page(number)),
            opened => opened?,
        };
        // A checkpoint may be rewriting the very page: look again before crying damage.
        for _ in 0..3 {
            if let Some(rows) = read_page(&*file, &name, number)? {
                return Ok(rows);
            }
        }
        Err(damaged(name, number))
    }

    /// Rows of a run of pages, in order. Strict: a page that is missing or damaged is an error.
    pub(crate) fn pages(
        &self,
        start: u64,
        end: u64,
        mut take: impl FnMut(u64, Row),
    ) -> Result<(), Error> {
        let mut number = start;
        while number < end {
            let file_end = (number / PAGES_PER_FILE + 1) * PAGES_PER_FILE;
            let until = end.min(file_end).min(number + PAGES_AT_A_TIME);
            let (name, file) = self.open(number)?;
            let mut bytes = vec![0; narrow(until - number) * PAGE_BYTES];
            let read = read_full(&*file, &mut bytes, position(number))
                .map_err(Error::disk("read", &name))?;
            bytes.truncate(read);
            let mut pages = bytes.chunks_exact(PAGE_BYTES);
            while number < until {
                let first = number * ENTRIES_PER_PAGE;
                let rows = pages.next().and_then(|bytes| page::decode(bytes, first));
                let rows = rows.ok_or_else(|| damaged(name.clone(), number))?;
                (first..).zip(rows).for_each(|(seq, row)| {
                    if let Some(row) = row {
                        take(seq, row);
                    }
                });
                number += 1;
            }
        }
        Ok(())
    }

    /// Writes pages and makes them durable. Rows that are not in memory are taken over from the page on disk; where that is
    /// damaged, it is left as it is: what it had must not be taken for vacant. Gives the numbers of those pages.
    pub(crate) fn write(&self, pages: &[DirtyPage]) -> Result<Vec<u64>, Error> {
        let mut left = Vec::new();
        for group in
            pages.chunk_by(|one, next| one.number / PAGES_PER_FILE == next.number / PAGES_PER_FILE)
        {
            let Some(first) = group.first() else { continue };
            let name = name(first.number);
            let file = match self.disk.open(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.create(first.number)?
                }
                Err(error) => return Err(Error::disk("open", &name)(error)),
            };
            left.extend(write_group(&*file, &name, group)?);
            file.sync().map_err(Error::disk("sync", &name))?;
        }
        // Each time: a file that is there may have been made by a write that did not come so far.
        self.disk
            .sync_folder(HALF_FOLDER)
            .map_err(Error::disk("sync", HALF_FOLDER))?;
        Ok(left)
    }

    /// Removes the files that hold only sequences below `seq`, none of the `kept` pages (runs of page numbers), and no half
    /// whose bytes were carried to `log_start` or beyond.
    pub(crate) fn remove_below(
        &self,
        seq: u64,
        kept: &[(u64, u64)],
        log_start: u64,
    ) -> Result<(), Error> {
        for number in self.list()? {
            let (start, end) = (
                number.saturating_mul(PAGES_PER_FILE),
                (number + 1).saturating_mul(PAGES_PER_FILE),
            );
            let used = kept.iter().any(|run| run.0 < end && start < run.1);
            let is_below = end.saturating_mul(ENTRIES_PER_PAGE) <= seq;
            if is_below && !used && !self.has_carried(start, end, log_start)? {
                self.remove(start)?;
            }
        }
        Ok(())
    }

    fn has_carried(&self, start: u64, end: u64, log_start: u64) -> Result<bool, Error> {
        for page in start..end {
            let rows = match self.page_if_written(page) {
                Ok(rows) => rows.unwrap_or_default(),
                // A damaged page can tell nobody where bytes are; one that cannot be read today can tomorrow.
                Err(Error::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            if rows.iter().flatten().any(|row| row.place >= log_start) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes all files: they will be rebuilt from the log.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        for short in self
            .disk
            .list(HALF_FOLDER)
            .map_err(Error::disk("list", HALF_FOLDER))?
        {
            let name = format!("{HALF_FOLDER}/{short}");
            self.disk
                .remove(&name)
                .map_err(Error::disk("remove", &name))?;
        }
        *self.there.lock() = None;
        Ok(())
    }
}

/// The error that tells of a damaged page.
pub(crate) fn damaged_page(page: u64) -> Error {
    damaged(name(page), page)
}

fn damaged(file: String, page: u64) -> Error {
    let offset = crate::PhysicalOffset(page * ENTRIES_PER_PAGE);
    Error::Damaged {
        file,
        at: position(page),
        offset,
        what: "half queue page",
    }
}

fn read_page(
    file: &dyn DiskFile,
    name: &str,
    number: u64,
) -> Result<Option<Vec<Option<Row>>>, Error> {
    let mut bytes = vec![0; PAGE_BYTES];
    read_full(file, &mut bytes, position(number)).map_err(Error::disk("read", name))?;
    Ok(page::decode(&bytes, number * ENTRIES_PER_PAGE))
}

/// Writes neighbouring pages with one write each. Gives the numbers of those that cannot be written, for what is there is damaged.
fn write_group(file: &dyn DiskFile, name: &str, group: &[DirtyPage]) -> Result<Vec<u64>, Error> {
    let mut left = Vec::new();
    let mut whole: Vec<(u64, Vec<u8>)> = Vec::new();
    for dirty in group {
        match whole_page(file, name, dirty)? {
            Some(bytes) => whole.push((dirty.number, bytes)),
            None => left.push(dirty.number),
        }
    }
    for run in whole.chunk_by(|one, next| one.0 + 1 == next.0) {
        let Some((first, _)) = run.first() else {
            continue;
        };
        let bytes: Vec<u8> = run.iter().flat_map(|(_, page)| page).copied().collect();
        file.write_at(&bytes, position(*first))
            .map_err(Error::disk("write", name))?;
    }
    Ok(left)
}

/// A page with the rows of the file that are not in memory; `None` if there may be some and they cannot be read.
fn whole_page(
    file: &dyn DiskFile,
    name: &str,
    dirty: &DirtyPage,
) -> Result<Option<Vec<u8>>, Error> {
    let mut rows = dirty.rows.clone();
    if rows.iter().any(Option::is_none) {
        let mut before = vec![0; PAGE_BYTES];
        read_full(file, &mut before, position(dirty.number)).map_err(Error::disk("read", name))?;
        if before.iter().any(|byte| *byte != 0) {
            let Some(before) = page::decode(&before, dirty.number * ENTRIES_PER_PAGE) else {
                return Ok(None);
            };
            for (row, before) in rows.iter_mut().zip(before) {
                *row = row.or(before);
            }
        }
    }
    Ok(Some(page::encode(dirty.number * ENTRIES_PER_PAGE, &rows)))
}
