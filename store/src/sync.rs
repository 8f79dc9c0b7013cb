//! A sync that runs beside the writer: what it takes with it, and what became of it.

use std::sync::Arc;

use crate::Error;
use crate::disk::Disk;
use crate::segment::{LOG_FOLDER, Segment};

/// A sync of everything that was written when it began. Runs on any thread; the log goes on meanwhile.
#[derive(Debug)]
pub struct SyncJob {
    pub(crate) disk: Arc<dyn Disk>,
    /// Those with bytes that were never synced.
    pub(crate) segments: Vec<Segment>,
    /// Segments were made since the last sync: their names must be synced, too.
    pub(crate) with_folder: bool,
    /// What will be durable: everything below.
    pub(crate) until: u64,
}

/// What became of a sync, for [`crate::Store::finish_sync`].
#[derive(Debug)]
pub struct SyncDone {
    pub(crate) until: u64,
    pub(crate) result: Result<(), Error>,
}

impl SyncJob {
    /// Waits for the disk.
    pub fn run(self) -> SyncDone {
        SyncDone {
            until: self.until,
            result: self.sync(),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        for segment in &self.segments {
            segment
                .file
                .sync()
                .map_err(Error::disk("sync", &segment.name))?;
        }
        if self.with_folder {
            self.disk
                .sync_folder(LOG_FOLDER)
                .map_err(Error::disk("sync", LOG_FOLDER))?;
        }
        Ok(())
    }
}
