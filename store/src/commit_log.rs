//! The one append-only log. Appends stage bytes in anonymous memory; [`CommitLog::write`] puts them into the file with one
//! positioned write, [`CommitLog::sync`] makes them durable. A failed write or sync poisons the log: what the disk then holds
//! is unknown, and a repeated sync would lie.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::hash::crc32c;
use crate::ids::{narrow, wide};
use crate::log_view::{LogView, Stored};
use crate::record::header::{align, record_bytes};
use crate::record::{HEADER_BYTES, Header, Kind};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader};
use crate::spare::Spare;
use crate::sync::{SyncDone, SyncJob};
use crate::tail::TailMemory;
use crate::{Error, Settings};

/// Writes begin and end at page boundaries: a partial page of a file that is not cached costs a read first.
const PAGE: u64 = 4096;

/// What a record's head says besides place and time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) flags: u16,
    pub(crate) subject: u64,
    pub(crate) position: u64,
    pub(crate) link: u64,
}

impl Head {
    pub(crate) fn of(kind: Kind) -> Head {
        Head {
            kind,
            flags: 0,
            subject: 0,
            position: 0,
            link: 0,
        }
    }
}

/// Where an append went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) store_timestamp: i64,
}

/// Where a log goes on after recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) end: u64,
    pub(crate) previous_crc: u32,
    pub(crate) last_timestamp: i64,
}

/// The writer's side of the log.
#[derive(Debug)]
pub(crate) struct CommitLog {
    disk: Arc<dyn Disk>,
    view: Arc<LogView>,
    spare: Arc<Spare>,
    segment: Segment,
    segment_bytes: u64,
    record_bytes_max: usize,
    unsynced_bytes_max: u64,
    epoch: u32,
    /// The current page's written part, then what is staged. Starts at `base`, a page boundary.
    buffer: Vec<u8>,
    base: u64,
    written: u64,
    durable: u64,
    previous_crc: u32,
    last_timestamp: i64,
    /// Segments that were left since the last sync.
    unsynced: Vec<Segment>,
    tail_memory: TailMemory,
    folder_unsynced: bool,
    is_syncing: bool,
    marked: u64,
    poison: Option<String>,
}

impl CommitLog {
    /// Goes on at `resume.end` in `segment`; everything before it is durable.
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        view: Arc<LogView>,
        settings: &Settings,
        segment: Segment,
        resume: Resume,
    ) -> Result<CommitLog, Error> {
        let base = resume.end - resume.end % PAGE;
        let mut buffer = vec![0; narrow(resume.end - base)];
        let read = segment.read(&mut buffer, base)?;
        if read < buffer.len() {
            return Err(segment.damaged(base, "the last page is cut short"));
        }
        view.set_written(resume.end);
        view.set_durable(resume.end);
        Ok(CommitLog {
            disk,
            view,
            spare: Arc::new(Spare::new()),
            segment,
            segment_bytes: settings.segment_bytes,
            record_bytes_max: settings.record_bytes_max,
            unsynced_bytes_max: settings.unsynced_bytes_max,
            epoch: settings.epoch,
            buffer,
            base,
            written: resume.end,
            durable: resume.end,
            previous_crc: resume.previous_crc,
            last_timestamp: resume.last_timestamp,
            unsynced: Vec::new(),
            tail_memory: TailMemory::default(),
            folder_unsynced: false,
            is_syncing: false,
            marked: 0,
            poison: None,
        })
    }

    /// The end of everything staged: where the next record begins.
    pub(crate) fn end(&self) -> u64 {
        self.base + wide(self.buffer.len())
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn spare(&self) -> Arc<Spare> {
        self.spare.clone()
    }

    pub(crate) fn segment_start(&self) -> u64 {
        self.segment.start
    }

    pub(crate) fn position(&self) -> Resume {
        Resume {
            end: self.end(),
            previous_crc: self.previous_crc,
            last_timestamp: self.last_timestamp,
        }
    }

    /// The store timestamp that an append at `now_ms` gets.
    pub(crate) fn timestamp(&self, now_ms: i64) -> i64 {
        now_ms.max(self.last_timestamp)
    }

    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Stages a record. `body` is given the record's offset and its store timestamp and appends exactly `body_len` bytes.
    ///
    /// # Errors
    /// Poisoned, too large, or what a roll to the next segment meets.
    pub(crate) fn append(
        &mut self,
        head: Head,
        now_ms: i64,
        body_len: usize,
        body: impl FnOnce(&Span, &mut Vec<u8>),
    ) -> Result<Span, Error> {
        self.check_usable()?;
        if body_len > self.record_bytes_max {
            return Err(Error::RecordTooLarge {
                bytes: wide(body_len),
                bytes_max: wide(self.record_bytes_max),
            });
        }
        // Room for the PAD that closes the segment is always kept.
        if self.end() + record_bytes(body_len) + record_bytes(0) > self.segment.end() {
            self.roll(now_ms)?;
        }
        Ok(self.stage(head, now_ms, body_len, body))
    }

    fn stage(
        &mut self,
        head: Head,
        now_ms: i64,
        body_len: usize,
        body: impl FnOnce(&Span, &mut Vec<u8>),
    ) -> Span {
        let offset = self.end();
        let store_timestamp = self.timestamp(now_ms);
        let end = offset + record_bytes(body_len);
        let span = Span {
            offset,
            end,
            store_timestamp,
        };
        let start = self.buffer.len();
        self.buffer.reserve(narrow(end - offset));
        self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
        body(&span, &mut self.buffer);
        let stored = self.buffer.get(start + HEADER_BYTES..).unwrap_or_default();
        assert!(
            stored.len() == body_len,
            "a {} record must have the length announced",
            head.kind.name()
        );
        let mut header = Header {
            crc: 0,
            body_crc: crc32c(stored),
            len: u32::try_from(HEADER_BYTES + body_len).unwrap_or(u32::MAX),
            kind: head.kind,
            flags: head.flags,
            offset,
            epoch: self.epoch,
            previous_crc: self.previous_crc,
            durable: self.durable,
            store_timestamp,
            subject: head.subject,
            position: head.position,
            link: head.link,
        };
        let sealed = header.seal();
        if let Some(place) = self.buffer.get_mut(start..start + HEADER_BYTES) {
            place.copy_from_slice(&sealed);
        }
        let padded = start + narrow(align(wide(HEADER_BYTES + body_len)));
        self.buffer.resize(padded, 0);
        self.previous_crc = header.crc;
        self.last_timestamp = store_timestamp;
        span
    }

    /// Closes the segment with a PAD and goes on in the next one.
    fn roll(&mut self, now_ms: i64) -> Result<(), Error> {
        self.stage(Head::of(Kind::Pad), now_ms, 0, |_, _| {});
        self.write()?;
        let start = self.segment.end();
        let header = SegmentHeader {
            start,
            bytes: self.segment_bytes,
            created: self.last_timestamp,
        };
        let made = Segment::create(&*self.disk, header, self.spare.take());
        let next = self.poison_on_error(made)?;
        self.view.add_segment(next.clone());
        self.unsynced
            .push(std::mem::replace(&mut self.segment, next));
        self.folder_unsynced = true;
        self.base = start + SEGMENT_HEADER_BYTES;
        self.written = self.base;
        self.buffer.clear();
        self.view.set_written(self.written);
        Ok(())
    }

    /// Puts everything staged into the file, with one write.
    ///
    /// # Errors
    /// The disk failed (the log is poisoned from now on), or did so before.
    pub(crate) fn write(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        let end = self.end();
        if end == self.written {
            return Ok(());
        }
        let len = self.buffer.len();
        let padded = len.next_multiple_of(narrow(PAGE));
        self.buffer.resize(padded, 0);
        let result = self
            .segment
            .file
            .write_at(&self.buffer, self.base - self.segment.start);
        self.buffer.truncate(len);
        self.poison_on_error(result.map_err(Error::disk("write", &self.segment.name)))?;
        let fresh = self
            .buffer
            .get(narrow(self.written - self.base)..)
            .unwrap_or_default();
        let copy = self.tail_memory.copy(fresh);
        self.view.push_tail(self.written, copy);
        self.written = end;
        self.view.set_written(end);
        self.buffer.drain(..len - len % narrow(PAGE));
        self.base = end - end % PAGE;
        if (end - self.segment.start).saturating_mul(16) > self.segment_bytes {
            self.spare.want(end);
        }
        // Who has a sync on its way waits for that.
        if self.is_far_ahead() && !self.is_syncing {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything written durable, and waits for it.
    ///
    /// # Errors
    /// The disk failed (the log is poisoned from now on), or did so before.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        assert!(!self.is_syncing, "a sync that is on its way comes first");
        match self.begin_sync()? {
            Some(job) => self.finish_sync(job.run()),
            None => Ok(()),
        }
    }

    /// Begins to make everything written durable. `None` if it is, or while another sync is on its way.
    ///
    /// # Errors
    /// The disk failed before.
    pub(crate) fn begin_sync(&mut self) -> Result<Option<SyncJob>, Error> {
        self.check_usable()?;
        if self.is_syncing || self.durable == self.written {
            return Ok(None);
        }
        self.is_syncing = true;
        let left = self.unsynced.iter();
        Ok(Some(SyncJob {
            disk: self.disk.clone(),
            segments: left.chain([&self.segment]).cloned().collect(),
            with_folder: std::mem::take(&mut self.folder_unsynced),
            until: self.written,
        }))
    }

    /// The sync is over. Of what was written meanwhile nothing is known.
    ///
    /// # Errors
    /// It failed (the log is poisoned from now on).
    pub(crate) fn finish_sync(&mut self, done: SyncDone) -> Result<(), Error> {
        self.is_syncing = false;
        self.poison_on_error(done.result)?;
        self.unsynced.retain(|segment| segment.end() > done.until);
        self.durable = done.until;
        self.view.set_durable(self.durable);
        Ok(())
    }

    pub(crate) fn is_syncing(&self) -> bool {
        self.is_syncing
    }

    /// More would be unsynced than recovery may have to search.
    pub(crate) fn is_far_ahead(&self) -> bool {
        self.written.saturating_sub(self.durable) > self.unsynced_bytes_max
    }

    /// Writes down the durable watermark if nothing after the newest durable record states it: rot in the last batch is then
    /// told from a torn tail.
    pub(crate) fn mark(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.durable != self.end() || self.marked == self.end() {
            return Ok(());
        }
        let span = self.append(Head::of(Kind::Mark), now_ms, 0, |_, _| {})?;
        self.write()?;
        self.sync()?;
        self.marked = span.end;
        Ok(())
    }

    /// The store timestamp of the newest record.
    pub(crate) fn last_timestamp(&self) -> i64 {
        self.last_timestamp
    }

    /// Reads a record, staged ones included.
    pub(crate) fn read(&self, offset: u64, size_hint: usize) -> Result<Stored, Error> {
        match self.staged(offset) {
            Some(stored) => Ok(stored),
            None => self.view.read(offset, size_hint),
        }
    }

    /// The record at an offset that a client gave, staged ones included; `Ok(None)` if none begins there.
    pub(crate) fn look(&self, offset: u64) -> Result<Option<Stored>, Error> {
        if offset >= self.written {
            return Ok(self.staged(offset));
        }
        self.view.look(offset, 0)
    }

    fn staged(&self, offset: u64) -> Option<Stored> {
        if offset < self.written {
            return None;
        }
        let bytes = self.buffer.get(narrow(offset.checked_sub(self.base)?)..)?;
        let header = Header::decode(bytes, offset).ok()?;
        let body = bytes.get(HEADER_BYTES..narrow(u64::from(header.len)))?;
        Some(Stored {
            header,
            body: Bytes::copy_from_slice(body),
        })
    }

    fn poison_on_error<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.poison = Some(error.to_string());
        }
        result
    }
}
