//! The half queue's files: `half/<number>`, 1280 pages each. Written at checkpoints, read for decided halfs and at open.

use std::sync::Arc;

use crate::Error;
use crate::disk::{Disk, DiskFile, read_full};
use crate::half_queue::page::{self, ENTRIES_PER_PAGE, PAGE_BYTES, Row};
use crate::half_queue::{DirtyPage, HalfSeq};
use crate::ids::{narrow, wide};

/// Folder of the half queue.
pub(crate) const HALF_FOLDER: &str = "half";

/// Pages of one file.
const PAGES_PER_FILE: u64 = 1280;

/// Opens files as they are needed: few are ever live.
#[derive(Clone, Debug)]
pub(crate) struct HalfFiles {
    disk: Arc<dyn Disk>,
}

fn name(page: u64) -> String {
    format!("{HALF_FOLDER}/{:012}", page / PAGES_PER_FILE)
}

fn position(page: u64) -> u64 {
    page % PAGES_PER_FILE * wide(PAGE_BYTES)
}

impl HalfFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        HalfFiles { disk }
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

    fn page(&self, number: u64) -> Result<Vec<Option<Row>>, Error> {
        let (name, file) = self.open(number)?;
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
            let until = end.min(file_end);
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

    /// Writes pages and makes them durable. Rows that are not in memory are taken over from the page on disk.
    pub(crate) fn write(&self, pages: &[DirtyPage]) -> Result<(), Error> {
        let mut created = false;
        for group in
            pages.chunk_by(|one, next| one.number / PAGES_PER_FILE == next.number / PAGES_PER_FILE)
        {
            let Some(first) = group.first() else { continue };
            let name = name(first.number);
            let file = match self.disk.open(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    created = true;
                    self.disk
                        .create(&name)
                        .map_err(Error::disk("create", &name))?
                }
                Err(error) => return Err(Error::disk("open", &name)(error)),
            };
            write_group(&*file, &name, group)?;
            file.sync().map_err(Error::disk("sync", &name))?;
        }
        if created {
            self.disk
                .sync_folder(HALF_FOLDER)
                .map_err(Error::disk("sync", HALF_FOLDER))?;
        }
        Ok(())
    }

    /// Removes the files that hold only sequences below `seq` and none of the `kept` pages (runs of page numbers).
    pub(crate) fn remove_below(&self, seq: u64, kept: &[(u64, u64)]) -> Result<(), Error> {
        for short in self
            .disk
            .list(HALF_FOLDER)
            .map_err(Error::disk("list", HALF_FOLDER))?
        {
            let Ok(number) = short.parse::<u64>() else {
                continue;
            };
            let (start, end) = (
                number.saturating_mul(PAGES_PER_FILE),
                (number + 1).saturating_mul(PAGES_PER_FILE),
            );
            let used = kept.iter().any(|run| run.0 < end && start < run.1);
            if !used && end.saturating_mul(ENTRIES_PER_PAGE) <= seq {
                let name = name(start);
                self.disk
                    .remove(&name)
                    .map_err(Error::disk("remove", &name))?;
            }
        }
        Ok(())
    }

    /// Removes all files: they will be rebuilt from the log.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        self.remove_below(u64::MAX, &[])
    }
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

/// Writes neighbouring pages with one write each.
fn write_group(file: &dyn DiskFile, name: &str, group: &[DirtyPage]) -> Result<(), Error> {
    for run in group.chunk_by(|one, next| one.number + 1 == next.number) {
        let Some(first) = run.first() else { continue };
        let mut bytes = Vec::with_capacity(run.len() * PAGE_BYTES);
        for dirty in run {
            let mut rows = dirty.rows.clone();
            if rows.iter().any(Option::is_none) {
                let before = read_page(file, name, dirty.number)?.unwrap_or_default();
                for (row, before) in rows.iter_mut().zip(before) {
                    *row = row.or(before);
                }
            }
            bytes.extend_from_slice(&page::encode(dirty.number * ENTRIES_PER_PAGE, &rows));
        }
        file.write_at(&bytes, position(first.number))
            .map_err(Error::disk("write", name))?;
    }
    Ok(())
}
