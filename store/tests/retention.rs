//! Segments leave from the head; what is undecided, and what only they said, is carried forward first.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::Loss;
use escrow_store::{
    Durability, HalfLookup, HalfState, Lookup, MemoryDisk, Oldest, OpKind, OpRecordKind,
    PhysicalOffset, QueueOffset, Settings, SpaceState, Store, Upkeep,
};

const HOUR: i64 = 3_600_000;

fn settings() -> Settings {
    Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        file_reserved: Duration::from_secs(3600),
        ..Settings::tiny()
    }
}

/// Fills the current segment, and leaves it.
fn roll(store: &mut Store, now: i64) {
    let (_, end) = store.reader().log_range();
    let segment = end.0 / (12 << 10);
    while store.end().0 / (12 << 10) == segment {
        store
            .append_message(now, &plain("fill", 0, &[1; 2000], ""), Durability::Written)
            .unwrap();
    }
    settle(store);
}

fn retain(store: &mut Store, now: i64) -> u64 {
    let mut relocated = 0;
    loop {
        let report = store.retention_step(now).unwrap();
        relocated += report.relocated;
        if !report.is_unfinished {
            return relocated;
        }
    }
}

#[test]
fn undecided_halfs_are_carried_forward_and_keep_their_handle() {
    for with_checkpoint in [false, true] {
        let disk = MemoryDisk::new();
        let (mut store, _) = open_with(&disk, settings());
        let pending = half(&mut store, "T", 1, "U1", b"pending");
        let parked = half(&mut store, "T", 1, "U2", b"parked");
        let done = half(&mut store, "T", 1, "U3", b"done");
        apply(
            &mut store,
            pending.seq,
            OpKind::Answer {
                resolution: Resolution::Unknown,
            },
        );
        apply(&mut store, parked.seq, OpKind::Park);
        apply(&mut store, done.seq, OpKind::Rollback);
        roll(&mut store, NOW);
        roll(&mut store, NOW);
        if with_checkpoint {
            store.checkpoint(NOW).unwrap();
        }
        assert_eq!(
            retain(&mut store, NOW + HOUR / 2),
            0,
            "nothing is old enough yet"
        );
        let entry = store.half(pending.seq).unwrap();
        assert_eq!(retain(&mut store, NOW + 2 * HOUR), 2);
        assert!(store.reader().log_range().0.0 >= 12 << 10);

        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = open_with(&disk.crash(Loss::All), settings()).0;
            }
            let reader = store.reader();
            assert_eq!(store.half(pending.seq).unwrap(), entry);
            assert_eq!(store.half(parked.seq).unwrap().state, HalfState::Parked);
            assert_eq!(
                store.half_at(pending.physical).unwrap(),
                HalfLookup::Half(pending.seq, entry)
            );
            assert_eq!(
                store.half_at(done.physical).unwrap(),
                HalfLookup::None,
                "decided ones go with their segment"
            );
            assert_eq!(
                reader.by_offset(pending.physical).unwrap(),
                Lookup::Undecided(pending.seq)
            );
            let image = reader.half_image(pending.seq).unwrap();
            let asked = message::decode(&image).unwrap();
            assert_eq!(
                (asked.physical_offset as u64, asked.body),
                (pending.physical.0, &b"pending"[..])
            );
        }

        let done = store
            .append_op(
                NOW + 2 * HOUR,
                pending.seq,
                &op(OpKind::Commit { queue_id: 1 }),
                Durability::Synced,
            )
            .unwrap();
        settle(&mut store);
        let reader = store.reader();
        let offset = done.queue_offset.unwrap();
        let entry = reader.entries("T", 1, offset, 1).unwrap()[0];
        let image = reader.delivered("T", 1, offset, &entry).unwrap();
        let delivered = message::decode(&image).unwrap();
        assert_eq!(
            delivered.physical_offset as u64, entry.physical.0,
            "the copy's place"
        );
        assert_eq!(
            delivered.prepared_transaction_offset as u64, pending.physical.0,
            "the original handle"
        );
        for at in [pending.physical, entry.physical] {
            assert_eq!(
                reader.by_offset(at).unwrap(),
                Lookup::Message(image.clone())
            );
        }
        let history = store.op_history(pending.seq).unwrap();
        assert_eq!(history.last().unwrap().kind, OpRecordKind::Commit);
    }
}

#[test]
fn a_late_commit_refers_to_a_copy_and_does_not_keep_the_old_segment() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_after: Duration::from_secs(60),
        ..settings()
    };
    let (mut store, _) = open_with(&disk, settings);
    let late = half(&mut store, "T", 0, "U", b"late");
    roll(&mut store, NOW);
    store
        .append_op(
            NOW + 30 * 60_000,
            late.seq,
            &op(OpKind::Commit { queue_id: 0 }),
            Durability::Synced,
        )
        .unwrap();
    settle(&mut store);
    let entry = store.reader().entries("T", 0, QueueOffset(0), 1).unwrap()[0];
    assert!(entry.physical > late.physical);
    assert_eq!(retain(&mut store, NOW + HOUR + 1), 0);
    assert_eq!(
        store.reader().log_range().0,
        PhysicalOffset(12 << 10),
        "the old segment left by its own age"
    );
    assert_eq!(bodies(&store.reader(), "T", 0), [Some(b"late".to_vec())]);
}

#[test]
fn a_commit_by_reference_keeps_its_segment_for_the_whole_time() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let half = half(&mut store, "T", 0, "U", b"kept");
    roll(&mut store, NOW);
    store
        .append_op(
            NOW + HOUR - 1,
            half.seq,
            &op(OpKind::Commit { queue_id: 0 }),
            Durability::Synced,
        )
        .unwrap();
    settle(&mut store);
    retain(&mut store, NOW + HOUR + HOUR / 2);
    assert_eq!(bodies(&store.reader(), "T", 0), [Some(b"kept".to_vec())]);
}

#[test]
fn offsets_sequences_and_metadata_go_on_although_their_records_left() {
    for with_checkpoint in [false, true] {
        let disk = MemoryDisk::new();
        let (mut store, _) = open_with(&disk, settings());
        store.set_meta(NOW, "topic/T", b"{}").unwrap();
        for _ in 0..3 {
            send(&mut store, "T", 0, b"x");
        }
        let gone = half(&mut store, "T", 0, "U", b"x");
        apply(&mut store, gone.seq, OpKind::Rollback);
        let from = escrow_store::ScheduleSource {
            level_queue: 4,
            queue_offset: 10,
        };
        store
            .append_delivery(NOW, &plain("T", 0, b"due", ""), from, Durability::Written)
            .unwrap();
        let mut now = NOW;
        for _ in 0..4 {
            roll(&mut store, now);
            now += 2 * HOUR;
            if with_checkpoint {
                store.checkpoint(now).unwrap();
            }
            retain(&mut store, now);
        }
        assert!(store.reader().log_range().0.0 > 2 * (12 << 10));
        drop(store);
        let (mut store, report) = open_with(&disk.crash(Loss::All), settings());
        assert!(report.is_clean());
        assert_eq!(store.meta("topic/T"), Some(&b"{}"[..]));
        assert_eq!(store.schedule_progress(4), QueueOffset(11));
        assert_eq!(
            store.reader().queue_range("T", 0),
            (QueueOffset(4), QueueOffset(4))
        );
        assert_eq!(
            send(&mut store, "T", 0, b"next").queue_offset,
            QueueOffset(4)
        );
        assert_eq!(half(&mut store, "T", 0, "U", b"").seq.0, 1);
        let (min, max) = store.reader().queue_range("fill", 0);
        assert!(min.0 > 0 && max > min);
        assert_eq!(store.reader().entries("fill", 0, min, 1).unwrap().len(), 1);
        drop(bodies(&store.reader(), "fill", 0));
    }
}

#[test]
fn a_log_that_grows_fast_does_not_fill_the_disk_between_two_steps() {
    let disk = MemoryDisk::new();
    let limits = Settings {
        segment_bytes: 64 << 10,
        free_bytes_clean: 40_000,
        free_bytes_refuse: 40_000,
        ..settings()
    };
    disk.set_free_bytes(1 << 20);
    let (mut store, _) = open_with(&disk, limits);
    let mut upkeep = Upkeep::new(0, &store);
    disk.set_free_bytes(39_999);
    let begin = store.end().0;
    while store.space_state() == SpaceState::Ok {
        half(&mut store, "T", 0, "U", &[7; 1000]);
        settle(&mut store);
        if upkeep.is_due(0, &store) {
            let upkept = upkeep.step(0, NOW, &mut store);
            assert_eq!(upkept.fuller, Some(SpaceState::RefuseNew));
            assert!(upkept.checkpoint.is_none(), "no other chore is due");
        }
        assert!(
            store.end().0 - begin < 12_000,
            "three quarters of the room are left"
        );
    }
    assert!(!upkeep.is_due(0, &store));
}

#[test]
fn a_full_disk_cleans_then_refuses_messages_then_everything() {
    let disk = MemoryDisk::new();
    let limits = Settings {
        free_bytes_clean: 8000,
        free_bytes_refuse: 2000,
        free_bytes_reserve: 200,
        free_bytes_stop: 100,
        ..settings()
    };
    disk.set_free_bytes(1 << 20);
    let (mut store, _) = open_with(&disk, limits);
    assert!(disk.names().contains(&"reserve".to_owned()));
    let half = half(&mut store, "T", 0, "U", b"x");
    roll(&mut store, NOW);
    assert_eq!(store.free_space().unwrap(), SpaceState::Ok);

    disk.set_free_bytes(7999);
    assert_eq!(store.free_space().unwrap(), SpaceState::Clean);
    assert_eq!(
        retain(&mut store, NOW),
        1,
        "segments leave before their time, but not without what is undecided"
    );

    disk.set_free_bytes(1999);
    assert_eq!(store.free_space().unwrap(), SpaceState::RefuseNew);
    let refused = store.append_message(NOW, &plain("T", 0, b"", ""), Durability::Written);
    assert!(matches!(
        refused,
        Err(escrow_store::Error::NoSpace { free: 1999 })
    ));
    apply(
        &mut store,
        half.seq,
        OpKind::Answer {
            resolution: Resolution::Unknown,
        },
    );

    disk.set_free_bytes(99);
    assert_eq!(store.free_space().unwrap(), SpaceState::RefuseAll);
    assert!(
        !disk.names().contains(&"reserve".to_owned()),
        "the reserve is given up first"
    );
    let refused = store.append_op(NOW, half.seq, &op(OpKind::Rollback), Durability::Synced);
    assert!(matches!(refused, Err(escrow_store::Error::NoSpace { .. })));

    disk.set_free_bytes(1 << 20);
    assert_eq!(store.free_space().unwrap(), SpaceState::Ok);
    apply(&mut store, half.seq, OpKind::Rollback);
}

#[test]
fn a_step_carries_a_bounded_amount_and_nothing_is_left_behind() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_step_bytes: 2000,
        ..settings()
    };
    let (mut store, _) = open_with(&disk, settings);
    let halfs: Vec<_> = (0..12)
        .map(|n| half(&mut store, "T", 0, &format!("U{n}"), &[7; 400]))
        .collect();
    roll(&mut store, NOW);
    let now = NOW + 2 * HOUR;
    let mut steps = 0;
    loop {
        let report = store.retention_step(now).unwrap();
        assert!(report.relocated_bytes < 3000, "{report:?}");
        steps += 1;
        if report.removed.is_some() {
            break;
        }
        assert!(report.is_unfinished);
    }
    assert_eq!(steps, 3);
    for half in halfs {
        let image = store.reader().half_image(half.seq).unwrap();
        assert_eq!(message::decode(&image).unwrap().body, [7; 400]);
    }
}

#[test]
fn a_carried_half_is_still_its_groups_oldest_with_its_own_store_time() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let oldest = half(&mut store, "T", 1, "U1", b"oldest");
    half_at(&mut store, NOW + 7, "T", 1, "U2", b"later");
    roll(&mut store, NOW + 7);
    roll(&mut store, NOW + 7);
    assert_eq!(retain(&mut store, NOW + 2 * HOUR), 2);
    settle(&mut store);
    drop(store);
    let (mut store, _) = open_with(&disk.crash(Loss::All), settings());
    let group = store.name_id("G").unwrap();
    assert_eq!(store.undecided_of(group), 2);
    let Oldest::Half(seq, entry) = store.oldest_undecided_of(group, 10) else {
        panic!("there is one");
    };
    assert_eq!((seq, entry.handle), (oldest.seq, oldest.physical));
    assert_eq!(entry.store_timestamp, NOW);
    commit(&mut store, oldest.seq, 1);
    let Oldest::Half(_, entry) = store.oldest_undecided_of(group, 10) else {
        panic!("there is one");
    };
    assert_eq!(entry.store_timestamp, NOW + 7);
}

#[test]
fn a_share_of_the_disk_rules_instead_of_free_bytes_where_one_is_set() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        free_bytes_clean: 8000,
        used_percent_clean: Some(75),
        delete_hours: vec![4],
        ..settings()
    };
    let (mut store, _) = open_with(&disk, settings);
    let noon = NOW - NOW % (24 * HOUR) + 60 * HOUR;
    for (used, free, expected, expired, fresh) in [
        (7500, 2500, SpaceState::Ok, false, false),
        (7501, 2499, SpaceState::Ok, true, false),
        (8500, 1500, SpaceState::Ok, true, false),
        (8501, 1499, SpaceState::Clean, true, true),
        (0, 1, SpaceState::Ok, false, false),
        (1 << 60, 1 << 60, SpaceState::Ok, false, false),
    ] {
        disk.set_used_bytes(used);
        disk.set_free_bytes(free);
        assert_eq!(store.free_space().unwrap(), expected, "{used} {free}");
        roll(&mut store, NOW);
        let leaves = |store: &mut Store, now| store.retention_step(now).unwrap().removed.is_some();
        assert_eq!(leaves(&mut store, NOW), fresh, "{used} {free}");
        roll(&mut store, NOW);
        assert_eq!(leaves(&mut store, noon), expired, "{used} {free}");
    }
}

#[test]
fn expired_segments_leave_in_each_of_the_hours_given_and_in_no_other() {
    let settings = Settings {
        delete_hours: vec![4, 16],
        ..settings()
    };
    let (mut store, _) = open_with(&MemoryDisk::new(), settings);
    let midnight = NOW - NOW % (24 * HOUR) + 48 * HOUR;
    let mut removed = Vec::new();
    for hour in 0..24 {
        roll(&mut store, NOW);
        let report = store.retention_step(midnight + hour * HOUR).unwrap();
        if report.removed.is_some() {
            removed.push(hour);
        }
    }
    assert_eq!(removed, [4, 16]);
}

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
    let (mut store, _) = open_with(&disk, settings());
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

    let (mut store, disk) = rebuilt(&disk, settings());
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
    let (_, report) = open_with(&disk.kill(), settings());
    assert!(report.checkpoint.is_some(), "{report:?}");
}

#[test]
fn a_half_can_be_read_between_two_steps_that_carry_it() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_step_bytes: 500,
        ..settings()
    };
    let (mut store, _) = open_with(&disk, settings);
    let halfs: Vec<_> = (0..4)
        .map(|n| half(&mut store, "T", 0, &format!("U{n}"), &[7; 400]))
        .collect();
    roll(&mut store, NOW);
    let report = store.retention_step(NOW + 2 * HOUR).unwrap();
    assert!(report.is_unfinished && report.relocated > 0, "{report:?}");
    for half in halfs {
        let image = store.reader().half_image(half.seq).unwrap();
        assert_eq!(message::decode(&image).unwrap().body, [7; 400]);
    }
}

#[test]
fn a_queue_that_was_empty_once_shows_no_offsets_that_left_after_a_rebuild() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
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

    let (store, _) = rebuilt(&disk, settings());
    assert_eq!(store.reader().queue_range("T", 0), range);
    let read = bodies_from(&store, range.0);
    assert_eq!(read.len() as u64, range.1.0 - range.0.0);
}

#[test]
fn a_half_committed_after_it_was_carried_is_found_by_its_handle_as_long_as_its_bytes_are_kept() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let late = half(&mut store, "T", 0, "late", b"late");
    roll(&mut store, NOW);
    let now = NOW + 2 * HOUR;
    retain(&mut store, now);
    assert!(store.reader().log_range().0 > late.physical);
    let commit = op(OpKind::Commit { queue_id: 0 });
    store
        .append_op(now, late.seq, &commit, Durability::Synced)
        .unwrap();
    settle(&mut store);
    // Retention has something to take away again, though not yet the copy.
    roll(&mut store, NOW);
    for checkpointed in [false, true, false] {
        if checkpointed {
            store.checkpoint(now).unwrap();
            drop(store);
            store = open_with(&disk.kill(), settings()).0;
        }
        let HalfLookup::Half(seq, entry) = store.half_at(late.physical).unwrap() else {
            panic!("not found, checkpointed: {checkpointed}");
        };
        assert_eq!((seq, entry.state), (late.seq, HalfState::Committed));
        let found = store.reader().by_offset(late.physical).unwrap();
        assert!(matches!(found, Lookup::Message(_)), "{found:?}");
    }
    // And no longer.
    for hours in [5, 8] {
        roll(&mut store, now + hours * HOUR);
        retain(&mut store, now + hours * HOUR);
    }
    assert_eq!(store.half_at(late.physical).unwrap(), HalfLookup::None);
    assert_eq!(
        store.reader().by_offset(late.physical).unwrap(),
        Lookup::NotFound
    );
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
    let (mut store, _) = open_with(&disk, settings());
    let half = half(&mut store, "T", 0, "U", b"unreadable");
    for _ in 0..5 {
        roll(&mut store, NOW);
    }
    drop(store);
    let disk = disk.kill();
    rot(&disk, half.physical);
    let (mut store, _) = open_with(&disk, settings());
    // Its record leaves, and what was carried in its place does so too.
    for hours in [2, 4, 6] {
        retain(&mut store, NOW + hours * HOUR);
        assert!(store.reader().log_range().0 > half.physical);
        roll(&mut store, NOW + hours * HOUR);
    }
    store.checkpoint(NOW + 7 * HOUR).unwrap();
    drop(store);
    let (mut store, _) = rebuilt(&disk, settings());
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
    let (mut store, _) = open_with(&disk, settings());
    let half = half(&mut store, "T", 0, "U", b"carried");
    roll(&mut store, NOW);
    let copy = store.end();
    assert_eq!(retain(&mut store, NOW + 2 * HOUR), 1);
    roll(&mut store, NOW + 2 * HOUR);
    store.mark_durable_if_idle(NOW + 2 * HOUR).unwrap();
    store.checkpoint(NOW + 2 * HOUR).unwrap();
    drop(store);
    rot(&disk, copy);
    let (store, _) = rebuilt(&disk, settings());
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
