//! [`Disk`] on a real folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, FsWord, XattrFlags, fsetxattr, fstatfs};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile, DiskLock};

/// A real folder.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
    journal: Arc<Journal>,
}

impl FileDisk {
    /// Uses `folder`, making it if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(folder: &Path) -> io::Result<FileDisk> {
        make_folder(folder)?;
        Ok(FileDisk {
            folder: folder.to_owned(),
            journal: Arc::new(Journal::of(folder)?),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn open_with(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(create)
            .open(self.path(name))?;
        let journal = Arc::clone(&self.journal);
        Ok(Arc::new(OpenFile { file, journal }))
    }
}

/// Makes a folder unless it is there, and those above it, durably: what is in it later would be lost with its name.
///
/// # Errors
/// What the file system says.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        // Somebody else may have made it meanwhile.
        Err(_) if folder.is_dir() => {}
        made => made?,
    }
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl Disk for FileDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(name, true)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_with(name, false)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        make_folder(&self.path(folder))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()?;
        self.journal.is_alive()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn used_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(used.saturating_mul(stat.f_frsize))
    }

    fn lock(&self) -> io::Result<Option<Box<dyn DiskLock>>> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(HeldLock { _file: file }))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The kernel drops the lock with the last handle, also when the process is killed.
#[derive(Debug)]
struct HeldLock {
    _file: File,
}

impl DiskLock for HeldLock {}

/// What `statfs` says of ext4.
const EXT4: FsWord = 0xEF53;

/// The journal of the file system that the folder is on.
#[derive(Debug)]
struct Journal {
    /// None where the file system is another: whether a sync came to be, those say themselves.
    ext4: Option<File>,
}

impl Journal {
    fn of(folder: &Path) -> io::Result<Journal> {
        let folder = File::open(folder)?;
        let is_ext4 = fstatfs(&folder)?.f_type == EXT4;
        Ok(Journal {
            ext4: is_ext4.then_some(folder),
        })
    }

    /// An error if what a sync needed of the journal may not have come to be, although the sync said so.
    ///
    /// ext4 whose journal has failed lets a sync succeed that finds its transaction neither running nor committing, although it was
    /// given up, until it has noted the error in the superblock: for milliseconds (Linux 6.18). What names and lengthens files is
    /// then gone at the next mount. To set an attribute begins a transaction of its own, which a failed journal refuses; to set
    /// it to what it is changes nothing, and costs a few microseconds. The folder's, since a file is locked while it is written.
    fn is_alive(&self) -> io::Result<()> {
        let Some(folder) = &self.ext4 else {
            return Ok(());
        };
        match fsetxattr(folder, "user.escrow", b"store", XattrFlags::empty()) {
            Err(error @ (Errno::ROFS | Errno::IO)) => Err(error.into()),
            // Whatever else it says, it says nothing of the sync: attributes can be turned off.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    journal: Arc<Journal>,
}

impl DiskFile for OpenFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.journal.is_alive()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Not every file system can reserve; a sparse file of the right length is then the best there is.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }
}
