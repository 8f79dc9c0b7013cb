//! The simulated disk. It remembers every write until its file is synced and every name until its folder is, so that a crash
//! can keep, lose and tear what was never promised; and it fails when told.

mod faults;
mod file;
mod image;
mod syncs;

use std::io;
use std::sync::Arc;

use escrow_store::{Disk, DiskFile, DiskLock};
use parking_lot::Mutex;

pub(crate) use faults::{Failure, FailureKind, Op};
use file::SimFile;
use image::Image;
pub(crate) use image::{Crash, NameOp};
use syncs::Begun;

use crate::dice::Dice;

/// What becomes of an operation.
pub(crate) enum Fate {
    Whole,
    /// It fails, and this part of it happened nevertheless: out of 1000.
    Part(u64, io::Error),
    /// As `Part`; of what did not happen, some is never tried again although it is not reported any more.
    Forgotten(u64, io::Error),
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) image: Image,
    pub(crate) dice: Dice,
    /// Operations so far.
    ops: u64,
    failure: Option<Failure>,
    /// The machine or the process is gone: nothing that is done now reaches the disk.
    pub(crate) is_dead: bool,
    is_locked: bool,
    /// Whoever looks now is no process: nothing fails.
    is_watched: bool,
    /// Whoever syncs now only begins to.
    runs_beside: bool,
    /// Syncs that are on their way.
    begun: Vec<Begun>,
    /// Bytes that fit, and bytes that others hold.
    pub(crate) capacity: u64,
    pub(crate) held_by_others: u64,
    /// What was injected and took effect since the last look.
    pub(crate) happened: Vec<FailureKind>,
}

/// The disk of one machine, as one process sees it.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    pub(crate) fn new(dice: Dice, capacity: u64) -> SimDisk {
        SimDisk::of(Image::default(), dice, capacity, 0)
    }

    fn of(image: Image, dice: Dice, capacity: u64, held_by_others: u64) -> SimDisk {
        let inner = Inner {
            image,
            dice,
            ops: 0,
            failure: None,
            is_dead: false,
            is_locked: false,
            is_watched: false,
            runs_beside: false,
            begun: Vec::new(),
            capacity,
            held_by_others,
            happened: Vec::new(),
        };
        SimDisk {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The disk that the next process finds. Whoever holds the old one writes into the void from now on.
    pub(crate) fn reboot(&self, crash: Crash) -> SimDisk {
        let mut inner = self.inner.lock();
        inner.is_dead = true;
        inner.end_some_syncs();
        let mut image = std::mem::take(&mut inner.image);
        let mut dice = inner.dice.fork();
        if crash == Crash::Power {
            image.lose_power(&mut dice);
        }
        image.collect_garbage();
        SimDisk::of(image, dice, inner.capacity, inner.held_by_others)
    }

    /// Arms a failure; it replaces one that has not struck yet.
    pub(crate) fn arm(&self, failure: Failure) {
        self.inner.lock().failure = Some(failure);
    }

    /// Lets an onlooker read, for whom nothing fails.
    pub(crate) fn watch(&self, is_watched: bool) {
        self.inner.lock().is_watched = is_watched;
    }

    /// Takes back a drop of the cache that has not struck: whoever runs has its files open, and what it has written is there.
    pub(crate) fn forget_cache_drop(&self) {
        let failure = &mut self.inner.lock().failure;
        *failure = failure.filter(|failure| failure.kind != FailureKind::CacheDropped);
    }

    /// Everything that counts as written and is not leaves the cache. True if there was any.
    pub(crate) fn drop_cache(&self) -> bool {
        self.inner.lock().image.drop_cache()
    }

    /// Takes back a failure that has not struck, and frees what others hold.
    pub(crate) fn calm(&self) {
        let mut inner = self.inner.lock();
        inner.failure = None;
        inner.held_by_others = 0;
    }

    /// True once an injected crash has struck.
    pub(crate) fn is_dead(&self) -> bool {
        self.inner.lock().is_dead
    }

    /// What took effect since the last call.
    pub(crate) fn take_happened(&self) -> Vec<FailureKind> {
        std::mem::take(&mut self.inner.lock().happened)
    }

    /// Others take so many bytes.
    pub(crate) fn hold(&self, bytes: u64) {
        self.inner.lock().held_by_others = bytes;
    }

    /// Runs `look` on what the disk holds.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.inner.lock().image)
    }

    /// Rot: turns one bit over, durably.
    pub(crate) fn flip(&self, name: &str, byte: usize, bit: u8) {
        self.inner.lock().image.flip(name, byte, bit);
    }
}

impl Inner {
    /// Counts an operation and says what becomes of it.
    pub(crate) fn fate(&mut self, op: Op) -> Fate {
        if self.is_dead {
            return Fate::Part(0, gone());
        }
        if self.is_watched {
            return Fate::Whole;
        }
        self.ops += 1;
        let Some(failure) = &mut self.failure else {
            return Fate::Whole;
        };
        if !failure.strikes(op) {
            return Fate::Whole;
        }
        let kind = failure.kind;
        if !failure.lasts {
            self.failure = None;
        }
        if kind != FailureKind::CacheDropped || self.image.drop_cache() {
            self.happened.push(kind);
        }
        let part = self.dice.below(1_001);
        match kind {
            FailureKind::Crash => {
                self.is_dead = true;
                Fate::Part(part, gone())
            }
            FailureKind::CacheDropped => Fate::Whole,
            FailureKind::Read => Fate::Part(0, injected()),
            FailureKind::Write | FailureKind::Sync => Fate::Part(part, injected()),
            FailureKind::SyncForgets => Fate::Forgotten(part, injected()),
        }
    }

    /// Says what becomes of an operation that either happens or does not.
    pub(crate) fn whole(&mut self, op: Op) -> io::Result<()> {
        match self.fate(op) {
            Fate::Whole => Ok(()),
            // A crash just after the operation looks the same to whoever is gone.
            Fate::Part(part, _) if part > 500 && self.is_dead => Ok(()),
            // Names are journalled: they are there, or will be.
            Fate::Part(_, error) | Fate::Forgotten(_, error) => Err(error),
        }
    }

    pub(crate) fn free(&self) -> u64 {
        let used = self.image.used() + self.held_by_others;
        self.capacity.saturating_sub(used)
    }
}

pub(crate) fn gone() -> io::Error {
    io::Error::other("the machine is gone")
}

fn injected() -> io::Error {
    io::Error::other("injected failure")
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Name)?;
        let number = inner.image.create(name);
        Ok(Arc::new(SimFile::new(self.inner.clone(), number)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Read)?;
        let number = inner.image.number(name).ok_or_else(|| not_found(name))?;
        Ok(Arc::new(SimFile::new(self.inner.clone(), number)))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Read)?;
        Ok(inner.image.list(folder))
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        self.inner.lock().whole(Op::Name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Name)?;
        let known = inner.image.change(NameOp::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        known.then_some(()).ok_or_else(|| not_found(from))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Name)?;
        let known = inner.image.change(NameOp::Remove {
            name: name.to_owned(),
        });
        known.then_some(()).ok_or_else(|| not_found(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.inner.lock().sync_folder(folder)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner.lock();
        if inner.is_dead {
            return Err(gone());
        }
        Ok(inner.free())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut inner = self.inner.lock();
        if std::mem::replace(&mut inner.is_locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock(self.inner.clone()))))
    }
}

#[derive(Debug)]
struct SimLock(Arc<Mutex<Inner>>);

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock().is_locked = false;
    }
}
