//! The queue entries that records make.

use escrow_protocol::message;

use crate::PhysicalOffset;
use crate::consume_queue::QueueEntry;
use crate::log_view::Stored;
use crate::record::image::Searchable;
use crate::record::{CommitBody, Kind};

/// The queue entry that a record makes; `None` if it makes none or its body cannot be used.
pub(crate) fn entry_of(stored: &Stored) -> Option<QueueEntry> {
    let header = &stored.header;
    match header.kind {
        Kind::Normal | Kind::Delivery => {
            let message = message::decode(&stored.body).ok()?;
            let mut searchable = Searchable::default();
            searchable.read(message.properties);
            Some(message_entry(
                header.offset,
                stored.body.len(),
                &searchable,
                header.store_timestamp,
            ))
        }
        Kind::Commit => {
            let (_, commit) = CommitBody::decode(&stored.body)?;
            Some(commit_entry(&commit, header.store_timestamp))
        }
        _ => None,
    }
}

/// The queue entry of a plain message.
pub(crate) fn message_entry(
    at: u64,
    size: usize,
    searchable: &Searchable,
    store_timestamp: i64,
) -> QueueEntry {
    QueueEntry {
        physical: PhysicalOffset(at),
        size: u32::try_from(size).unwrap_or(u32::MAX),
        tags: searchable.tags,
        store_timestamp,
        damaged: false,
    }
}

pub(super) fn commit_entry(commit: &CommitBody<'_>, store_timestamp: i64) -> QueueEntry {
    QueueEntry {
        physical: PhysicalOffset(commit.place),
        size: commit.size,
        tags: commit.tags,
        store_timestamp,
        damaged: false,
    }
}
