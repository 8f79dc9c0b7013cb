//! Rot that no head explains: more than one byte, below the watermark. It costs what it hit; what it may hide is parked.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::model::{Event, Model, script};
use common::*;
use escrow_protocol::transaction::Resolution;
use escrow_store::{
    Disk, Durability, ErrorKind, HalfSeq, HalfState, MemoryDisk, OpKind, OpRecordKind, QueueOffset,
    Settings, Store,
};
use proptest::prelude::*;

const LOG: &str = "log/00000000000000000000";

fn rot(disk: &MemoryDisk, name: &str, range: std::ops::Range<u64>) {
    let mut bytes = disk.bytes(name).unwrap();
    bytes[range.start as usize..range.end as usize].fill(0xA5);
    disk.set_bytes(name, bytes);
}

#[test]
fn a_half_whose_decision_may_be_hidden_is_parked_and_others_are_not() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let hidden = half(&mut store, "T", 0, "U1", b"hidden");
    let explained = half(&mut store, "T", 0, "U2", b"explained");
    let decided = half(&mut store, "T", 0, "U3", b"decided");
    send(&mut store, "T", 0, b"before");
    let first = commit(&mut store, hidden.seq, 0);
    let second = send(&mut store, "T", 0, b"also lost");
    apply(
        &mut store,
        explained.seq,
        OpKind::Answer {
            resolution: Resolution::Unknown,
        },
    );
    commit(&mut store, decided.seq, 0);
    send(&mut store, "T", 0, b"after");
    let later = half(&mut store, "T", 0, "U4", b"later");
    settle(&mut store);
    store.mark_durable_if_idle(NOW).unwrap();
    drop(store);
    let disk = disk.kill();
    rot(&disk, LOG, first.physical.0..second.end.0);

    for reopened in [false, true] {
        let (store, report) = open(&disk);
        assert_eq!(report.damaged.len(), 1, "{report:?}");
        let damage = &report.damaged[0];
        assert_eq!(
            (damage.offset, damage.bytes),
            (first.physical, second.end.0 - first.physical.0)
        );
        assert!(report.cut.is_none());
        let parked: &[HalfSeq] = if reopened { &[] } else { &[hidden.seq] };
        assert_eq!(report.parked, parked);
        let states =
            [hidden, explained, decided, later].map(|half| store.half(half.seq).unwrap().state);
        assert_eq!(
            states,
            [
                HalfState::Parked,
                HalfState::Pending,
                HalfState::Committed,
                HalfState::Pending
            ]
        );
        let history = store.op_history(hidden.seq).unwrap();
        assert_eq!(
            (history.len(), history[0].kind, history[0].reason.as_str()),
            (1, OpRecordKind::Park, "log damaged")
        );
        let shown = bodies(&store.reader(), "T", 0);
        let kept = |body: &[u8]| Some(body.to_vec());
        assert_eq!(
            shown,
            [
                kept(b"before"),
                None,
                None,
                kept(b"decided"),
                kept(b"after")
            ]
        );
    }
    // A person decides; the queue goes on behind what is lost.
    let (mut store, _) = open(&disk);
    assert_eq!(
        commit(&mut store, hidden.seq, 0).queue_offset,
        Some(QueueOffset(5))
    );
}

#[test]
fn what_follows_the_last_good_head_below_the_watermark_is_damage_and_no_cut() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let mut model = Model::default();
    script(&mut model, &mut store, 0);
    settle(&mut store);
    let from = store.end().0;
    script(&mut model, &mut store, 1);
    settle(&mut store);
    store.mark_durable_if_idle(NOW).unwrap();
    let mark = store.durable().0 - 72;
    let next = send(&mut store, "T", 0, b"next").physical.0;
    settle(&mut store);
    assert_eq!(next, mark + 72);
    drop(store);
    let disk = disk.kill();
    // Only the message behind the mark is left to say how far the log was durable.
    rot(&disk, LOG, from..mark + 72);
    let (mut store, report) = open(&disk);
    assert!(report.cut.is_none(), "{report:?}");
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(
        bodies(&store.reader(), "T", 0).last().unwrap(),
        &Some(b"next".to_vec())
    );
    assert_eq!(send(&mut store, "T", 0, b"on").queue_offset.0, 4);
}

#[test]
fn a_rebuild_of_a_long_log_gives_what_was_there() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        segment_bytes: 1 << 20,
        ..Settings::tiny()
    };
    let (mut store, _) = open_with(&disk, settings.clone());
    let mut model = Model::default();
    let mut round = 0;
    while store.end().0 < 3 << 20 {
        for _ in 0..40 {
            script(&mut model, &mut store, round);
            model.append(
                &mut store,
                Event::Message {
                    topic: "T",
                    queue: 1,
                    body: vec![3; 4000],
                },
            );
            round = (round + 1) % 64;
        }
        settle(&mut store);
        if round == 0 {
            store.checkpoint(NOW).unwrap();
        }
    }
    model.check(&store);
    drop(store);
    let disk = disk.kill();
    for name in ["checkpoint/0", "checkpoint/1"] {
        if disk.bytes(name).is_some() {
            disk.set_bytes(name, vec![0; 10]);
        }
    }
    for again in [false, true] {
        let (mut store, report) = open_with(&disk, settings.clone());
        assert!(
            report.checkpoint.is_none() && report.is_clean(),
            "{report:?}"
        );
        assert_eq!(report.rebuilt.is_none(), again, "bad copies are taken away");
        model.check(&store);
        script(&mut model, &mut store, 5);
        settle(&mut store);
    }
    let (mut store, _) = open_with(&disk, settings.clone());
    store.checkpoint(NOW).unwrap();
    drop(store);
    let (store, report) = open_with(&disk, settings);
    assert!(report.checkpoint.is_some() && report.rebuilt.is_none());
    model.check(&store);
}

#[test]
fn a_rotten_queue_page_is_rebuilt_from_the_log_when_it_is_read() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        segment_bytes: 1 << 20,
        ..Settings::tiny()
    };
    let (mut store, _) = open_with(&disk, settings.clone());
    let mut model = Model::default();
    for round in 0..200_u8 {
        script(&mut model, &mut store, round);
    }
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    model.check(&store);
    for name in disk
        .names()
        .into_iter()
        .filter(|name| name.starts_with("queue/"))
    {
        rot(&disk, &name, 100..200);
    }
    model.check(&store);
    drop(store);
    let (store, report) = open_with(&disk, settings);
    assert!(report.is_clean());
    model.check(&store);
}

#[derive(Clone, Debug)]
struct Rot {
    file: prop::sample::Index,
    at: prop::sample::Index,
    bytes: Vec<u8>,
}

fn rots() -> impl Strategy<Value = Vec<Rot>> {
    let one = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 1..40),
    );
    prop::collection::vec(
        one.prop_map(|(file, at, bytes)| Rot { file, at, bytes }),
        1..12,
    )
}

/// Otherwise the coordinator would ask about it by itself after the second open, as about any parked half.
#[test]
fn a_half_that_was_parked_for_damage_says_so_at_every_later_open() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let hidden = half(&mut store, "T", 0, "U1", b"hidden");
    let given_up = half(&mut store, "T", 0, "U2", b"given up");
    let lost = commit(&mut store, hidden.seq, 0);
    apply(&mut store, given_up.seq, OpKind::Park);
    settle(&mut store);
    store.mark_durable_if_idle(NOW).unwrap();
    drop(store);
    let disk = disk.kill();
    rot(&disk, LOG, lost.physical.0..lost.end.0);
    for _ in 0..3 {
        let (store, _) = open(&disk);
        let entry = store.half(hidden.seq).unwrap();
        assert_eq!(
            (entry.state, entry.is_log_damaged()),
            (HalfState::Parked, true)
        );
        let entry = store.half(given_up.seq).unwrap();
        assert_eq!(
            (entry.state, entry.is_log_damaged()),
            (HalfState::Parked, false)
        );
    }
}

/// The log goes on in a segment of its own; that it begins in the middle of where another was is no damage later.
#[test]
fn a_log_whose_newest_segment_is_gone_goes_on_where_its_checkpoint_ends() {
    let settings = || Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        ..Settings::tiny()
    };
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    while store.end().0 < 13 << 10 {
        send(&mut store, "T", 0, &[1; 900]);
    }
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    let half = half(&mut store, "T", 0, "U1", b"lost with the segment");
    settle(&mut store);
    let max = store.reader().queue_range("T", 0).1;
    drop(store);
    let disk = disk.kill();
    disk.remove("log/00000000000000012288").unwrap();

    let (mut store, _) = open_with(&disk, settings());
    assert_eq!(store.half(half.seq), None);
    assert_eq!(store.reader().queue_range("T", 0).1, max, "no offset twice");
    let kept = common::half(&mut store, "T", 0, "U2", b"kept");
    settle(&mut store);
    drop(store);
    for _ in 0..2 {
        let (store, report) = open_with(&disk, settings());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(store.half(kept.seq).unwrap().state, HalfState::Pending);
    }
}

#[test]
fn a_segment_ends_where_the_next_one_starts_and_not_before_its_file_whatever_its_header_says() {
    for bytes_written in [18 << 10, 10 << 10] {
        a_header_that_is_too_short_hides_nothing(bytes_written);
    }
}

fn a_header_that_is_too_short_hides_nothing(bytes_written: u64) {
    let settings = || Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        ..Settings::tiny()
    };
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    while store.end().0 < bytes_written {
        send(&mut store, "T", 0, &[1; 900]);
    }
    settle(&mut store);
    let range = store.reader().queue_range("T", 0);
    drop(store);
    let disk = disk.kill();
    let mut bytes = disk.bytes(LOG).unwrap();
    for copy in [0, 2048] {
        let copy = &mut bytes[copy..copy + 40];
        copy[24..32].copy_from_slice(&4096_u64.to_le_bytes());
        copy[12..16].fill(0);
        let crc = crc_fast::crc32_iscsi(copy);
        copy[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    disk.set_bytes(LOG, bytes);
    for _ in 0..2 {
        let (store, report) = open_with(&disk, settings());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(store.reader().queue_range("T", 0), range);
    }
}

#[test]
fn a_lost_file_of_the_half_queue_is_damage_and_is_made_again() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let half = half(&mut store, "T", 0, "U1", b"decided");
    commit(&mut store, half.seq, 0);
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    drop(store);
    let disk = disk.kill();
    disk.remove("half/000000000000").unwrap();

    let (mut store, _) = open(&disk);
    let error = store.kept_half(half.seq).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!((0..3).any(|_| store.checkpoint(NOW).is_ok()));
    drop(store);
    let (store, _) = open(&disk);
    let entry = store.half(half.seq).unwrap();
    assert_eq!(entry.state, HalfState::Committed);
}

/// Neither rot nor a torn write does that, but a hostile hand: no number of a head sizes anything that the log could not hold.
#[test]
fn a_head_whose_numbers_the_log_cannot_hold_is_not_believed() {
    for field in [32, 56, 64] {
        let disk = MemoryDisk::new();
        let (mut store, _) = open(&disk);
        send(&mut store, "T", 0, b"before");
        let forged = half(&mut store, "T", 0, "U1", b"forged");
        settle(&mut store);
        drop(store);
        let at = forged.physical.0 as usize;
        let mut bytes = disk.bytes(LOG).unwrap();
        bytes[at + field..at + field + 8].fill(0xFF);
        let crc = crc_fast::crc32_iscsi(&bytes[at + 4..at + 72]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        disk.set_bytes(LOG, bytes);
        let (mut store, _) = open(&disk);
        assert_eq!(store.next_half(), HalfSeq(0), "field at {field}");
        assert_eq!(bodies(&store.reader(), "T", 0), [Some(b"before".to_vec())]);
        half(&mut store, "T", 0, "U2", b"after");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the disk says, the store opens, serves what it can, takes new work and opens again without new surprises.
    #[test]
    fn arbitrary_rot_never_panics_and_settles(rots in rots(), checkpoint in any::<bool>()) {
        let disk = MemoryDisk::new();
        let (mut store, _) = open(&disk);
        let mut model = Model::default();
        for round in 0..6 {
            script(&mut model, &mut store, round);
            if checkpoint && round == 3 {
                store.checkpoint(NOW).unwrap();
            }
        }
        settle(&mut store);
        store.mark_durable_if_idle(NOW).unwrap();
        drop(store);
        let disk = disk.kill();
        let names: Vec<String> = disk.names().into_iter().filter(|name| disk.bytes(name).is_some_and(|b| !b.is_empty())).collect();
        for rot in &rots {
            let name = rot.file.get(&names);
            let mut bytes = disk.bytes(name).unwrap();
            let at = rot.at.index(bytes.len());
            for (place, byte) in bytes[at..].iter_mut().zip(&rot.bytes) {
                *place = *byte;
            }
            disk.set_bytes(name, bytes);
        }
        let Ok((mut store, report)) = Store::open(Arc::new(disk.clone()), Settings::tiny(), NOW) else {
            // Refusing a folder that no longer makes sense is an answer too.
            return Ok(());
        };
        for topic in ["T", "U"] {
            for queue in 0..2 {
                bodies(&store.reader(), topic, queue);
            }
        }
        let halfs = store.next_half().0;
        for seq in 0..halfs {
            if let Some(entry) = store.half(HalfSeq(seq)) {
                let _ = (store.reader().half_image(HalfSeq(seq)), store.op_history(HalfSeq(seq)), store.half_at(entry.handle));
                let _ = store.reader().by_offset(entry.handle);
            }
        }
        let states: Vec<_> = (0..halfs).map(|seq| store.half(HalfSeq(seq)).map(|entry| entry.state)).collect();
        for (state, (wanted, _)) in states.iter().zip(&model.expected().halfs) {
            let is_safe = state.is_none() || *state == Some(*wanted) || *state == Some(HalfState::Parked)
                || report.cut.is_some();
            prop_assert!(is_safe, "{state:?} {wanted:?} {report:?}");
        }
        store.append_message(NOW, &plain("T", 0, b"new", ""), Durability::Synced).unwrap();
        settle(&mut store);
        drop(store);
        let (store, report) = open(&disk);
        prop_assert!(report.cut.is_none() && report.parked.is_empty(), "{report:?}");
        let again: Vec<_> = (0..halfs).map(|seq| store.half(HalfSeq(seq)).map(|entry| entry.state)).collect();
        prop_assert_eq!(states, again);
    }
}

#[test]
fn a_damaged_page_of_the_half_queue_is_not_taken_for_one_without_halfs() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let first = half(&mut store, "T", 0, "U0", b"first");
    commit(&mut store, first.seq, 0);
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    rot(&disk, "half/000000000000", 20..40);
    // The next half is on the same page, so that the page is to be written again.
    let next = half(&mut store, "T", 0, "U1", b"next");
    commit(&mut store, next.seq, 0);
    settle(&mut store);
    assert!(store.checkpoint(NOW).is_err(), "it has found out");
    store.checkpoint(NOW).unwrap();
    assert!(store.half_at(first.physical).is_err());
    assert_eq!(store.half(next.seq).unwrap().state, HalfState::Committed);
    drop(store);
    let (store, _) = open(&disk.kill());
    for half in [first, next] {
        assert_eq!(store.half(half.seq).unwrap().state, HalfState::Committed);
    }
}

#[test]
fn a_message_lost_to_damage_does_not_outlive_its_topic() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let lost = send(&mut store, "T", 3, b"lost");
    store.drop_topic(NOW, "T").unwrap();
    settle(&mut store);
    store.mark_durable_if_idle(NOW).unwrap();
    drop(store);
    let disk = disk.kill();
    rot(&disk, LOG, lost.end.0 - 8..lost.end.0 - 4);
    let (mut store, report) = open(&disk);
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(
        send(&mut store, "T", 3, b"new").queue_offset,
        QueueOffset(0)
    );
}
