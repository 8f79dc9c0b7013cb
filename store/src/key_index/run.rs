//! Sorted runs of the key index: `index/<id>`, written once and merged by size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::disk::{Disk, DiskFile, read_full};
use crate::hash::crc32c;
use crate::ids::{narrow, wide};
use crate::key_index::Item;
use crate::le::Le;
use crate::{Error, PhysicalOffset};

/// Folder of the key index.
pub(crate) const INDEX_FOLDER: &str = "index";

const PAGE_BYTES: usize = 4096;
const HEADER: usize = 16;
const ITEMS_PER_PAGE: u64 = 255;
const FENCES_PER_PAGE: u64 = 510;

/// As many runs of one size class are merged into one.
const MERGE_AT: usize = 8;

/// A run: sorted pages of items, then pages of fences (the first hash of each item page). Every page of 4096 bytes,
/// little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | CRC-32C of bytes 4..4096 |
/// | 4 | 4 | items or fences in this page |
/// | 8 | 8 | page number in the file |
/// | 16 | 255 x 16 | items: hash of topic and key (8), log offset of the record (8) |
/// | 16 | 510 x 8 | or fences: hash (8) |
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) items: u64,
    /// The newest record that it leads to.
    pub(crate) physical_max: u64,
    fences: OnceLock<Vec<u64>>,
    /// A merge found a damaged page: it stays as it is, for what can still be read, until the next open rebuilds it.
    is_damaged: AtomicBool,
}

impl Run {
    pub(crate) fn new(id: u64, items: u64, physical_max: u64) -> Run {
        Run {
            id,
            items,
            physical_max,
            fences: OnceLock::new(),
            is_damaged: AtomicBool::new(false),
        }
    }

    fn pages(&self) -> u64 {
        self.items.div_ceil(ITEMS_PER_PAGE)
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        (self.pages() + self.pages().div_ceil(FENCES_PER_PAGE)) * wide(PAGE_BYTES)
    }

    /// Runs of one class are about of one size.
    fn class(&self) -> u32 {
        self.items.max(1).ilog2() / 3
    }

    fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

fn name(id: u64) -> String {
    format!("{INDEX_FOLDER}/{id:016x}")
}

fn encode_page(number: u64, count: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.extend_from_slice(&[0; 4]);
    page.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    page.extend_from_slice(&number.to_le_bytes());
    fill(&mut page);
    page.resize(PAGE_BYTES, 0);
    let crc = crc32c(page.get(4..).unwrap_or_default());
    page.splice(..4, crc.to_le_bytes());
    page
}

pub(crate) fn encode_items(number: u64, items: &[Item]) -> Vec<u8> {
    encode_page(number, items.len(), |page| {
        for (hash, physical) in items {
            page.extend_from_slice(&hash.to_le_bytes());
            page.extend_from_slice(&physical.to_le_bytes());
        }
    })
}

fn encode_fences(number: u64, fences: &[u64]) -> Vec<u8> {
    encode_page(number, fences.len(), |page| {
        for hash in fences {
            page.extend_from_slice(&hash.to_le_bytes());
        }
    })
}

/// The words of a page, `per_entry` to an entry; `None` if it is damaged or another page.
fn decode_page(page: &[u8], number: u64, per_entry: usize) -> Option<Vec<u64>> {
    let mut le = Le::new(page.get(..PAGE_BYTES)?);
    let (crc, count, found) = (le.u32()?, le.u32()?, le.u64()?);
    if crc != crc32c(page.get(4..PAGE_BYTES)?) || found != number {
        return None;
    }
    let (words, _) = page.get(HEADER..PAGE_BYTES)?.as_chunks::<8>();
    let count = narrow(u64::from(count)).checked_mul(per_entry)?;
    Some(
        words
            .get(..count)?
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect(),
    )
}

/// Reads, writes and merges runs.
#[derive(Clone, Debug)]
pub(crate) struct RunFiles {
    disk: Arc<dyn Disk>,
}

impl RunFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        RunFiles { disk }
    }

    /// True if the run's file is there in full length.
    pub(crate) fn is_whole(&self, run: &Run) -> Result<bool, Error> {
        let name = name(run.id);
        match self.disk.open(&name) {
            Ok(file) => Ok(file.size().map_err(Error::disk("size", &name))? == run.bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::disk("open", &name)(error)),
        }
    }

    /// Opens the run's file; one that is gone is damage.
    fn open(&self, run: &Run) -> Result<(Arc<dyn DiskFile>, String), Error> {
        let name = name(run.id);
        match self.disk.open(&name) {
            Ok(file) => Ok((file, name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                run.is_damaged.store(true, Ordering::Relaxed);
                Err(damaged(&name, 0, "run of the key index is gone"))
            }
            Err(error) => Err(Error::disk("open", &name)(error)),
        }
    }

    /// Records under `hash`, newest first.
    pub(crate) fn find(&self, run: &Run, hash: u64) -> Result<Vec<u64>, Error> {
        let (file, name) = self.open(run)?;
        let fences = match run.fences.get() {
            Some(fences) => fences,
            None => {
                let fences = read_fences(&*file, &name, run)?;
                run.fences.get_or_init(|| fences)
            }
        };
        let mut page = wide(fences.partition_point(|fence| *fence < hash)).saturating_sub(1);
        let mut found = Vec::new();
        while fences.get(narrow(page)).is_some_and(|fence| *fence <= hash) {
            let items = read_items(&*file, &name, page)?;
            found.extend(
                items
                    .iter()
                    .filter(|item| item.0 == hash)
                    .map(|item| item.1),
            );
            page += 1;
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok(found)
    }

    /// Writes items, already sorted, as run `id` and makes it durable.
    pub(crate) fn write(
        &self,
        id: u64,
        items: impl Iterator<Item = Result<Item, Error>>,
    ) -> Result<Run, Error> {
        let name = name(id);
        let file = self
            .disk
            .create(&name)
            .map_err(Error::disk("create", &name))?;
        let mut run = Run::new(id, 0, 0);
        let mut fences = Vec::new();
        let mut page = Vec::new();
        for item in items {
            let item = item?;
            run.physical_max = run.physical_max.max(item.1);
            page.push(item);
            if wide(page.len()) == ITEMS_PER_PAGE {
                put_items(&*file, &name, &mut run, &mut fences, &mut page)?;
            }
        }
        put_items(&*file, &name, &mut run, &mut fences, &mut page)?;
        for (number, fences) in (run.pages()..).zip(fences.chunks(narrow(FENCES_PER_PAGE))) {
            put_page(&*file, &name, number, &encode_fences(number, fences))?;
        }
        file.sync().map_err(Error::disk("sync", &name))?;
        self.disk
            .sync_folder(INDEX_FOLDER)
            .map_err(Error::disk("sync", INDEX_FOLDER))?;
        Ok(run)
    }

    /// Merges runs when many of one size have gathered. Gives the new list; files of merged runs go with
    /// [`RunFiles::remove_unused`] once a checkpoint no longer names them. One that turns out to be damaged makes this merge fail
    /// and is in no later one.
    pub(crate) fn merge(
        &self,
        mut runs: Vec<Arc<Run>>,
        next_id: &mut u64,
    ) -> Result<Vec<Arc<Run>>, Error> {
        loop {
            let whole = runs.iter().filter(|run| !run.is_damaged());
            let classes: Vec<u32> = whole.map(|run| run.class()).collect();
            let crowded = classes
                .iter()
                .find(|class| classes.iter().filter(|other| other == class).count() >= MERGE_AT);
            let Some(class) = crowded.copied() else {
                return Ok(runs);
            };
            let merged: Vec<Arc<Run>> = runs
                .extract_if(.., |run| run.class() == class && !run.is_damaged())
                .collect();
            let id = *next_id;
            *next_id += 1;
            let run = self.write(id, self.merged(&merged)?)?;
            runs.push(Arc::new(run));
            runs.sort_by_key(|run| run.physical_max);
        }
    }

    fn merged(
        &self,
        runs: &[Arc<Run>],
    ) -> Result<impl Iterator<Item = Result<Item, Error>>, Error> {
        let mut cursors = Vec::new();
        for run in runs {
            let (file, name) = self.open(run)?;
            cursors.push(Cursor {
                file,
                name,
                run: run.clone(),
                page: 0,
                items: Vec::new().into_iter(),
            });
        }
        let mut heap = BinaryHeap::new();
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if let Some(item) = cursor.next()? {
                heap.push(Reverse((item, index)));
            }
        }
        Ok(std::iter::from_fn(move || {
            let Reverse((item, index)) = heap.pop()?;
            match cursors.get_mut(index).map_or(Ok(None), Cursor::next) {
                Ok(Some(next)) => heap.push(Reverse((next, index))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            Some(Ok(item))
        }))
    }

    /// Removes files of runs that `kept` does not name.
    pub(crate) fn remove_unused(&self, kept: &[Arc<Run>]) -> Result<(), Error> {
        for short in self
            .disk
            .list(INDEX_FOLDER)
            .map_err(Error::disk("list", INDEX_FOLDER))?
        {
            let Ok(id) = u64::from_str_radix(&short, 16) else {
                continue;
            };
            if !kept.iter().any(|run| run.id == id) {
                let name = name(id);
                self.disk
                    .remove(&name)
                    .map_err(Error::disk("remove", &name))?;
            }
        }
        Ok(())
    }
}

struct Cursor {
    file: Arc<dyn DiskFile>,
    name: String,
    run: Arc<Run>,
    page: u64,
    items: std::vec::IntoIter<Item>,
}

impl Cursor {
    fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            if self.page == self.run.pages() {
                return Ok(None);
            }
            let items = read_items(&*self.file, &self.name, self.page);
            if matches!(items, Err(Error::Damaged { .. })) {
                self.run.is_damaged.store(true, Ordering::Relaxed);
            }
            self.items = items?.into_iter();
            self.page += 1;
        }
    }
}

fn put_items(
    file: &dyn DiskFile,
    name: &str,
    run: &mut Run,
    fences: &mut Vec<u64>,
    page: &mut Vec<Item>,
) -> Result<(), Error> {
    let Some((first, _)) = page.first() else {
        return Ok(());
    };
    fences.push(*first);
    let number = run.pages();
    put_page(file, name, number, &encode_items(number, page))?;
    run.items += wide(page.len());
    page.clear();
    Ok(())
}

fn put_page(file: &dyn DiskFile, name: &str, number: u64, page: &[u8]) -> Result<(), Error> {
    file.write_at(page, number * wide(PAGE_BYTES))
        .map_err(Error::disk("write", name))
}

fn read_page(
    file: &dyn DiskFile,
    name: &str,
    number: u64,
    per_entry: usize,
) -> Result<Vec<u64>, Error> {
    let mut page = vec![0; PAGE_BYTES];
    let at = number * wide(PAGE_BYTES);
    read_full(file, &mut page, at).map_err(Error::disk("read", name))?;
    decode_page(&page, number, per_entry).ok_or_else(|| damaged(name, at, "key index page"))
}

fn damaged(file: &str, at: u64, what: &'static str) -> Error {
    Error::Damaged {
        file: file.to_owned(),
        at,
        offset: PhysicalOffset(0),
        what,
    }
}

fn read_items(file: &dyn DiskFile, name: &str, number: u64) -> Result<Vec<Item>, Error> {
    let words = read_page(file, name, number, 2)?;
    let (pairs, _) = words.as_chunks::<2>();
    Ok(pairs
        .iter()
        .map(|[hash, physical]| (*hash, *physical))
        .collect())
}

fn read_fences(file: &dyn DiskFile, name: &str, run: &Run) -> Result<Vec<u64>, Error> {
    let mut fences = Vec::new();
    for page in 0..run.pages().div_ceil(FENCES_PER_PAGE) {
        fences.extend(read_page(file, name, run.pages() + page, 1)?);
    }
    Ok(fences)
}
