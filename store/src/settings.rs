//! What can be set, with defaults. Settings are data; the disk is a component and comes in beside them.

use std::time::Duration;

use crate::Error;
use crate::record::header::record_bytes;
use crate::segment::SEGMENT_HEADER_BYTES;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Limits and sizes of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Size of a commit log segment. A multiple of 4096; default 1 GiB, as Apache's `mapedFileSizeCommitLog`.
    pub segment_bytes: u64,
    /// The newest bytes of the log that are kept in memory for readers; default 64 MiB.
    pub tail_cache_bytes: usize,
    /// The largest record body: a message with its properties; default 4 MiB + 64 KiB, as Apache's `maxMessageSize` and slack.
    pub record_bytes_max: usize,
    /// A write syncs by itself when this much would be unsynced; bounds what recovery must search; default 64 MiB.
    pub unsynced_bytes_max: u64,
    /// How long a segment is kept after its newest message or commit; default 72 h, as Apache's `fileReservedTime`.
    pub file_reserved: Duration,
    /// The hours of the day (UTC) in which old segments leave; none: at any time. Default none; Apache's `deleteWhen` is 4.
    pub delete_hours: Vec<u8>,
    /// A commit carries a half's bytes forward when its segment closed longer ago than this, so that one late commit does not
    /// keep a whole old segment; default 1 h.
    pub relocate_after: Duration,
    /// Bytes that one retention step carries forward at most; default 8 MiB.
    pub relocate_step_bytes: u64,
    /// Segments leave early when fewer bytes are free; default 8 GiB.
    pub free_bytes_clean: u64,
    /// If set, `free_bytes_clean` counts for nothing: old segments leave at any hour when more of a hundred parts of the disk
    /// are taken, and others too above 85; default `None`; Apache's `diskMaxUsedSpaceRatio` is 75.
    pub used_percent_clean: Option<u8>,
    /// Halfs and messages are refused when fewer bytes are free; default 2 GiB.
    pub free_bytes_refuse: u64,
    /// Kept back in a file of its own, given up so that decisions can still be written; default 64 MiB. 0: none.
    pub free_bytes_reserve: u64,
    /// Everything is refused when fewer bytes are free and the reserve is gone; default 8 MiB.
    pub free_bytes_stop: u64,
    /// A checkpoint is due after this much log; default 512 MiB.
    pub checkpoint_bytes: u64,
    /// A checkpoint is due after this time; default 30 s.
    pub checkpoint_interval: Duration,
    /// Leadership epoch written into every record; default 0.
    pub epoch: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            segment_bytes: GIB,
            tail_cache_bytes: 64 << 20,
            record_bytes_max: (4 << 20) + (64 << 10),
            unsynced_bytes_max: 64 * MIB,
            file_reserved: Duration::from_secs(72 * 3600),
            delete_hours: Vec::new(),
            relocate_after: Duration::from_secs(3600),
            relocate_step_bytes: 8 * MIB,
            free_bytes_clean: 8 * GIB,
            used_percent_clean: None,
            free_bytes_refuse: 2 * GIB,
            free_bytes_reserve: 64 * MIB,
            free_bytes_stop: 8 * MIB,
            checkpoint_bytes: 512 * MIB,
            checkpoint_interval: Duration::from_secs(30),
            epoch: 0,
        }
    }
}

impl Settings {
    /// Small files and caches, no reserve and no free-space limits: for tests and the simulator.
    pub fn tiny() -> Self {
        Settings {
            segment_bytes: 64 * KIB,
            tail_cache_bytes: 16 << 10,
            record_bytes_max: 32 << 10,
            unsynced_bytes_max: 32 * KIB,
            free_bytes_clean: 0,
            free_bytes_refuse: 0,
            free_bytes_reserve: 0,
            free_bytes_stop: 0,
            checkpoint_bytes: 32 * KIB,
            ..Settings::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.segment_bytes.is_multiple_of(4096) {
            return Err(Error::Settings("segment_bytes must be a multiple of 4096"));
        }
        // The record, and the PAD that closes the segment behind it.
        let need = SEGMENT_HEADER_BYTES + record_bytes(self.record_bytes_max) + record_bytes(0);
        if self.segment_bytes < need {
            return Err(Error::Settings(
                "segment_bytes must hold a record of record_bytes_max",
            ));
        }
        if self.delete_hours.iter().any(|hour| *hour > 23) {
            return Err(Error::Settings("delete_hours must be 0 to 23"));
        }
        Ok(())
    }
}
