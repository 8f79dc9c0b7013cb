//! Checkpoints: what derives from the log is written to its files now and then, so that opening need not replay everything.
//!
//! In three steps, so that the log thread does not wait for the disk: [`Store::begin_checkpoint`] syncs the log and copies what
//! changed, [`CheckpointJob::run`] writes it, on any thread, and [`Store::finish_checkpoint`] lets memory go. A checkpoint that
//! fails costs nothing but time at the next open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) mod codec;

use codec::{Content, QueueTail};

use crate::commit_log::Resume;
use crate::consume_queue::{DirtyEntries, Queue};
use crate::disk::Disk;
use crate::half_queue::{self, DirtyPage, ENTRIES_PER_PAGE};
use crate::ids::wide;
use crate::key_index::{Item, Run};
use crate::state::{Shared, State};
use crate::{Error, HalfSeq, Store};

/// Folder of the two copies.
pub(crate) const CHECKPOINT_FOLDER: &str = "checkpoint";

const NEW_NAME: &str = "checkpoint/new";
const NAMES: [&str; 2] = ["checkpoint/0", "checkpoint/1"];

/// What the store remembers from one checkpoint to the next.
#[derive(Debug, Default)]
pub(crate) struct Checkpointing {
    /// How far the log is covered.
    pub(crate) end: u64,
    pub(crate) at_ms: i64,
    /// Counts checkpoints: odd and even ones have their own file.
    pub(crate) generation: u64,
    pub(crate) next_run: u64,
    /// Runs of the checkpoint before: its copy may still be needed.
    previous_runs: Vec<Arc<Run>>,
    is_running: bool,
}

impl Checkpointing {
    /// Goes on after an open.
    pub(crate) fn resume(end: u64, generation: u64, next_run: u64, at_ms: i64) -> Checkpointing {
        Checkpointing {
            end,
            at_ms,
            generation,
            next_run,
            ..Checkpointing::default()
        }
    }
}

/// A checkpoint on its way to the disk.
#[derive(Debug)]
pub struct CheckpointJob {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    pages: Vec<DirtyPage>,
    queues: Vec<DirtyEntries>,
    blocks: Vec<Arc<[Item]>>,
    runs: Vec<Arc<Run>>,
    previous_runs: Vec<Arc<Run>>,
    next_run: u64,
    generation: u64,
    content: Content,
    /// A derived file is damaged: the next open shall rebuild them all, and finds no checkpoint.
    wants_rebuild: bool,
    /// False while replay only empties its memory: then nothing may be skipped at the next open, and nothing is removed.
    is_complete: bool,
    /// Damaged pages of the half queue that were not written.
    left: Vec<u64>,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub struct CheckpointDone {
    result: Result<(Vec<Arc<Run>>, u64), Error>,
    pages: Vec<u64>,
    left: Vec<u64>,
    queues: Vec<(Arc<Queue>, u64)>,
    blocks: usize,
    next_half: u64,
    /// How far the log is covered, so that the next checkpoint is due when there is more; 0 while replay goes on.
    end: u64,
}

/// Copies what changed since the last checkpoint. Everything below `position.end` must be durable.
pub(crate) fn begin(
    disk: &Arc<dyn Disk>,
    state: &mut State,
    checkpointing: &mut Checkpointing,
    position: Resume,
    is_complete: bool,
) -> CheckpointJob {
    state.publish_index();
    let shared = state.shared.clone();
    let wants_rebuild = shared.wants_rebuild.load(Ordering::Relaxed);
    let all = shared.queues.all();
    let (pages, blocks, runs, content) = {
        let mut halfs = shared.halfs.write();
        let mut index = shared.index.write();
        let pages = halfs.take_dirty();
        let blocks = index.take_blocks();
        let content = Content {
            position,
            generation: checkpointing.generation + 1,
            half_next: halfs.next().0,
            half_first_kept: halfs.first_kept(),
            last_half_at: state.last_half_at,
            undecided_pages: Vec::new(),
            names: state.names.iter().map(str::to_owned).collect(),
            meta: state
                .meta
                .iter()
                .map(|(key, meta)| (key.clone(), meta.value.clone(), meta.at))
                .collect(),
            schedule: state
                .schedule
                .iter()
                .map(|(level, next)| (*level, *next))
                .collect(),
            segments: state
                .segments
                .iter()
                .map(|(start, used)| (*start, *used))
                .collect(),
            next_number: state.queues.next_number(),
            queues: all.iter().map(|queue| QueueTail::of(queue)).collect(),
            lost: state.queues.lost().to_vec(),
            next_run: checkpointing.next_run,
            runs: Vec::new(),
        };
        (pages, blocks, index.runs(), content)
    };
    checkpointing.is_running = true;
    CheckpointJob {
        disk: disk.clone(),
        queues: all.iter().filter_map(Queue::dirty).collect(),
        shared,
        pages,
        blocks,
        runs,
        previous_runs: checkpointing.previous_runs.clone(),
        next_run: checkpointing.next_run,
        generation: checkpointing.generation + 1,
        content,
        wants_rebuild,
        is_complete,
        left: Vec::new(),
    }
}

impl CheckpointJob {
    /// Writes everything and makes it durable. Reads and appends go on meanwhile.
    pub fn run(mut self) -> CheckpointDone {
        let result = self.write();
        // A derived file that is damaged would make every checkpoint fail: the next one gives them all up instead.
        let result = self.shared.noting_damage(result);
        CheckpointDone {
            result,
            pages: self.pages.iter().map(|page| page.number).collect(),
            left: self.left,
            queues: self
                .queues
                .iter()
                .map(|dirty| (dirty.queue.clone(), dirty.end()))
                .collect(),
            blocks: self.blocks.len(),
            next_half: self.content.half_next,
            end: if self.is_complete {
                self.content.position.end
            } else {
                0
            },
        }
    }

    fn write(&mut self) -> Result<(Vec<Arc<Run>>, u64), Error> {
        self.give_up_damaged_pages()?;
        self.shared.queue_files.write(&self.queues)?;
        let mut runs = self.runs.clone();
        let mut next_run = self.next_run;
        if !self.blocks.is_empty() {
            let mut items: Vec<Item> = self
                .blocks
                .iter()
                .flat_map(|block| block.iter().copied())
                .collect();
            items.sort_unstable();
            runs.push(Arc::new(
                self.shared
                    .run_files
                    .write(next_run, items.into_iter().map(Ok))?,
            ));
            next_run += 1;
        }
        runs = self.shared.run_files.merge(runs, &mut next_run)?;
        if self.is_complete {
            self.content.undecided_pages = self.shared.needed_pages(&self.content);
        }
        if self.wants_rebuild {
            remove(&*self.disk)?;
        } else if self.is_complete {
            self.content.runs = runs
                .iter()
                .map(|run| (run.id, run.items, run.physical_max))
                .collect();
            self.content.next_run = next_run;
            self.write_content()?;
        }
        // Also while a rebuild is wanted: that may be long, and what nothing names any more would fill the disk.
        if self.is_complete {
            self.remove_unused(&runs)?;
        }
        Ok((runs, next_run))
    }

    /// Writes the half queue's pages. One that is damaged and not all in memory cannot be written: its halfs stay in memory, and
    /// the next checkpoint lets the next open rebuild it from the log.
    fn give_up_damaged_pages(&mut self) -> Result<(), Error> {
        let left = self.shared.half_files.write(&self.pages)?;
        let Some(first) = left.first() else {
            return Ok(());
        };
        if !self.wants_rebuild {
            return Err(half_queue::file::damaged_page(*first));
        }
        self.pages.retain(|page| !left.contains(&page.number));
        self.left = left;
        Ok(())
    }

    fn write_content(&self) -> Result<(), Error> {
        let bytes = self.content.encode();
        let file = self
            .disk
            .create(NEW_NAME)
            .map_err(Error::disk("create", NEW_NAME))?;
        file.write_at(&bytes, 0)
            .map_err(Error::disk("write", NEW_NAME))?;
        file.sync().map_err(Error::disk("sync", NEW_NAME))?;
        let [even, odd] = NAMES;
        let name = if self.generation.is_multiple_of(2) {
            even
        } else {
            odd
        };
        self.disk
            .rename(NEW_NAME, name)
            .map_err(Error::disk("rename", NEW_NAME))?;
        self.disk
            .sync_folder(CHECKPOINT_FOLDER)
            .map_err(Error::disk("sync", CHECKPOINT_FOLDER))
    }

    fn remove_unused(&self, runs: &[Arc<Run>]) -> Result<(), Error> {
        let kept: Vec<Arc<Run>> = runs.iter().chain(&self.previous_runs).cloned().collect();
        self.shared.run_files.remove_unused(&kept)?;
        let minimums: HashMap<u32, u64> = self
            .content
            .queues
            .iter()
            .map(|tail| (tail.number, tail.min))
            .collect();
        let next_number = self.content.next_number;
        // Queues made since this checkpoint began have numbers of their own.
        let keep = |number: u32| {
            if number >= next_number {
                Some(0)
            } else {
                minimums.get(&number).copied()
            }
        };
        self.shared.queue_files.remove_unused(keep)?;
        self.shared.half_files.remove_below(
            self.content.half_first_kept,
            &self.content.undecided_pages,
            self.shared.log.start(),
        )
    }
}

impl Shared {
    /// Runs of pages with halfs that are undecided at the checkpoint, among those that the files hold. Collected while the log
    /// thread goes on: what is decided meanwhile counts as undecided, for a crash may lose the op.
    fn needed_pages(&self, content: &Content) -> Vec<(u64, u64)> {
        const AT_A_TIME: usize = 16_384;
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut from = HalfSeq(0);
        loop {
            let some: Vec<HalfSeq> = {
                let halfs = self.halfs.read();
                let needed = halfs.undecided_at(from, content.position.end);
                needed
                    .take_while(|seq| seq.0 < content.half_next)
                    .take(AT_A_TIME)
                    .collect()
            };
            for seq in &some {
                let page = seq.0 / ENTRIES_PER_PAGE;
                match runs.last_mut() {
                    Some((_, end)) if *end == page + 1 => {}
                    Some((_, end)) if *end == page => *end += 1,
                    _ => runs.push((page, page + 1)),
                }
            }
            match some.last() {
                Some(last) if some.len() == AT_A_TIME => from = HalfSeq(last.0 + 1),
                _ => return runs,
            }
        }
    }
}

/// Lets memory go that a checkpoint has written, or keeps it if the checkpoint failed.
pub(crate) fn finish(
    state: &State,
    checkpointing: &mut Checkpointing,
    done: CheckpointDone,
) -> Result<(), Error> {
    checkpointing.is_running = false;
    let shared = &state.shared;
    let (runs, next_run) = match done.result {
        Ok(written) => written,
        Err(error) => {
            let pages = done.pages.into_iter().chain(done.left);
            shared.halfs.write().not_written(pages);
            return Err(error);
        }
    };
    {
        let mut halfs = shared.halfs.write();
        halfs.not_written(done.left.into_iter());
        halfs.written(done.pages.into_iter(), done.next_half);
    }
    for (queue, end) in done.queues {
        queue.written(end);
    }
    let before = {
        let mut index = shared.index.write();
        let before = index.runs();
        index.written(done.blocks, runs);
        index.forget_below(shared.log.start());
        before
    };
    checkpointing.previous_runs = before;
    checkpointing.next_run = next_run;
    checkpointing.generation += 1;
    checkpointing.end = done.end;
    Ok(())
}

/// Takes both copies away: the next open rebuilds everything from the log.
pub(crate) fn remove(disk: &dyn Disk) -> Result<(), Error> {
    for name in NAMES {
        match disk.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::disk("remove", name)(error));
            }
            _ => {}
        }
    }
    disk.sync_folder(CHECKPOINT_FOLDER)
        .map_err(Error::disk("sync", CHECKPOINT_FOLDER))
}

/// The newest copy that is intact.
pub(crate) fn load(disk: &dyn Disk) -> Result<Option<Content>, Error> {
    let mut newest: Option<Content> = None;
    for name in NAMES {
        let file = match disk.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::disk("open", name)(error)),
        };
        let size = file.size().map_err(Error::disk("size", name))?;
        let mut bytes = vec![0; crate::ids::narrow(size.min(codec::BYTES_MAX))];
        let read =
            crate::disk::read_full(&*file, &mut bytes, 0).map_err(Error::disk("read", name))?;
        bytes.truncate(read);
        let Some(content) = Content::decode(&bytes, name)? else {
            continue;
        };
        if newest
            .as_ref()
            .is_none_or(|newest| newest.generation < content.generation)
        {
            newest = Some(content);
        }
    }
    Ok(newest)
}

impl Store {
    /// True if enough log or time has passed since the last checkpoint, and there is something to write.
    pub fn checkpoint_due(&self, now_ms: i64) -> bool {
        let behind = self.log.end().saturating_sub(self.checkpointing.end);
        let interval =
            i64::try_from(self.settings.checkpoint_interval.as_millis()).unwrap_or(i64::MAX);
        let is_late = now_ms.saturating_sub(self.checkpointing.at_ms) >= interval;
        !self.checkpointing.is_running
            && behind > 0
            && (is_late || behind >= self.settings.checkpoint_bytes)
    }

    /// Writes and syncs the log, and copies what changed since the last checkpoint. `None` while another one is on its way.
    /// Whoever takes the job must give its outcome back to [`Store::finish_checkpoint`].
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn begin_checkpoint(&mut self, now_ms: i64) -> Result<Option<CheckpointJob>, Error> {
        if self.checkpointing.is_running {
            return Ok(None);
        }
        // Derived files must never know more than a log that loses its unsynced tail.
        self.log.write()?;
        self.log.sync()?;
        self.checkpointing.at_ms = now_ms;
        let position = self.log.position();
        Ok(Some(begin(
            &self.disk,
            &mut self.state,
            &mut self.checkpointing,
            position,
            true,
        )))
    }

    /// Takes note of what became of a checkpoint.
    ///
    /// # Errors
    /// Why it failed. The store goes on: nothing is lost but the time it saves.
    pub fn finish_checkpoint(&mut self, done: CheckpointDone) -> Result<(), Error> {
        finish(&self.state, &mut self.checkpointing, done)
    }

    /// All three steps at once: for shutdown and tests.
    ///
    /// # Errors
    /// As [`Store::begin_checkpoint`] and [`Store::finish_checkpoint`].
    pub fn checkpoint(&mut self, now_ms: i64) -> Result<(), Error> {
        match self.begin_checkpoint(now_ms)? {
            Some(job) => self.finish_checkpoint(job.run()),
            None => Ok(()),
        }
    }
}

impl QueueTail {
    fn of(queue: &Queue) -> QueueTail {
        let (min, end) = queue.extent();
        QueueTail {
            topic: queue.topic.to_string(),
            id: queue.id,
            number: queue.number,
            min,
            end,
        }
    }
}

/// Bytes of log that replay applies before it empties its memory into the files.
pub(crate) fn replay_flush_bytes(checkpoint_bytes: u64) -> u64 {
    checkpoint_bytes.max(wide(1 << 20))
}
