//! Every single byte of a small log flipped once, with and without a checkpoint: everything else is served at its old place,
//! the damaged record is an explicit error, nothing below the durable watermark is cut, no half changes state, nothing panics.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::model::{Model, QUEUES, TOPICS, script};
use common::*;
use escrow_store::{
    Disk, Error, HalfEntry, HalfLookup, HalfSeq, HalfState, Lookup, MemoryDisk, OpKind,
    PhysicalOffset, Settings, Store,
};

const LOG: &str = "log/00000000000000000000";
const HEADER: usize = 72;

fn settings() -> Settings {
    Settings {
        segment_bytes: 32 << 10,
        record_bytes_max: 16 << 10,
        ..Settings::tiny()
    }
}

/// Offset, length and kind of every record, read straight from the layout.
fn records(bytes: &[u8]) -> Vec<(usize, usize, u8)> {
    let mut records = Vec::new();
    let mut at = 4096;
    while at + HEADER <= bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        records.push((at, len, bytes[at + 12]));
        at += len.next_multiple_of(8);
    }
    records
}

/// Physical offset and body.
type Wanted = (u64, Vec<u8>);

struct Intact {
    disk: MemoryDisk,
    bytes: Vec<u8>,
    model: Model,
    durable: u64,
    halfs: Vec<HalfEntry>,
    queues: BTreeMap<(&'static str, i32), Vec<Wanted>>,
}

fn intact(with_checkpoint: bool) -> Intact {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let mut model = Model::default();
    for round in 0..4 {
        script(&mut model, &mut store, round);
    }
    settle(&mut store);
    let durable = store.durable().0;
    store.mark_durable_if_idle(NOW).unwrap();
    if with_checkpoint {
        store.checkpoint(NOW).unwrap();
    }
    let halfs = (0..model.halfs())
        .map(|seq| store.half(HalfSeq(seq)).unwrap())
        .collect();
    let queues = queues(&store).into_iter().map(|(key, queue)| {
        (
            key,
            queue
                .into_iter()
                .map(|(at, body)| (at, body.unwrap()))
                .collect(),
        )
    });
    let queues = queues.collect();
    drop(store);
    let disk = disk.kill();
    Intact {
        bytes: disk.bytes(LOG).unwrap(),
        disk,
        model,
        durable,
        halfs,
        queues,
    }
}

type Queue = Vec<(u64, Option<Vec<u8>>)>;

/// Physical offset and body of every message.
fn queues(store: &Store) -> BTreeMap<(&'static str, i32), Queue> {
    let reader = store.reader();
    let mut all = BTreeMap::new();
    for topic in TOPICS {
        for queue in 0..QUEUES {
            let (min, _) = reader.queue_range(topic, queue);
            let entries = reader.entries(topic, queue, min, 1000).unwrap();
            let places = entries.iter().map(|entry| entry.physical.0);
            all.insert(
                (topic, queue),
                places.zip(bodies(&reader, topic, queue)).collect(),
            );
        }
    }
    all
}

fn check_flip(intact: &Intact, at: usize, mask: u8, with_checkpoint: bool) {
    let disk = intact.disk.kill();
    let mut bytes = intact.bytes.clone();
    bytes[at] ^= mask;
    disk.set_bytes(LOG, bytes);
    let (store, report) = open_with(&disk, settings());
    let hit = records(&intact.bytes)
        .into_iter()
        .find(|(start, len, _)| (*start..start + len).contains(&at));
    let hit_at = hit.map(|(start, _, _)| start as u64);

    if let Some(cut) = &report.cut {
        assert!(
            cut.offset.0 >= intact.durable,
            "byte {at}: cut below the watermark: {report:?}"
        );
        assert_eq!(cut.file, LOG);
    }
    let is_acknowledged = hit_at.is_some_and(|start| start < intact.durable);
    if is_acknowledged && !with_checkpoint {
        assert_eq!(report.damaged.len(), 1, "byte {at}: {report:?}");
        assert_eq!(Some(report.damaged[0].offset.0), hit_at);
        assert_eq!(report.damaged[0].file, LOG);
    }
    check_queues(intact, &store, hit_at, at);
    check_halfs(intact, &store, hit_at, at);
    check_read(&store, hit, is_acknowledged, at);
    let known = intact.model.expected().meta;
    for (key, value) in store.meta_iter("") {
        let is_older = value[0] < known[key][0];
        assert!(
            value == known[key] || (is_older && hit.is_some_and(|(_, _, kind)| kind == 10)),
            "byte {at}"
        );
    }
}

/// Every message is where it was; only the one whose bytes are hit is an error.
fn check_queues(intact: &Intact, store: &Store, hit_at: Option<u64>, at: usize) {
    let found = queues(store);
    for (key, wanted) in &intact.queues {
        let queue = &found[key];
        assert_eq!(
            queue.len(),
            wanted.len(),
            "byte {at}: queue {key:?} keeps all its offsets"
        );
        for ((physical, body), (wanted_at, wanted)) in queue.iter().zip(wanted) {
            if Some(*wanted_at) == hit_at {
                assert_eq!(*body, None, "byte {at}: a damaged message is an error");
            } else {
                assert_eq!(
                    (*physical, body.as_ref()),
                    (*wanted_at, Some(wanted)),
                    "byte {at}: queue {key:?}"
                );
            }
        }
    }
}

/// No half changes state; one whose own record is hit may at most be parked.
fn check_halfs(intact: &Intact, store: &Store, hit_at: Option<u64>, at: usize) {
    assert_eq!(store.next_half().0, intact.halfs.len() as u64, "byte {at}");
    for (seq, wanted) in (0..).zip(&intact.halfs) {
        let entry = store.half(HalfSeq(seq)).unwrap();
        assert_eq!(entry.handle, wanted.handle, "byte {at}: half {seq}");
        if Some(wanted.handle.0) != hit_at {
            assert_eq!(entry, *wanted, "byte {at}: half {seq}");
        } else if wanted.state.is_undecided() {
            assert!(
                entry.state == wanted.state || entry.state == HalfState::Parked,
                "byte {at}: half {seq}"
            );
        } else {
            assert_eq!(entry.state, wanted.state, "byte {at}: half {seq}");
        }
        let history = store.op_history(HalfSeq(seq)).unwrap();
        assert!(!history.is_empty(), "byte {at}: half {seq}");
    }
}

/// Reading the damaged record is an explicit error that names it.
fn check_read(store: &Store, hit: Option<(usize, usize, u8)>, is_acknowledged: bool, at: usize) {
    let Some((start, _, _)) = hit.filter(|_| is_acknowledged) else {
        return;
    };
    match store.reader().by_offset(PhysicalOffset(start as u64)) {
        Err(Error::Damaged { file, offset, .. }) => {
            assert_eq!((file.as_str(), offset.0), (LOG, start as u64), "byte {at}");
        }
        other => panic!("byte {at}: {other:?}"),
    }
    // Others can be looked up as before.
    let other = store.reader().by_offset(PhysicalOffset(4096));
    assert!(
        start == 4096 || matches!(other, Ok(Lookup::Message(_))),
        "byte {at}: {other:?}"
    );
}

fn flip_everything(with_checkpoint: bool, mask: u8) {
    let intact = intact(with_checkpoint);
    for at in 0..intact.bytes.len() {
        check_flip(&intact, at, mask, with_checkpoint);
    }
}

#[test]
fn one_bit_of_every_byte_without_a_checkpoint() {
    flip_everything(false, 0x10);
}

#[test]
fn one_bit_of_every_byte_with_a_checkpoint() {
    flip_everything(true, 0x10);
}

#[test]
fn every_byte_inverted_without_a_checkpoint() {
    flip_everything(false, 0xFF);
}

/// Checkpoint and derived files may rot too: they are rebuilt, and nothing is lost.
#[test]
fn every_byte_of_every_derived_file() {
    let intact = intact(true);
    for name in intact
        .disk
        .names()
        .into_iter()
        .filter(|name| !name.starts_with("log/") && name != "lock")
    {
        let bytes = intact.disk.bytes(&name).unwrap();
        // Pages are mostly empty; each has one checksum, so that a sample of its bytes is enough.
        let step = if bytes.len() > 4096 { 61 } else { 7 };
        for at in (0..bytes.len()).step_by(step) {
            let disk = intact.disk.kill();
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            disk.set_bytes(&name, bytes);
            let (store, report) = open_with(&disk, settings());
            assert!(report.is_clean(), "{name} byte {at}: {report:?}");
            if !name.starts_with("index/") {
                intact.model.check(&store);
            }
        }
    }
}

#[test]
fn rot_in_the_key_index_does_not_stop_checkpoints_for_good() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let mut flipped = false;
    let mut outcomes = Vec::new();
    for n in 0..40 {
        let half = half(&mut store, "T", 0, &format!("U{n}"), b"body");
        commit(&mut store, half.seq, 0);
        settle(&mut store);
        outcomes.push(store.checkpoint(NOW).is_ok());
        let runs = disk
            .names()
            .into_iter()
            .filter(|name| name.starts_with("index/"));
        if let Some(run) = runs.take(1).next().filter(|_| !flipped) {
            let mut bytes = disk.bytes(&run).unwrap();
            bytes[20] ^= 1;
            disk.set_bytes(&run, bytes);
            flipped = true;
        }
    }
    // The one that met it, and at most one more that gives the derived files up.
    let failed = outcomes.iter().filter(|is_ok| !**is_ok).count();
    assert!(flipped && (1..=2).contains(&failed), "{outcomes:?}");
    drop(store);
    let (store, report) = open(&disk.kill());
    assert!(report.checkpoint.is_none(), "{report:?}");
    let found = store.reader().by_key("T", "U0", 0, i64::MAX, 1).unwrap();
    assert_eq!(found.len(), 1);
}

/// A newer version's file would make the store refuse to open, at every start.
#[test]
fn no_flipped_bit_in_both_checkpoints_is_taken_for_a_newer_version() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    for _ in 0..2 {
        send(&mut store, "T", 0, b"kept");
        settle(&mut store);
        store.checkpoint(NOW).unwrap();
    }
    drop(store);
    let disk = disk.kill();
    let names = ["checkpoint/0", "checkpoint/1"];
    let copies = names.map(|name| disk.bytes(name).unwrap());
    for bit in 0..16 * 8 {
        for (name, copy) in names.iter().zip(&copies) {
            let mut bytes = copy.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            disk.set_bytes(name, bytes);
        }
        let (store, report) = open(&disk);
        assert!(report.rebuilt.is_some(), "bit {bit}: {report:?}");
        assert_eq!(bodies(&store.reader(), "T", 0).len(), 2, "bit {bit}");
    }
}

#[test]
fn rot_in_the_key_index_makes_neither_files_pile_up_nor_checkpoints_due_at_once() {
    a_lost_run_is_lived_with(|disk, run| {
        let mut bytes = disk.bytes(run).unwrap();
        bytes[20] ^= 1;
        disk.set_bytes(run, bytes);
    });
}

#[test]
fn nor_does_a_file_of_the_key_index_that_somebody_has_removed() {
    a_lost_run_is_lived_with(|disk, run| disk.remove(run).unwrap());
}

/// A rebuild that is wanted may be long in coming: nobody restarts a broker because a query by key failed.
fn a_lost_run_is_lived_with(lose: impl Fn(&MemoryDisk, &str)) {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let half_of = |store: &mut Store, n: usize| {
        let half = half(store, "T", 0, &format!("U{n}"), &[0; 300]);
        commit(store, half.seq, 0);
        settle(store);
    };
    let runs = || {
        let names = disk.names().into_iter();
        names.filter(|name| name.starts_with("index/")).count()
    };
    half_of(&mut store, 0);
    store.checkpoint(NOW).unwrap();
    lose(&disk, "index/0000000000000000");
    assert!(store.reader().by_key("T", "U0", 0, i64::MAX, 1).is_err());
    let mut failed = 0;
    for n in 1..300 {
        half_of(&mut store, n);
        match store.checkpoint(NOW) {
            Ok(()) => assert!(!store.checkpoint_due(NOW), "after {n}"),
            Err(_) => failed += 1,
        }
    }
    assert!(failed <= 1, "one finds it out, {failed} failed");
    assert!(store.end().0 > Settings::tiny().checkpoint_bytes);
    // Up to seven of each of three sizes, and those of the checkpoint before.
    assert!(runs() < 40, "{} runs", runs());
    for n in 1..300 {
        let found = store.reader().by_key("T", &format!("U{n}"), 0, i64::MAX, 1);
        assert!(found.is_ok_and(|found| found.len() == 1), "U{n}");
    }
    drop(store);
    let disk = disk.kill();
    let (mut store, report) = open(&disk);
    assert!(report.checkpoint.is_none(), "{report:?}");
    for n in 0..300 {
        let found = store.reader().by_key("T", &format!("U{n}"), 0, i64::MAX, 1);
        assert!(found.is_ok_and(|found| found.len() == 1), "U{n}");
    }
    store.checkpoint(NOW).unwrap();
    drop(store);
    let (_, report) = open(&disk.kill());
    assert!(report.checkpoint.is_some(), "rebuilt once: {report:?}");
}

#[test]
fn a_damaged_page_of_the_half_queue_hides_no_half_of_another_page_from_its_handle() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let halfs: Vec<_> = (0..150)
        .map(|n| half(&mut store, "T", 0, &format!("U{n}"), b"x"))
        .collect();
    for half in &halfs {
        apply(&mut store, half.seq, OpKind::Rollback);
    }
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    drop(store);
    // The second page of three, and a record that only the first knows then.
    for (name, at) in [
        ("half/000000000000", 4096 + 100),
        (
            "log/00000000000000000000",
            halfs[5].physical.0 as usize + 20,
        ),
    ] {
        let mut bytes = disk.bytes(name).unwrap();
        bytes[at] ^= 1;
        disk.set_bytes(name, bytes);
    }
    let (store, report) = open(&disk.kill());
    assert!(report.checkpoint.is_some(), "{report:?}");
    let found = store.half_at(halfs[5].physical);
    assert!(
        matches!(found, Ok(HalfLookup::Half(seq, _)) if seq == halfs[5].seq),
        "{found:?}"
    );
}
