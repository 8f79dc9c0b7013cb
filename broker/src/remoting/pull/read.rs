//! What a pull finds in its queue.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use escrow_protocol::code::response;
use escrow_store::{Error, ErrorKind, QueueEntry, QueueOffset};

use crate::consumers::Subscription;
use crate::shared::Shared;

/// The most that one answer carries; a single larger message is still served.
const BYTES_MAX: usize = 256 * 1024;

/// Entries looked at for one answer when the filter passes few of them.
const SCAN_MAX: usize = 800;

/// What is pulled, and how much of it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) topic: Arc<str>,
    pub(super) queue_id: i32,
    pub(super) offset: i64,
    pub(super) messages_max: usize,
    pub(super) bytes_max: Option<usize>,
    pub(super) filter: Arc<Subscription>,
}

/// Outcomes with the names that clients see as remarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Found,
    NoMatchedMessage,
    MessageWasRemoving,
    NoMessageInQueue,
    OffsetOverflowOne,
    OffsetOverflowBadly,
    OffsetTooSmall,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::Found => "FOUND",
            Status::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Status::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Status::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Status::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Status::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Status::OffsetTooSmall => "OFFSET_TOO_SMALL",
        }
    }

    /// The code for a pull at `offset`.
    pub(super) fn code(self, offset: i64) -> i32 {
        match self {
            Status::Found => response::SUCCESS,
            Status::NoMatchedMessage | Status::MessageWasRemoving => {
                response::PULL_RETRY_IMMEDIATELY
            }
            Status::NoMessageInQueue if offset != 0 => response::PULL_OFFSET_MOVED,
            Status::NoMessageInQueue | Status::OffsetOverflowOne => response::PULL_NOT_FOUND,
            Status::OffsetOverflowBadly | Status::OffsetTooSmall => response::PULL_OFFSET_MOVED,
        }
    }
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) status: Status,
    pub(super) next: i64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) messages: u64,
    pub(super) body: Bytes,
}

/// Where an offset lies in a queue, unless there is something to read at it.
pub(super) fn outside(offset: i64, min: i64, max: i64) -> Option<(Status, i64)> {
    if max == 0 {
        Some((Status::NoMessageInQueue, 0))
    } else if offset < min {
        Some((Status::OffsetTooSmall, min))
    } else if offset == max {
        Some((Status::OffsetOverflowOne, offset))
    } else if offset > max {
        Some((Status::OffsetOverflowBadly, max))
    } else {
        None
    }
}

impl Found {
    fn nothing(status: Status, next: i64, min: i64, max: i64) -> Found {
        Found {
            status,
            next,
            min,
            max,
            messages: 0,
            body: Bytes::new(),
        }
    }
}

/// Reads what is there; on the blocking pool if it may have to come from the disk.
pub(super) async fn read(shared: &Arc<Shared>, wanted: &Wanted) -> Result<Found, Error> {
    let (topic, queue_id) = (&wanted.topic, wanted.queue_id);
    let (min, max) = range(shared, wanted);
    if let Some((status, next)) = outside(wanted.offset, min, max) {
        return Ok(Found::nothing(status, next, min, max));
    }
    if shared
        .reader
        .is_recent(topic, queue_id, offset(wanted.offset))
    {
        return read_now(shared, wanted);
    }
    let (shared, wanted) = (Arc::clone(shared), wanted.clone());
    let read = tokio::task::spawn_blocking(move || read_now(&shared, &wanted));
    read.await
        .unwrap_or(Err(Error::NotFound { what: "message" }))
}

fn range(shared: &Shared, wanted: &Wanted) -> (i64, i64) {
    let (min, max) = shared.reader.queue_range(&wanted.topic, wanted.queue_id);
    (signed(min), signed(max))
}

fn offset(offset: i64) -> QueueOffset {
    QueueOffset(u64::try_from(offset).unwrap_or(0))
}

fn signed(offset: QueueOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn read_now(shared: &Shared, wanted: &Wanted) -> Result<Found, Error> {
    let (min, max) = range(shared, wanted);
    if let Some((status, next)) = outside(wanted.offset, min, max) {
        return Ok(Found::nothing(status, next, min, max));
    }
    let mut take = Take {
        shared,
        wanted,
        next: wanted.offset,
        messages: 0,
        body: BytesMut::new(),
        removed: false,
    };
    let mut scanned = 0;
    while scanned < SCAN_MAX {
        let ask = wanted.messages_max.min(SCAN_MAX - scanned);
        let from = offset(take.next);
        let entries = shared
            .reader
            .entries(&wanted.topic, wanted.queue_id, from, ask)?;
        scanned += entries.len();
        if entries.is_empty() || !take.all(&entries)? {
            break;
        }
    }
    let status = match (take.messages, take.removed) {
        (0, true) => Status::MessageWasRemoving,
        (0, false) => Status::NoMatchedMessage,
        _ => Status::Found,
    };
    Ok(Found {
        status,
        next: take.next,
        min,
        max,
        messages: take.messages,
        body: take.body.freeze(),
    })
}

/// The answer's body while it grows.
struct Take<'a> {
    shared: &'a Shared,
    wanted: &'a Wanted,
    next: i64,
    messages: u64,
    body: BytesMut,
    removed: bool,
}

impl Take<'_> {
    /// Adds what passes the filter. False if the answer is complete.
    fn all(&mut self, entries: &[QueueEntry]) -> Result<bool, Error> {
        let limit = self.wanted.bytes_max.unwrap_or(BYTES_MAX).min(BYTES_MAX);
        for entry in entries {
            if self.wanted.filter.wants(entry.tags) {
                let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
                if self.messages > 0 && self.body.len().saturating_add(size) > limit {
                    return Ok(false);
                }
                if !self.one(entry)? {
                    return Ok(false);
                }
            }
            self.next += 1;
            if self.messages >= self.wanted.messages_max as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds one message. False if it ends the answer.
    fn one(&mut self, entry: &QueueEntry) -> Result<bool, Error> {
        let Wanted {
            topic, queue_id, ..
        } = self.wanted;
        match self
            .shared
            .reader
            .delivered(topic, *queue_id, offset(self.next), entry)
        {
            Ok(record) => {
                self.body.extend_from_slice(&record);
                self.messages += 1;
                Ok(true)
            }
            Err(error) if self.messages > 0 && error.kind() != ErrorKind::Stop => Ok(false),
            Err(error) => {
                match error.kind() {
                    // Its segment has just left the store.
                    ErrorKind::Request => self.removed = true,
                    // A damaged record must not cost the queue all that follows it.
                    ErrorKind::Damaged => {
                        self.shared.counters.damaged_skipped();
                        tracing::error!(topic = %topic, queue = queue_id, offset = self.next, %error,
                            "message lost to damage; consumers are sent past it");
                    }
                    _ => return Err(error),
                }
                self.next += 1;
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offset: i64, min: i64, max: i64, expected: Option<(Status, i64, i32)>) {
        let found = outside(offset, min, max);
        let found = found.map(|(status, next)| (status, next, status.code(offset)));
        assert_eq!(found, expected, "offset {offset} in {min}..{max}");
    }

    #[test]
    fn offsets_outside_a_queue_are_answered_as_by_the_stock_broker() {
        check(0, 0, 0, Some((Status::NoMessageInQueue, 0, 19)));
        check(7, 0, 0, Some((Status::NoMessageInQueue, 0, 21)));
        check(3, 5, 9, Some((Status::OffsetTooSmall, 5, 21)));
        check(9, 5, 9, Some((Status::OffsetOverflowOne, 9, 19)));
        check(10, 5, 9, Some((Status::OffsetOverflowBadly, 9, 21)));
        check(-1, 0, 9, Some((Status::OffsetTooSmall, 0, 21)));
        check(5, 5, 9, None);
        check(8, 5, 9, None);
    }
}
