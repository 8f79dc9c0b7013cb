//! A half message from append to delivery, seen through the public API.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::*;
use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;
use escrow_store::{
    Boundary, Durability, Error, HalfLookup, HalfState, Lookup, MemoryDisk, Op, OpKind,
    OpRecordKind, PhysicalOffset, QueueOffset, ScheduleSource, Source,
};

#[test]
fn a_commit_delivers_the_patched_half_and_nothing_before_it_does() {
    let disk = MemoryDisk::new();
    let (mut store, report) = open(&disk);
    assert!(report.is_clean());
    let reader = store.reader();
    send(&mut store, "T", 1, b"first");
    let half = half(&mut store, "T", 1, "U1", b"order");
    settle(&mut store);
    assert_eq!(bodies(&reader, "T", 1), [Some(b"first".to_vec())]);
    assert_eq!(
        reader.by_offset(half.physical).unwrap(),
        Lookup::Undecided(half.seq)
    );
    assert!(
        reader
            .by_key("T", "k1", 0, i64::MAX, 10)
            .unwrap()
            .is_empty()
    );

    let done = store
        .append_op(
            NOW + 9,
            half.seq,
            &op(OpKind::Commit { queue_id: 1 }),
            Durability::Synced,
        )
        .unwrap();
    assert_eq!(done.queue_offset, Some(QueueOffset(1)));
    store.write().unwrap();
    store.publish();
    assert_eq!(
        bodies(&reader, "T", 1).len(),
        1,
        "a commit is not shown before it is durable"
    );
    assert_eq!(
        reader.by_offset(half.physical).unwrap(),
        Lookup::Undecided(half.seq)
    );
    store.sync().unwrap();
    let arrivals = store.publish();
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].visible_end, QueueOffset(2));
    assert_eq!(arrivals[0].tags, 2598919);

    let entry = reader.entries("T", 1, QueueOffset(1), 1).unwrap()[0];
    let image = reader.delivered("T", 1, QueueOffset(1), &entry).unwrap();
    let delivered = message::decode(&image).unwrap();
    assert_eq!(delivered.body, b"order");
    assert_eq!(delivered.sys_flag & 0xC, 0x8);
    assert_eq!(delivered.queue_offset, 1);
    assert_eq!(delivered.store_timestamp, NOW + 9);
    assert_eq!(
        delivered.prepared_transaction_offset as u64,
        half.physical.0
    );
    assert_eq!(delivered.physical_offset as u64, half.physical.0);
    assert_eq!(delivered.properties().get("__transactionId__"), Some("U1"));
    assert_eq!(
        reader.by_offset(half.physical).unwrap(),
        Lookup::Message(image.clone())
    );
    for key in ["k1", "k2", "U1"] {
        assert_eq!(
            reader.by_key("T", key, NOW + 9, NOW + 9, 10).unwrap(),
            std::slice::from_ref(&image)
        );
    }
    assert_eq!(
        reader
            .offset_by_time("T", 1, NOW + 1, Boundary::Lower)
            .unwrap(),
        QueueOffset(1)
    );
    assert_eq!(
        reader
            .offset_by_time("T", 1, NOW + 1, Boundary::Upper)
            .unwrap(),
        QueueOffset(0)
    );
    assert_eq!(
        reader
            .offset_by_time("T", 1, NOW + 10, Boundary::Lower)
            .unwrap(),
        QueueOffset(2)
    );
}

#[test]
fn the_first_decision_stands_and_the_history_tells() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let half = half(&mut store, "T", 0, "U", b"x");
    apply(
        &mut store,
        half.seq,
        OpKind::Answer {
            resolution: Resolution::Unknown,
        },
    );
    let unasked = Op {
        source: Source::Producer,
        client_id: "another@2",
        ..op(OpKind::Answer {
            resolution: Resolution::Unknown,
        })
    };
    store
        .append_op(NOW, half.seq, &unasked, Durability::Synced)
        .unwrap();
    apply(&mut store, half.seq, OpKind::Park);
    apply(&mut store, half.seq, OpKind::Rollback);
    let again = store.append_op(
        NOW,
        half.seq,
        &op(OpKind::Commit { queue_id: 0 }),
        Durability::Synced,
    );
    assert!(matches!(again, Err(Error::AlreadyDecided)));
    for _ in 0..2 {
        apply(
            &mut store,
            half.seq,
            OpKind::Conflict {
                attempted: Resolution::Commit,
            },
        );
    }
    settle(&mut store);
    let history = store.op_history(half.seq).unwrap();
    let kinds: Vec<OpRecordKind> = history.iter().map(|op| op.kind).collect();
    use OpRecordKind::{Answer, Conflict, Park, Rollback};
    assert_eq!(kinds, [Answer, Answer, Park, Rollback, Conflict, Conflict]);
    assert_eq!(history[5].resolution, Resolution::Commit);
    assert_eq!(history[1].client_id, "another@2", "not the half's sender");
    assert_eq!(
        (history[0].source, history[0].client_id.as_str()),
        (Source::Check, "client@1")
    );
    let entry = store.half(half.seq).unwrap();
    assert_eq!(
        (entry.state, entry.answered, entry.immunity_ms()),
        (HalfState::RolledBack, 1, Some(7000)),
        "an answer that nobody asked for does not count"
    );
    assert_eq!(
        store.reader().by_offset(half.physical).unwrap(),
        Lookup::RolledBack(half.seq)
    );
    assert_eq!(store.name(entry.group), "G");
    assert_eq!(
        store.half_at(half.physical).unwrap(),
        HalfLookup::Half(half.seq, entry)
    );
    assert_eq!(
        store.half_at(PhysicalOffset(half.physical.0 + 8)).unwrap(),
        HalfLookup::None
    );
}

#[test]
fn an_async_message_waits_behind_an_unsynced_commit_in_its_own_queue_only() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let reader = store.reader();
    let half = half(&mut store, "T", 0, "U", b"half");
    settle(&mut store);
    commit(&mut store, half.seq, 0);
    send(&mut store, "T", 0, b"behind");
    send(&mut store, "T", 1, b"elsewhere");
    store.write().unwrap();
    store.publish();
    assert_eq!(reader.queue_range("T", 0).1, QueueOffset(0));
    assert_eq!(reader.queue_range("T", 1).1, QueueOffset(1));
    store.sync().unwrap();
    store.publish();
    assert_eq!(
        bodies(&reader, "T", 0),
        [Some(b"half".to_vec()), Some(b"behind".to_vec())]
    );
}

#[test]
fn everything_survives_a_reopen_with_and_without_a_checkpoint() {
    for with_checkpoint in [false, true] {
        let disk = MemoryDisk::new();
        let (mut store, _) = open(&disk);
        store.set_meta(NOW, "topic/T", b"{}").unwrap();
        store.set_meta(NOW, "topic/U", b"{1}").unwrap();
        store.delete_meta(NOW, "topic/U").unwrap();
        let committed = half(&mut store, "T", 0, "U1", b"one");
        let parked = half(&mut store, "T", 0, "U2", b"two");
        let pending = half(&mut store, "T", 0, "U3", b"three");
        commit(&mut store, committed.seq, 3);
        apply(&mut store, parked.seq, OpKind::Park);
        let level = ScheduleSource {
            level_queue: 2,
            queue_offset: 41,
        };
        store
            .append_delivery(NOW, &plain("D", 0, b"due", ""), level, Durability::Written)
            .unwrap();
        send(&mut store, "gone", 0, b"x");
        store.drop_topic(NOW, "gone").unwrap();
        settle(&mut store);
        if with_checkpoint {
            store.checkpoint(NOW).unwrap();
        }
        send(&mut store, "T", 3, b"tail");
        settle(&mut store);
        let before: Vec<_> = store.undecided().collect();
        drop(store);

        let (mut store, report) = open(&disk.kill());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.checkpoint.is_some(), with_checkpoint);
        let reader = store.reader();
        assert_eq!(
            bodies(&reader, "T", 3),
            [Some(b"one".to_vec()), Some(b"tail".to_vec())]
        );
        assert_eq!(store.undecided().collect::<Vec<_>>(), before);
        assert_eq!(store.undecided_counts(), (1, 1));
        assert_eq!(
            store.half(committed.seq).unwrap().state,
            HalfState::Committed
        );
        assert!(matches!(
            reader.by_offset(parked.physical).unwrap(),
            Lookup::Parked(..)
        ));
        assert_eq!(reader.parked_by_key("U2", 9).unwrap().len(), 1);
        let image = reader.half_image(pending.seq).unwrap();
        assert_eq!(
            message::decode(&image).unwrap().queue_offset as u64,
            pending.seq.0
        );
        assert_eq!(
            store.meta_iter("topic/").collect::<Vec<_>>(),
            [("topic/T", &b"{}"[..])]
        );
        assert_eq!(store.schedule_progress(2), QueueOffset(42));
        assert_eq!(reader.queue_range("gone", 0).1, QueueOffset(0));
        assert_eq!(
            send(&mut store, "gone", 0, b"again").queue_offset,
            QueueOffset(0)
        );
        assert_eq!(reader.by_key("T", "U1", 0, i64::MAX, 9).unwrap().len(), 1);
        assert_eq!(half(&mut store, "T", 0, "U4", b"").seq.0, 3);
    }
}
