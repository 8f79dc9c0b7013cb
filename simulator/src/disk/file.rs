//! An open file of the simulated disk.

use std::io;
use std::sync::Arc;

use escrow_store::DiskFile;
use parking_lot::Mutex;

use super::image::Content;
use super::{Fate, Inner, Op, gone};

#[derive(Debug)]
pub(super) struct SimFile {
    inner: Arc<Mutex<Inner>>,
    number: u64,
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left")
}

impl SimFile {
    pub(super) fn new(inner: Arc<Mutex<Inner>>, number: u64) -> SimFile {
        SimFile { inner, number }
    }
}

impl Inner {
    fn content(&mut self, number: u64) -> io::Result<&mut Content> {
        self.image.files.get_mut(&number).ok_or_else(gone)
    }

    /// Whether the file may become so long.
    fn has_room(&mut self, number: u64, end: usize) -> io::Result<bool> {
        let size = self.content(number)?.now.len();
        Ok(end <= size || (end - size) as u64 <= self.free())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Read)?;
        let content = inner.content(self.number)?;
        let rest = content.now.get(place(offset)..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let at = place(offset);
        let (part, result) = match inner.fate(Op::Write) {
            Fate::Whole if inner.has_room(self.number, at + bytes.len())? => (1_000, Ok(())),
            Fate::Whole => (0, Err(full())),
            Fate::Part(part, error) | Fate::Forgotten(part, error) => (part, Err(error)),
        };
        let count = bytes.len() * place(part) / 1_000;
        if count > 0 {
            inner.content(self.number)?.write(&bytes[..count], at);
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.lock().sync_file(self.number)
    }

    fn size(&self) -> io::Result<u64> {
        let mut inner = self.inner.lock();
        inner.whole(Op::Read)?;
        Ok(inner.content(self.number)?.now.len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if let Fate::Part(_, error) | Fate::Forgotten(_, error) = inner.fate(Op::Write) {
            return Err(error);
        }
        if !inner.has_room(self.number, place(bytes))? {
            return Err(full());
        }
        let content = inner.content(self.number)?;
        content.now.resize(place(bytes), 0);
        Ok(())
    }
}
