//! What a rebuild makes of a log whose head has left.

use escrow_protocol::message;
use escrow_store::{
    Durability, HalfState, Lookup, MemoryDisk, OpKind, PhysicalOffset, QueueOffset, Settings, Store,
};

use crate::common::*;
use crate::{HOUR, retain, roll};

/// The store as a rebuild from what is left of the log makes it.
fn rebuilt(disk: &MemoryDisk, settings: Settings) -> (Store, MemoryDisk) {
    let disk = disk.kill();
    for name in ["checkpoint/0", "checkpoint/1"] {
        disk.set_bytes(name, vec![0; 64]);
    }
    let (store, report) = open_with(&disk, settings);
    assert!(report.rebuilt.is_some(), "{report:?}");
    (store, disk)
}

#[test]
fn halfs_that_left_are_not_found_after_a_rebuild_and_nothing_looks_damaged() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let gone = half(&mut store, "T", 0, "U", b"gone");
    apply(&mut store, gone.seq, OpKind::Rollback);
    // More than a page of the half queue.
    for n in 0..100 {
        let half = half(&mut store, "T", 0, &format!("U{n}"), b"gone too");
        apply(&mut store, half.seq, OpKind::Rollback);
    }
    let carried = half(&mut store, "T", 0, "carried", b"carried");
    for _ in 0..5 {
        roll(&mut store, NOW);
    }
    retain(&mut store, NOW + 2 * HOUR);
    half(&mut store, "T", 0, "new", b"new");
    settle(&mut store);
    store.checkpoint(NOW + 2 * HOUR).unwrap();
    drop(store);

    let (mut store, disk) = rebuilt(&disk, short_segments());
    store.checkpoint(NOW + 2 * HOUR).unwrap();
    let reader = store.reader();
    assert_eq!(
        reader.by_offset(gone.physical).unwrap(),
        Lookup::NotFound,
        "its page was never written again"
    );
    assert_eq!(
        reader.by_offset(carried.physical).unwrap(),
        Lookup::Undecided(carried.seq)
    );
    send(&mut store, "T", 0, b"more");
    settle(&mut store);
    store.checkpoint(NOW + 3 * HOUR).unwrap();
    drop(store);
    let (_, report) = open_with(&disk.kill(), short_segments());
    assert!(report.checkpoint.is_some(), "{report:?}");
}

#[test]
fn a_queue_that_was_empty_once_shows_no_offsets_that_left_after_a_rebuild() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let send_at = |store: &mut Store, now: i64| {
        let placed = store
            .append_message(now, &plain("T", 0, b"body", ""), Durability::Written)
            .unwrap();
        settle(store);
        placed.queue_offset
    };
    send_at(&mut store, NOW);
    roll(&mut store, NOW);
    retain(&mut store, NOW + 2 * HOUR);
    assert_eq!(
        store.reader().queue_range("T", 0),
        (QueueOffset(1), QueueOffset(1)),
        "empty: only a record of its own says how far it was"
    );
    roll(&mut store, NOW + 2 * HOUR);
    // That record leaves while the queue has a message, and the message when another has come.
    send_at(&mut store, NOW + 3 * HOUR);
    roll(&mut store, NOW + 3 * HOUR);
    retain(&mut store, NOW + 3 * HOUR + HOUR / 2);
    send_at(&mut store, NOW + 4 * HOUR);
    roll(&mut store, NOW + 4 * HOUR);
    retain(&mut store, NOW + 4 * HOUR + HOUR / 2);
    store.checkpoint(NOW + 10 * HOUR).unwrap();
    let range = store.reader().queue_range("T", 0);
    assert_eq!(range, (QueueOffset(2), QueueOffset(3)));
    drop(store);

    let (store, _) = rebuilt(&disk, short_segments());
    assert_eq!(store.reader().queue_range("T", 0), range);
    let read = bodies_from(&store, range.0);
    assert_eq!(read.len() as u64, range.1.0 - range.0.0);
}

/// Damages the record at a log offset, beyond its head.
fn rot(disk: &MemoryDisk, record: PhysicalOffset) {
    let segment = record.0 - record.0 % (12 << 10);
    let name = format!("log/{segment:020}");
    let mut bytes = disk.bytes(&name).unwrap();
    bytes[(record.0 - segment) as usize + 90] ^= 1;
    disk.set_bytes(&name, bytes);
}

#[test]
fn a_half_that_cannot_be_read_is_not_forgotten_when_its_record_leaves() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let half = half(&mut store, "T", 0, "U", b"unreadable");
    for _ in 0..5 {
        roll(&mut store, NOW);
    }
    drop(store);
    let disk = disk.kill();
    rot(&disk, half.physical);
    let (mut store, _) = open_with(&disk, short_segments());
    // Its record leaves, and what was carried in its place does so too.
    for hours in [2, 4, 6] {
        retain(&mut store, NOW + hours * HOUR);
        assert!(store.reader().log_range().0 > half.physical);
        roll(&mut store, NOW + hours * HOUR);
    }
    store.checkpoint(NOW + 7 * HOUR).unwrap();
    drop(store);
    let (mut store, _) = rebuilt(&disk, short_segments());
    let entry = store.half(half.seq).unwrap();
    assert_eq!(
        (entry.handle, entry.state),
        (half.physical, HalfState::Parked)
    );
    assert!(entry.is_log_damaged());
    apply(&mut store, half.seq, OpKind::Rollback);
}

#[test]
fn a_half_whose_carried_copy_is_damaged_is_not_forgotten_by_a_rebuild() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let half = half(&mut store, "T", 0, "U", b"carried");
    roll(&mut store, NOW);
    let copy = store.end();
    assert_eq!(retain(&mut store, NOW + 2 * HOUR), 1);
    roll(&mut store, NOW + 2 * HOUR);
    store.mark_durable_if_idle(NOW + 2 * HOUR).unwrap();
    store.checkpoint(NOW + 2 * HOUR).unwrap();
    drop(store);
    rot(&disk, copy);
    let (store, _) = rebuilt(&disk, short_segments());
    let entry = store.half(half.seq).unwrap();
    assert_eq!(
        (entry.handle, entry.state),
        (half.physical, HalfState::Parked)
    );
}

/// Bodies of topic T's queue from an offset on; each must be readable.
fn bodies_from(store: &Store, from: QueueOffset) -> Vec<Vec<u8>> {
    let reader = store.reader();
    let entries = reader.entries("T", 0, from, 1000).unwrap();
    (from.0..)
        .zip(&entries)
        .map(|(offset, entry)| {
            let image = reader
                .delivered("T", 0, QueueOffset(offset), entry)
                .unwrap();
            message::decode(&image).unwrap().body.to_vec()
        })
        .collect()
}
