//! The one door to files. The store never touches `std::fs`: a simulator swaps the disk below it and injects what disks do.
//!
//! What we assume of a disk: after [`DiskFile::sync`] returns Ok, every byte written before it survives power loss; after
//! [`Disk::sync_folder`], so do names created, renamed and removed before it. Unsynced writes may survive in any part and order.
//! After a failed write or sync nothing is known, so it is never repeated.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A folder of files, addressed by `/`-separated names relative to it.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file, or opens and empties the one that is there.
    ///
    /// # Errors
    /// What the disk says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none; else what the disk says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Names of the files in a folder, sorted, without the folder. A folder that does not exist is empty.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder unless it is there.
    ///
    /// # Errors
    /// What the disk says.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    /// Renames a file, replacing the target.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Bytes that are taken, by whatever it is. A disk that knows no end says 0.
    ///
    /// # Errors
    /// What the disk says.
    fn used_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    /// Takes the folder for this process until the lock is dropped. `Ok(None)`: somebody else has it.
    ///
    /// # Errors
    /// What the disk says.
    fn lock(&self) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// An open file. Reads and writes are positioned, so one handle serves readers beside the writer.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file as needed.
    ///
    /// # Errors
    /// What the disk says; how much was written is then unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn size(&self) -> io::Result<u64>;

    /// Reserves space for `bytes` bytes from the start and sets the length, so that later writes cannot run out of space.
    ///
    /// # Errors
    /// What the disk says, `StorageFull` above all.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

/// Holds a folder for one process; dropping it releases the folder.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// Reads until `into` is full or the file ends.
pub(crate) fn read_full(file: &dyn DiskFile, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, offset + crate::ids::wide(done))?;
        if read == 0 {
            break;
        }
        done += read;
    }
    Ok(done)
}
