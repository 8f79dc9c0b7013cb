//! Opening: from the newest checkpoint, replay through the same functions that append uses, tell a torn tail, an unsynced hole
//! and damage apart, and go on.
//!
//! Let D be the highest durable watermark that a checkpoint or any good record states, and P the first place that fails. P below
//! D is damage in what was acknowledged: nothing is cut, one record is stepped over. P at or above D was never known to be
//! durable: the log is cut there, the bytes are saved under `lost+found/`, the report names them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) mod report;
pub(crate) mod scan;

use parking_lot::RwLock;

use crate::checkpoint::{self, CHECKPOINT_FOLDER, Checkpointing, codec::Content};
use crate::commit_log::{CommitLog, Head, Resume};
use crate::consume_queue::file::QUEUE_FOLDER;
use crate::consume_queue::{Queue, QueueFiles};
use crate::disk::Disk;
use crate::half_queue::file::HALF_FOLDER;
use crate::half_queue::{HalfFiles, HalfQueue};
use crate::ids::{narrow, wide};
use crate::key_index::run::INDEX_FOLDER;
use crate::key_index::{KeyIndex, Run, RunFiles};
use crate::log_view::LogView;
use crate::queues::QueueMap;
use crate::record::{CutBody, Header, Kind};
use crate::segment::{LOG_FOLDER, SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use crate::state::{MetaValue, Shared, State};
use crate::{Error, HalfSeq, HalfState, PhysicalOffset, Settings};
use report::{Cut, CutKind, Damage, RecoveryReport};
use scan::{Found, Scan};

const LOST_FOLDER: &str = "lost+found";

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
    let mut replay = Replay {
        disk,
        settings,
        scan: Scan::new(&segments, settings.record_bytes_max),
        durable: resume.end,
        at: resume.end,
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
    replay.open_log(&segments, now_ms)
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
    // A segment whose header is lost still ends where the next one starts.
    let starts: Vec<u64> = segments.iter().map(|segment| segment.start).collect();
    for (segment, next) in segments.iter_mut().zip(starts.iter().skip(1)) {
        if !segment.header_is_good || segment.end() > *next {
            segment.bytes = next - segment.start;
        }
    }
    Ok(segments)
}

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
fn load_checkpoint(
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
            Err(error) => report.rebuilt = Some(error.to_string()),
        }
    } else if !disk
        .list(CHECKPOINT_FOLDER)
        .map_err(Error::disk("list", CHECKPOINT_FOLDER))?
        .is_empty()
    {
        report.rebuilt = Some("no checkpoint is intact".to_owned());
    }
    let state = empty_state(disk, settings, segments);
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
fn raise_minimums(shared: &Shared, newest: i64) -> Result<(), Error> {
    let log_start = shared.log.start();
    for queue in shared.queues.all() {
        queue.raise_min(queue.min_after(&shared.queue_files, log_start, newest)?);
    }
    Ok(())
}

struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    settings: &'a Settings,
    scan: Scan<'a>,
    state: State,
    checkpointing: Checkpointing,
    /// The highest durable watermark stated so far.
    durable: u64,
    at: u64,
    previous: Option<u32>,
    last: Resume,
    /// Damaged spans of which nothing is known: they may hide ops.
    holes: Vec<(u64, u64)>,
    flushed: u64,
    report: RecoveryReport,
}

/// What to do where the log fails.
enum Verdict {
    Damage,
    Cut { kind: CutKind, records: u64 },
    End,
}

impl<'a> Replay<'a> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(segment) = self.scan.segment_of(self.at) {
            match self.scan.at(segment, self.at, self.previous)? {
                Found::Record(stored) => {
                    let header = stored.header;
                    if self.state.apply(&stored).is_err() {
                        self.step_over(segment, &header, "record body makes no sense");
                    } else {
                        self.note(segment, &header);
                    }
                    if !self.advance(segment, &header) {
                        break;
                    }
                    self.flush()?;
                }
                failed => {
                    if !self.fail(segment, failed)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, segment: &Segment, header: &Header) {
        self.report.records += 1;
        self.report.bytes += u64::from(header.len);
        self.state
            .note_record(segment.start, header.store_timestamp);
    }

    /// Goes on behind a record; false at the end of the last segment.
    fn advance(&mut self, segment: &Segment, header: &Header) -> bool {
        self.durable = self.durable.max(header.durable);
        self.previous = Some(header.crc);
        self.last = Resume {
            end: header.end(),
            previous_crc: header.crc,
            last_timestamp: self.last.last_timestamp.max(header.store_timestamp),
        };
        match self.scan.behind(segment, header) {
            Some(next) => self.at = next,
            None => {
                // The PAD is there, the next segment is not yet.
                self.at = segment.end();
                return false;
            }
        }
        true
    }

    /// The log fails at `self.at`. True if replay can go on behind the damage.
    fn fail(&mut self, segment: &'a Segment, found: Found) -> Result<bool, Error> {
        match self.judge(&found)? {
            Verdict::End => Ok(false),
            Verdict::Cut { kind, records } => {
                self.cut(segment, kind, records)?;
                Ok(false)
            }
            Verdict::Damage => self.skip(segment, found),
        }
    }

    fn window(&self) -> u64 {
        let record_max = wide(self.settings.record_bytes_max).saturating_add(8192);
        self.at
            .saturating_add(self.settings.unsynced_bytes_max)
            .saturating_add(record_max)
    }

    fn judge(&mut self, found: &Found) -> Result<Verdict, Error> {
        if self.at < self.durable {
            return Ok(Verdict::Damage);
        }
        let stated = match found {
            Found::BadHead { stated, .. } => *stated,
            Found::BadBody(header) => [header.crc; 2],
            Found::Record(_) | Found::Nothing => [0; 2],
        };
        let window = self.window();
        let mut records = 0;
        let mut from = self.at + crate::record::header::ALIGNMENT;
        while let Some(header) = self.scan.next_good(from, window, stated)? {
            let chain = self.scan.follow(header)?;
            if chain.durable > self.at {
                self.durable = self.durable.max(chain.durable);
                return Ok(Verdict::Damage);
            }
            records += chain.records;
            from = chain.end;
        }
        if records > 0 {
            return Ok(Verdict::Cut {
                kind: CutKind::UnsyncedHole,
                records,
            });
        }
        let is_empty = self.scan.content_end(self.at, window)? == self.at;
        let is_last = self
            .scan
            .segment_of(self.at)
            .and_then(|segment| self.scan.segment_after(segment))
            .is_none();
        Ok(if is_empty && is_last {
            Verdict::End
        } else {
            Verdict::Cut {
                kind: CutKind::TornTail,
                records: 0,
            }
        })
    }

    /// Damage below the watermark: steps over what its head explains, or over everything up to the next good head.
    fn skip(&mut self, segment: &'a Segment, found: Found) -> Result<bool, Error> {
        let (header, what, stated) = match found {
            Found::BadBody(header) => (Some(header), "record body", [0; 2]),
            Found::BadHead { repaired, stated } => (repaired, "record head", stated),
            Found::Record(_) | Found::Nothing => (None, "record head", [0; 2]),
        };
        if let Some(header) = header.filter(|header| header.end() <= segment.end()) {
            self.step_over(segment, &header, what);
            return Ok(self.advance(segment, &header));
        }
        let from = self.at + crate::record::header::ALIGNMENT;
        let next = self
            .scan
            .next_good(from, u64::MAX, stated)?
            .map(|header| header.offset);
        // Without a good head behind it everything up to the watermark is lost, and the log goes on there.
        let end = next.unwrap_or(self.durable).max(from);
        self.hole(segment, end);
        self.previous = None;
        self.at = end;
        Ok(true)
    }

    /// A record that cannot be read, but whose head can: what it did is known.
    fn step_over(&mut self, segment: &Segment, header: &Header, what: &'static str) {
        self.state.apply_head(header);
        self.state
            .note_record(segment.start, header.store_timestamp);
        self.damage(
            segment,
            u64::from(header.len),
            what,
            Some(header.kind.name()),
        );
    }

    fn hole(&mut self, segment: &Segment, end: u64) {
        self.holes.push((self.at, end));
        self.damage(segment, end - self.at, "log", None);
    }

    fn damage(
        &mut self,
        segment: &Segment,
        bytes: u64,
        what: &'static str,
        record: Option<&'static str>,
    ) {
        self.state.shared.log.add_damage(self.at, self.at + bytes);
        self.report.damaged.push(Damage {
            file: segment.name.clone(),
            at: self.at - segment.start,
            offset: PhysicalOffset(self.at),
            bytes,
            what,
            record,
        });
    }

    /// Takes everything from `self.at` on away: saves it, then zeroes it, so that no stale record can ever be met again.
    fn cut(&mut self, segment: &'a Segment, kind: CutKind, records: u64) -> Result<(), Error> {
        let end = self.scan.content_end(self.at, u64::MAX)?;
        let mut saved = Vec::new();
        if end > self.at {
            saved.push(self.save(segment, end)?);
            self.zero(segment, end)?;
            segment
                .file
                .sync()
                .map_err(Error::disk("sync", &segment.name))?;
        }
        let mut bytes = end - self.at;
        let mut next = self.scan.segment_after(segment);
        while let Some(later) = next {
            bytes += later.file_end()?.saturating_sub(later.start);
            let name = format!("{LOST_FOLDER}/segment-{:020}", later.start);
            self.disk
                .rename(&later.name, &name)
                .map_err(Error::disk("rename", &later.name))?;
            self.state.shared.log.remove_segment(later.start);
            saved.push(name);
            next = self.scan.segment_after(later);
        }
        for folder in [LOST_FOLDER, LOG_FOLDER] {
            self.disk
                .sync_folder(folder)
                .map_err(Error::disk("sync", folder))?;
        }
        self.report.cut = Some(Cut {
            kind,
            file: segment.name.clone(),
            at: self.at - segment.start,
            offset: PhysicalOffset(self.at),
            bytes,
            records,
            saved,
        });
        Ok(())
    }

    fn zero(&self, segment: &Segment, end: u64) -> Result<(), Error> {
        for (start, len) in steps(self.at, end) {
            let zeroed = segment.file.write_at(&vec![0; len], start - segment.start);
            zeroed.map_err(Error::disk("write", &segment.name))?;
        }
        Ok(())
    }

    /// Keeps what is about to be cut; never over what an earlier cut kept.
    fn save(&self, segment: &Segment, end: u64) -> Result<String, Error> {
        let first = format!("{LOST_FOLDER}/{:020}", self.at);
        let others = (1..).map(|number| format!("{first}-{number}"));
        let mut names = std::iter::once(first.clone()).chain(others);
        let name = names
            .find(|name| self.disk.open(name).is_err())
            .unwrap_or(first.clone());
        let file = self
            .disk
            .create(&name)
            .map_err(Error::disk("create", &name))?;
        for (start, len) in steps(self.at, end) {
            let mut bytes = vec![0; len];
            segment.read(&mut bytes, start)?;
            file.write_at(&bytes, start - self.at)
                .map_err(Error::disk("write", &name))?;
        }
        file.sync().map_err(Error::disk("sync", &name))?;
        Ok(name)
    }

    /// Empties memory into the derived files, so that rebuilding a long log does not need memory for all of it.
    fn flush(&mut self) -> Result<(), Error> {
        if self.at.saturating_sub(self.flushed)
            < checkpoint::replay_flush_bytes(self.settings.checkpoint_bytes)
        {
            return Ok(());
        }
        self.flushed = self.at;
        let job = checkpoint::begin(
            self.disk,
            &mut self.state,
            &mut self.checkpointing,
            self.last,
            false,
        );
        checkpoint::finish(&self.state, &mut self.checkpointing, job.run())
    }

    /// Halfs that were undecided before a hole, and of which nothing behind it says that they still were.
    fn unexplained(&self) -> Vec<HalfSeq> {
        let Some(hole_end) = self.holes.iter().map(|(_, end)| *end).max() else {
            return Vec::new();
        };
        let halfs = self.state.shared.halfs.read();
        let undecided = halfs.undecided(HalfSeq(0)).filter(|(_, entry)| {
            entry.state == HalfState::Pending
                && entry.handle.0 < hole_end
                && entry.last_op.0 < hole_end
        });
        undecided.map(|(seq, _)| seq).collect()
    }

    /// Opens the log for appending where replay ended.
    fn open_log(mut self, segments: &[Segment], now_ms: i64) -> Result<Recovered, Error> {
        if self.report.checkpoint.is_none() && self.state.shared.log.start() > 0 {
            raise_minimums(&self.state.shared, i64::MAX)?;
        }
        let unexplained = self.unexplained();
        for seq in &unexplained {
            self.state
                .shared
                .halfs
                .write()
                .flag(*seq, crate::half_queue::LOG_DAMAGED);
        }
        self.report.parked.clone_from(&unexplained);
        self.sync_all(segments)?;
        let view = self.state.shared.log.clone();
        let segment = match view.segment_of(self.at) {
            Some(segment) => segment,
            None => self.next_segment(now_ms)?,
        };
        let first = segment.start + SEGMENT_HEADER_BYTES;
        let resume = Resume {
            end: self.at.max(first),
            ..self.last
        };
        let mut log = CommitLog::resume(self.disk.clone(), view, self.settings, segment, resume)?;
        if let Some(cut) = &self.report.cut {
            let body = CutBody {
                bytes: cut.bytes,
                records: cut.records,
            };
            log.append(Head::of(Kind::Cut), now_ms, CutBody::LEN, |_, out| {
                body.put(out)
            })?;
        }
        Ok(Recovered {
            log,
            state: self.state,
            checkpointing: self.checkpointing,
            unexplained,
            report: self.report,
        })
    }

    /// The process may have died between a roll's PAD and the next segment.
    fn next_segment(&self, now_ms: i64) -> Result<Segment, Error> {
        let header = SegmentHeader {
            start: self.at,
            bytes: self.settings.segment_bytes,
            created: now_ms,
        };
        let segment = Segment::create(&**self.disk, header, None)?;
        segment
            .file
            .sync()
            .map_err(Error::disk("sync", &segment.name))?;
        self.disk
            .sync_folder(LOG_FOLDER)
            .map_err(Error::disk("sync", LOG_FOLDER))?;
        self.state.shared.log.add_segment(segment.clone());
        Ok(segment)
    }

    /// Heals headers, and makes everything durable that replay has read: it will be acknowledged and shown.
    fn sync_all(&self, segments: &[Segment]) -> Result<(), Error> {
        let kept = self.state.shared.log.segments();
        for segment in segments
            .iter()
            .filter(|segment| kept.iter().any(|(start, _)| *start == segment.start))
        {
            if !segment.header_is_good {
                let header = SegmentHeader {
                    start: segment.start,
                    bytes: segment.bytes,
                    created: 0,
                };
                let healed = segment.file.write_at(&header.encode(), 0);
                healed.map_err(Error::disk("write", &segment.name))?;
            }
            if segment.end() > self.checkpointing.end {
                segment
                    .file
                    .sync()
                    .map_err(Error::disk("sync", &segment.name))?;
            }
        }
        disk_sync(self.disk)
    }
}

/// Cuts a span into pieces that fit memory.
fn steps(start: u64, end: u64) -> impl Iterator<Item = (u64, usize)> {
    const STEP: u64 = 1 << 20;
    (0..end.saturating_sub(start).div_ceil(STEP)).map(move |step| {
        let from = start + step * STEP;
        (from, narrow((end - from).min(STEP)))
    })
}

fn disk_sync(disk: &Arc<dyn Disk>) -> Result<(), Error> {
    disk.sync_folder(LOG_FOLDER)
        .map_err(Error::disk("sync", LOG_FOLDER))
}
