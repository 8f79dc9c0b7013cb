//! [`Disk`] in memory, deterministic, with the faults that disks have: for tests and the simulator.
//!
//! Every write is remembered until its file is synced, every name until its folder is; [`MemoryDisk::crash`] gives the disk that
//! a machine would find after losing power, [`MemoryDisk::kill`] the one after losing only the process.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, DiskLock};
use crate::ids::{narrow, wide};

/// Unsynced writes survive a crash in parts of this size.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync: offset and bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<u64, Content>,
    /// Names as the process sees them.
    names: BTreeMap<String, u64>,
    /// Names as a crash leaves them.
    durable_names: BTreeMap<String, u64>,
    next_file: u64,
    free_bytes: Option<u64>,
    used_bytes: u64,
    writes: u64,
    syncs: u64,
    reads: u64,
    fail_read: Option<u64>,
    fail_write: Option<u64>,
    fail_sync: Option<u64>,
    /// A failed sync forgets what it did not write.
    forgets: bool,
    locked: bool,
}

/// What an unsynced write may leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: every unsynced byte is gone.
    All,
    /// Whatever the seed says, sector by sector.
    Torn(u64),
}

/// Files in memory.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        MemoryDisk::new()
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::with(BTreeMap::new(), BTreeMap::new(), 0)
    }

    fn with(
        files: BTreeMap<u64, Content>,
        names: BTreeMap<String, u64>,
        next_file: u64,
    ) -> MemoryDisk {
        let inner = Inner {
            files,
            durable_names: names.clone(),
            names,
            next_file,
            free_bytes: None,
            used_bytes: 0,
            writes: 0,
            syncs: 0,
            reads: 0,
            fail_read: None,
            fail_write: None,
            fail_sync: None,
            forgets: false,
            locked: false,
        };
        MemoryDisk {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The disk after power loss. The old one goes on by itself: whoever holds it writes into the void.
    pub fn crash(&self, loss: Loss) -> MemoryDisk {
        let inner = self.inner.lock();
        let mut dice = match loss {
            Loss::All => None,
            Loss::Torn(seed) => Some(Dice(seed)),
        };
        let mut files = BTreeMap::new();
        for (number, content) in &inner.files {
            let mut bytes = content.durable.clone();
            if let Some(dice) = &mut dice {
                for (at, written) in &content.unsynced {
                    tear(&mut bytes, *at, written, dice);
                }
            }
            files.insert(
                *number,
                Content {
                    now: bytes.clone(),
                    durable: bytes,
                    unsynced: Vec::new(),
                },
            );
        }
        MemoryDisk::with(files, inner.durable_names.clone(), inner.next_file)
    }

    /// The disk after `kill -9`: what was written is there, synced or not.
    pub fn kill(&self) -> MemoryDisk {
        let inner = self.inner.lock();
        MemoryDisk::with(inner.files.clone(), inner.names.clone(), inner.next_file)
    }

    /// Fails the read after `reads` more, and none after it. Opening, listing and asking for a size are reads too.
    pub fn fail_read_after(&self, reads: u64) {
        let mut inner = self.inner.lock();
        inner.fail_read = Some(inner.reads + reads + 1);
    }

    /// Fails the write after `writes` more, and every one from then on.
    pub fn fail_write_after(&self, writes: u64) {
        let mut inner = self.inner.lock();
        inner.fail_write = Some(inner.writes + writes);
    }

    /// Fails the sync after `syncs` more, and every one from then on.
    pub fn fail_sync_after(&self, syncs: u64) {
        let mut inner = self.inner.lock();
        inner.fail_sync = Some(inner.syncs + syncs);
    }

    /// As [`MemoryDisk::fail_sync_after`], and what such a sync of a file should have written counts as written from then on, as
    /// on Linux: reads show it, no later sync writes it, a power loss shows that it never was there.
    pub fn forget_at_sync_after(&self, syncs: u64) {
        self.inner.lock().forgets = true;
        self.fail_sync_after(syncs);
    }

    /// What [`Disk::free_bytes`] says.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.inner.lock().free_bytes = Some(bytes);
    }

    /// What [`Disk::used_bytes`] says.
    pub fn set_used_bytes(&self, bytes: u64) {
        self.inner.lock().used_bytes = bytes;
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    /// Syncs of files and folders so far, failed ones included.
    pub fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    /// All file names.
    pub fn names(&self) -> Vec<String> {
        self.inner.lock().names.keys().cloned().collect()
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        let number = inner.names.get(name)?;
        inner.files.get(number).map(|content| content.now.clone())
    }

    /// Replaces a file's bytes, durably: rot, or a hostile hand.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.inner.lock();
        let number = inner.number(name);
        inner.durable_names.insert(name.to_owned(), number);
        inner.files.insert(
            number,
            Content {
                now: bytes.clone(),
                durable: bytes,
                unsynced: Vec::new(),
            },
        );
    }
}

impl Inner {
    fn number(&mut self, name: &str) -> u64 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.next_file;
        self.next_file += 1;
        self.names.insert(name.to_owned(), number);
        number
    }

    fn count_read(&mut self) -> io::Result<()> {
        self.reads += 1;
        if self.fail_read == Some(self.reads) {
            return Err(io::Error::other("injected read failure"));
        }
        Ok(())
    }

    fn count_write(&mut self) -> io::Result<()> {
        self.writes += 1;
        if self.fail_write.is_some_and(|last| self.writes > last) {
            return Err(io::Error::other("injected write failure"));
        }
        Ok(())
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_sync.is_some_and(|last| self.syncs > last) {
            return Err(io::Error::other("injected sync failure"));
        }
        Ok(())
    }
}

/// A small deterministic generator (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }
}

fn tear(bytes: &mut Vec<u8>, at: usize, written: &[u8], dice: &mut Dice) {
    for (index, sector) in written.chunks(SECTOR).enumerate() {
        if dice.roll().is_multiple_of(2) {
            overwrite(bytes, at + index * SECTOR, sector);
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    let end = at + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(written);
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

fn in_folder<'a>(name: &'a str, folder: &str) -> Option<&'a str> {
    name.strip_prefix(folder)?
        .strip_prefix('/')
        .filter(|short| !short.contains('/'))
}

impl Disk for MemoryDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        // A file that is created anew is another file: a crash may bring the old one back.
        inner.names.remove(name);
        let number = inner.number(name);
        inner.files.insert(number, Content::default());
        Ok(Arc::new(MemoryFile {
            inner: self.inner.clone(),
            number,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.count_read()?;
        let number = *inner.names.get(name).ok_or_else(|| not_found(name))?;
        drop(inner);
        Ok(Arc::new(MemoryFile {
            inner: self.inner.clone(),
            number,
        }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut inner = self.inner.lock();
        inner.count_read()?;
        Ok(inner
            .names
            .keys()
            .filter_map(|name| in_folder(name, folder))
            .map(str::to_owned)
            .collect())
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let number = inner.names.remove(from).ok_or_else(|| not_found(from))?;
        inner.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner
            .lock()
            .names
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| not_found(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.count_sync()?;
        inner
            .durable_names
            .retain(|name, _| in_folder(name, folder).is_none());
        let current: Vec<_> = inner
            .names
            .iter()
            .filter(|(name, _)| in_folder(name, folder).is_some())
            .collect();
        let current: Vec<_> = current
            .into_iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect();
        inner.durable_names.extend(current);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.inner.lock().free_bytes.unwrap_or(u64::MAX))
    }

    fn used_bytes(&self) -> io::Result<u64> {
        Ok(self.inner.lock().used_bytes)
    }

    fn lock(&self) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut inner = self.inner.lock();
        if inner.locked {
            return Ok(None);
        }
        inner.locked = true;
        Ok(Some(Box::new(MemoryLock {
            inner: self.inner.clone(),
        })))
    }
}

#[derive(Debug)]
struct MemoryLock {
    inner: Arc<Mutex<Inner>>,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.inner.lock().locked = false;
    }
}

#[derive(Debug)]
struct MemoryFile {
    inner: Arc<Mutex<Inner>>,
    number: u64,
}

impl MemoryFile {
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Inner, &mut Content) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.inner.lock();
        let mut content = inner.files.remove(&self.number).unwrap_or_default();
        let result = act(&mut inner, &mut content);
        inner.files.insert(self.number, content);
        result
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inner, content| {
            inner.count_read()?;
            let rest = content.now.get(narrow(offset)..).unwrap_or_default();
            let count = rest.len().min(into.len());
            if let (Some(place), Some(bytes)) = (into.get_mut(..count), rest.get(..count)) {
                place.copy_from_slice(bytes);
            }
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inner, content| {
            inner.count_write()?;
            let at = narrow(offset);
            overwrite(&mut content.now, at, bytes);
            content.unsynced.push((at, bytes.to_vec()));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inner, content| {
            let counted = inner.count_sync();
            if counted.is_err() && inner.forgets {
                content.unsynced.clear();
            }
            counted?;
            let writes = std::mem::take(&mut content.unsynced);
            if content.durable.len() < content.now.len() {
                content.durable.resize(content.now.len(), 0);
            }
            for (at, bytes) in writes {
                overwrite(&mut content.durable, at, &bytes);
            }
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|inner, content| {
            inner.count_read()?;
            Ok(wide(content.now.len()))
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.with(|inner, content| {
            inner.count_write()?;
            content.now.resize(narrow(bytes), 0);
            Ok(())
        })
    }
}
