//! What is undecided, and what only the segments that leave said, is carried forward.

use std::time::Duration;

use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::Loss;
use escrow_store::{
    Durability, HalfLookup, HalfState, Lookup, MemoryDisk, Oldest, OpKind, OpRecordKind,
    PhysicalOffset, QueueOffset, Settings,
};

use crate::common::*;
use crate::{HOUR, retain, roll};

#[test]
fn undecided_halfs_are_carried_forward_and_keep_their_handle() {
    for with_checkpoint in [false, true] {
        let disk = MemoryDisk::new();
        let (mut store, _) = open_with(&disk, short_segments());
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
                store = open_with(&disk.crash(Loss::All), short_segments()).0;
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
fn a_half_that_could_not_be_carried_is_read_where_it_was() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let pending = half(&mut store, "T", 1, "U1", b"pending");
    roll(&mut store, NOW);
    disk.fail_write_after(0);
    store.retention_step(NOW + 2 * HOUR).unwrap_err();
    let image = store.reader().half_image(pending.seq).unwrap();
    assert_eq!(message::decode(&image).unwrap().body, b"pending");
}

#[test]
fn a_segment_stays_until_what_was_committed_out_of_it_is_shown() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let committed = half(&mut store, "T", 1, "U1", b"committed");
    roll(&mut store, NOW);
    let commit = op(OpKind::Commit { queue_id: 1 });
    store
        .append_op(NOW, committed.seq, &commit, Durability::Synced)
        .unwrap();
    store.write().unwrap();
    assert!(store.publish().is_empty(), "it waits for a sync");
    let report = store.retention_step(NOW + 2 * HOUR).unwrap();
    assert_eq!((report.removed, report.is_unfinished), (None, true));
    assert_eq!(store.publish().len(), 1);
    let report = store.retention_step(NOW + 2 * HOUR).unwrap();
    assert_eq!(report.removed, Some(PhysicalOffset(0)));
    let (min, end) = store.reader().queue_range("T", 1);
    assert_eq!(min, end, "it has left");
}

#[test]
fn a_late_commit_refers_to_a_copy_and_does_not_keep_the_old_segment() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_after: Duration::from_secs(60),
        ..short_segments()
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
    let (mut store, _) = open_with(&disk, short_segments());
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
        let (mut store, _) = open_with(&disk, short_segments());
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
        let (mut store, report) = open_with(&disk.crash(Loss::All), short_segments());
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
fn a_step_carries_a_bounded_amount_and_nothing_is_left_behind() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_step_bytes: 2000,
        ..short_segments()
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
    let (mut store, _) = open_with(&disk, short_segments());
    let oldest = half(&mut store, "T", 1, "U1", b"oldest");
    half_at(&mut store, NOW + 7, "T", 1, "U2", b"later");
    roll(&mut store, NOW + 7);
    roll(&mut store, NOW + 7);
    assert_eq!(retain(&mut store, NOW + 2 * HOUR), 2);
    settle(&mut store);
    drop(store);
    let (mut store, _) = open_with(&disk.crash(Loss::All), short_segments());
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
fn a_half_can_be_read_between_two_steps_that_carry_it() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        relocate_step_bytes: 500,
        ..short_segments()
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
fn a_half_committed_after_it_was_carried_is_found_by_its_handle_as_long_as_its_bytes_are_kept() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
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
            store = open_with(&disk.kill(), short_segments()).0;
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

#[test]
fn a_message_that_left_since_the_checkpoint_has_left_for_the_next_open_too() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let late = half(&mut store, "T", 0, "U1", b"late");
    roll(&mut store, NOW);
    store.checkpoint(NOW).unwrap();
    commit(&mut store, late.seq, 0);
    send(&mut store, "T", 0, b"next");
    settle(&mut store);
    roll(&mut store, NOW + HOUR);
    retain(&mut store, NOW + HOUR + HOUR / 2);
    let range = store.reader().queue_range("T", 0);
    assert!(range.0.0 >= 1, "{range:?}");
    drop(store);
    let (store, report) = open_with(&disk.kill(), short_segments());
    assert!(report.checkpoint.is_some(), "{report:?}");
    let reader = store.reader();
    let (first, end) = reader.queue_range("T", 0);
    assert_eq!((first, end), range);
    let entries = reader.entries("T", 0, first, 8).unwrap();
    assert_eq!(entries.len() as u64, end.0 - first.0);
    assert!(!entries.is_empty(), "one of them is still there");
    for (offset, entry) in (first.0..).zip(entries) {
        reader
            .delivered("T", 0, QueueOffset(offset), &entry)
            .unwrap_or_else(|error| panic!("{offset}: {error}"));
    }
}
