//! What the store's tests share: messages, halfs and a store on a [`MemoryDisk`].
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod model;

use std::sync::Arc;
use std::time::Duration;

use escrow_protocol::message::{self, Message};
use escrow_store::{
    Durability, HalfPlaced, HalfSeq, MemoryDisk, NewHalf, Op, OpKind, OpPlaced, Placed, Reader,
    RecoveryReport, Settings, Source, Store,
};

pub const NOW: i64 = 1_700_000_000_000;

pub fn open(disk: &MemoryDisk) -> (Store, RecoveryReport) {
    open_with(disk, Settings::tiny())
}

/// Segments that are soon full, and leave after an hour.
pub fn short_segments() -> Settings {
    Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        file_reserved: Duration::from_secs(3600),
        ..Settings::tiny()
    }
}

pub fn open_with(disk: &MemoryDisk, settings: Settings) -> (Store, RecoveryReport) {
    Store::open(Arc::new(disk.clone()), settings, NOW).unwrap()
}

pub fn plain<'a>(
    topic: &'a str,
    queue_id: i32,
    body: &'a [u8],
    properties: &'a str,
) -> Message<'a> {
    Message {
        queue_id,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: NOW - 5,
        born_host: "127.0.0.1:9999".parse().unwrap(),
        store_timestamp: 0,
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties,
    }
}

pub fn properties(unique: &str, keys: &str, tags: &str) -> String {
    format!(
        "KEYS\u{1}{keys}\u{2}TRAN_MSG\u{1}true\u{2}UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}{tags}\u{2}PGROUP\u{1}G\u{2}"
    )
}

pub fn send(store: &mut Store, topic: &str, queue_id: i32, body: &[u8]) -> Placed {
    store
        .append_message(NOW, &plain(topic, queue_id, body, ""), Durability::Written)
        .unwrap()
}

pub fn half(
    store: &mut Store,
    topic: &str,
    queue_id: i32,
    unique: &str,
    body: &[u8],
) -> HalfPlaced {
    half_at(store, NOW, topic, queue_id, unique, body)
}

pub fn half_at(
    store: &mut Store,
    now: i64,
    topic: &str,
    queue_id: i32,
    unique: &str,
    body: &[u8],
) -> HalfPlaced {
    let properties = properties(unique, "k1 k2", "TagA");
    let message = plain(topic, queue_id, body, &properties);
    let half = NewHalf {
        message,
        group: "G",
        client_id: "client@1",
        immunity_ms: Some(7000),
    };
    store.append_half(now, &half, Durability::Synced).unwrap()
}

pub fn op(kind: OpKind) -> Op<'static> {
    let is_answer = matches!(kind, OpKind::Answer { .. });
    let source = if is_answer {
        Source::Check
    } else {
        Source::Producer
    };
    Op {
        kind,
        source,
        client_id: "client@1",
        address: "10.0.0.1:4000",
        reason: "test",
    }
}

pub fn apply(store: &mut Store, seq: HalfSeq, kind: OpKind) -> OpPlaced {
    store
        .append_op(NOW, seq, &op(kind), Durability::Synced)
        .unwrap()
}

pub fn commit(store: &mut Store, seq: HalfSeq, queue_id: i32) -> OpPlaced {
    apply(store, seq, OpKind::Commit { queue_id })
}

/// Writes, syncs and publishes everything.
pub fn settle(store: &mut Store) {
    store.write().unwrap();
    store.sync().unwrap();
    store.publish();
}

/// Bodies of all visible messages of a queue; `None` where damage took one.
pub fn bodies(reader: &Reader, topic: &str, queue_id: i32) -> Vec<Option<Vec<u8>>> {
    let (min, max) = reader.queue_range(topic, queue_id);
    let entries = reader.entries(topic, queue_id, min, usize::MAX).unwrap();
    assert_eq!(
        entries.len() as u64,
        max.0 - min.0,
        "queue offsets are dense"
    );
    (min.0..)
        .zip(&entries)
        .map(|(offset, entry)| {
            let offset = escrow_store::QueueOffset(offset);
            match reader.delivered(topic, queue_id, offset, entry) {
                Ok(image) => {
                    let message = message::decode(&image).unwrap();
                    assert_eq!(message.queue_offset as u64, offset.0);
                    assert_eq!((message.topic, message.queue_id), (topic, queue_id));
                    Some(message.body.to_vec())
                }
                Err(escrow_store::Error::Damaged { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .collect()
}
