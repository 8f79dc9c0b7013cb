//! What a checkpoint holds, taken over; or nothing, and empty files, if it cannot be used.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;

use super::report::RecoveryReport;
use crate::checkpoint::{self, CHECKPOINT_FOLDER, Checkpointing, codec::Content};
use crate::commit_log::Resume;
use crate::consume_queue::{Queue, QueueFiles};
use crate::disk::Disk;
use crate::error::is_missing;
use crate::half_queue::{HalfFiles, HalfQueue};
use crate::key_index::{KeyIndex, Run, RunFiles};
use crate::log_view::LogView;
use crate::queues::QueueMap;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::state::{MetaValue, Shared, State};
use crate::{Error, PhysicalOffset, Settings};

fn empty_state(disk: &Arc<dyn Disk>, settings: &Settings, segments: &[Segment]) -> State {
    let log = Arc::new(LogView::new(settings.tail_cache_bytes));
    segments
        .iter()
        .for_each(|segment| log.add_segment(segment.clone()));
    let shared = Shared {
        queue_files: QueueFiles::new(disk.clone(), log.clone(), settings.record_bytes_max),
        log,
        queues: Arc::new(QueueMap::default()),
        halfs: RwLock::new(HalfQueue::default()),
        half_files: HalfFiles::new(disk.clone()),
        index: RwLock::new(KeyIndex::default()),
        run_files: RunFiles::new(disk.clone()),
        wants_rebuild: AtomicBool::new(false),
    };
    let mut state = State::new(Arc::new(shared));
    state
        .queues
        .set_whole(segments.first().is_none_or(|segment| segment.start == 0));
    state
}

/// The state of the newest checkpoint; an empty one, and empty files, if there is none that can be used.
pub(super) fn load_checkpoint(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    segments: &[Segment],
    now_ms: i64,
    report: &mut RecoveryReport,
) -> Result<(State, Checkpointing, Resume), Error> {
    let log_start = segments.first().map_or(0, |segment| segment.start);
    let content = checkpoint::load(&**disk)?;
    let generation = content.as_ref().map_or(0, |content| content.generation);
    let next_run = content.as_ref().map_or(0, |content| content.next_run);
    if let Some(content) = content {
        let position = content.position;
        let mut state = empty_state(disk, settings, segments);
        match restore(&mut state, content, log_start) {
            Ok(()) => {
                report.checkpoint = Some(PhysicalOffset(position.end));
                let checkpointing =
                    Checkpointing::resume(position.end, generation, next_run, now_ms);
                return Ok((state, checkpointing, position));
            }
            // A disk that fails now may not fail the next time: no reason to throw anything away.
            Err(error @ Error::Disk { .. }) if !is_missing(&error) => return Err(error),
            Err(error) => report.rebuilt = Some(error.to_string()),
        }
    } else if !disk
        .list(CHECKPOINT_FOLDER)
        .map_err(Error::disk("list", CHECKPOINT_FOLDER))?
        .is_empty()
    {
        report.rebuilt = Some("no checkpoint is intact".to_owned());
    }
    let mut state = empty_state(disk, settings, segments);
    state.first_half_is_unknown = log_start > 0;
    // First the checkpoint, then what it speaks of: a crash in between must not leave one that is half true.
    checkpoint::remove(&**disk)?;
    state.shared.half_files.clear()?;
    state.shared.queue_files.remove_unused(|_| None)?;
    state.shared.run_files.remove_unused(&[])?;
    let start = Resume {
        end: log_start + SEGMENT_HEADER_BYTES,
        previous_crc: 0,
        last_timestamp: 0,
    };
    Ok((
        state,
        Checkpointing::resume(0, generation, 0, now_ms),
        start,
    ))
}

/// Takes a checkpoint over. Any derived file that is missing, behind or damaged is an error: then all are rebuilt.
fn restore(state: &mut State, content: Content, log_start: u64) -> Result<(), Error> {
    let position = content.position.end;
    let foreign = |what| Error::Foreign {
        file: CHECKPOINT_FOLDER.to_owned(),
        what,
    };
    if !content.is_sane() || position < log_start + SEGMENT_HEADER_BYTES {
        return Err(foreign("does not fit the log"));
    }
    for name in &content.names {
        state.names.intern(name);
    }
    let meta = content
        .meta
        .into_iter()
        .map(|(key, value, at)| (key, MetaValue { value, at }));
    state.meta = meta.collect();
    state.schedule = content.schedule.into_iter().collect();
    let (left, kept): (Vec<_>, Vec<_>) = content
        .segments
        .into_iter()
        .partition(|(start, _)| *start < log_start);
    state.segments = kept.into_iter().collect();
    state.last_half_at = content.last_half_at;
    let shared = state.shared.clone();
    let mut halfs = shared.halfs.write();
    halfs.start_at(content.half_next, content.half_first_kept);
    for (start, end) in content.undecided_pages {
        shared.half_files.pages(start, end, |seq, row| {
            // A page may be newer than its checkpoint: what replay will decide again must be in memory.
            let is_needed = row.entry.state.is_undecided() || row.entry.last_op.0 >= position;
            if seq < content.half_next && is_needed {
                halfs.load(seq, row);
            }
        })?;
    }
    drop(halfs);
    state.queues.restore(content.next_number, content.lost);
    for tail in content.queues {
        let last_page = shared.queue_files.last_page(tail.number, tail.end)?;
        state.queues.adopt(Queue::restore(
            tail.topic.into(),
            tail.id,
            tail.number,
            tail.min,
            tail.end,
            last_page,
        ));
    }
    let runs: Vec<_> = content
        .runs
        .iter()
        .map(|(id, items, max)| Arc::new(Run::new(*id, *items, *max)))
        .collect();
    for run in &runs {
        if !shared.run_files.is_whole(run)? {
            return Err(foreign("a run of the key index is missing"));
        }
    }
    shared.index.write().written(0, runs);
    // Segments may have left since the checkpoint.
    match left.iter().map(|(_, used)| used.referred).max() {
        Some(newest) => raise_minimums(&shared, newest),
        None => Ok(()),
    }
}

/// Raises the first offsets of all queues past messages whose bytes left the log by `newest` (ms) at the latest.
pub(super) fn raise_minimums(shared: &Shared, newest: i64) -> Result<(), Error> {
    let log_start = shared.log.start();
    for queue in shared.queues.all() {
        queue.raise_min(queue.min_after(&shared.queue_files, log_start, newest)?);
    }
    Ok(())
}
