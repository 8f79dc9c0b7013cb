//! Opening: from the newest checkpoint, replay through the same functions that append uses, tell a torn tail, an unsynced hole
//! and damage apart, and go on.
//!
//! Let D be the highest durable watermark that a checkpoint or any good record states, and P the first place that fails. P below
//! D is damage in what was acknowledged: nothing is cut, one record is stepped over. P at or above D was never known to be
//! durable: the log is cut there, the bytes are saved under `lost+found/`, the report names them.

use std::collections::VecDeque;
use std::sync::Arc;

mod cut;
mod replay;
pub(crate) mod report;
mod restore;
mod resume;
mod rewrite;
pub(crate) mod scan;

use cut::LOST_FOLDER;
use replay::Replay;
use report::RecoveryReport;
use restore::load_checkpoint;
use scan::Scan;

use crate::checkpoint::{CHECKPOINT_FOLDER, Checkpointing};
use crate::commit_log::CommitLog;
use crate::consume_queue::file::QUEUE_FOLDER;
use crate::disk::Disk;
use crate::half_queue::file::HALF_FOLDER;
use crate::key_index::run::INDEX_FOLDER;
use crate::segment::{LOG_FOLDER, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use crate::state::State;
use crate::{Error, HalfSeq, Settings};

/// An opened store's parts.
pub(crate) struct Recovered {
    pub(crate) log: CommitLog,
    pub(crate) state: State,
    pub(crate) checkpointing: Checkpointing,
    /// Halfs whose fate damage may hide.
    pub(crate) unexplained: Vec<HalfSeq>,
    pub(crate) report: RecoveryReport,
}

pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    now_ms: i64,
) -> Result<Recovered, Error> {
    for folder in [
        LOG_FOLDER,
        HALF_FOLDER,
        QUEUE_FOLDER,
        INDEX_FOLDER,
        CHECKPOINT_FOLDER,
        LOST_FOLDER,
    ] {
        disk.create_folder(folder)
            .map_err(Error::disk("create folder", folder))?;
    }
    let segments = open_segments(&**disk, settings, now_ms)?;
    let mut report = RecoveryReport::default();
    let (state, checkpointing, resume) =
        load_checkpoint(disk, settings, &segments, now_ms, &mut report)?;
    let scan = Scan::new(&segments, settings.record_bytes_max);
    let mut replay = Replay {
        disk,
        settings,
        durable: resume.end,
        window: VecDeque::new(),
        at: resume.end,
        scan,
        previous: (resume.end
            > segments.first().map_or(0, |segment| segment.start) + SEGMENT_HEADER_BYTES)
            .then_some(resume.previous_crc),
        last: resume,
        state,
        checkpointing,
        holes: Vec::new(),
        flushed: resume.end,
        report,
    };
    replay.run()?;
    replay.open_log(now_ms)
}

fn open_segments(disk: &dyn Disk, settings: &Settings, now_ms: i64) -> Result<Vec<Segment>, Error> {
    let mut segments = Vec::new();
    for short in disk
        .list(LOG_FOLDER)
        .map_err(Error::disk("list", LOG_FOLDER))?
    {
        segments.extend(Segment::open(disk, &short, settings.segment_bytes)?);
    }
    if segments.is_empty() {
        if !disk
            .list(CHECKPOINT_FOLDER)
            .map_err(Error::disk("list", CHECKPOINT_FOLDER))?
            .is_empty()
        {
            return Err(Error::Foreign {
                file: LOG_FOLDER.to_owned(),
                what: "there is a checkpoint but no log",
            });
        }
        let header = SegmentHeader {
            start: 0,
            bytes: settings.segment_bytes,
            created: now_ms,
        };
        let segment = Segment::create(disk, header, None)?;
        segment
            .file
            .sync()
            .map_err(Error::disk("sync", &segment.name))?;
        disk.sync_folder(LOG_FOLDER)
            .map_err(Error::disk("sync", LOG_FOLDER))?;
        segments.push(segment);
    }
    // A segment ends where the next one starts, whatever its header says: one whose header is lost, or makes it too short, must
    // not hide those behind it.
    let starts: Vec<u64> = segments.iter().map(|segment| segment.start).collect();
    for (segment, next) in segments.iter_mut().zip(starts.iter().skip(1)) {
        segment.bytes = next - segment.start;
    }
    Ok(segments)
}
