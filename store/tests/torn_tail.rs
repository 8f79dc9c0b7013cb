//! The log cut at every byte of its last records: every whole record before the cut survives, and the report names the cut.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{Model, script};
use common::*;
use escrow_store::{CutKind, MemoryDisk, PhysicalOffset, Store};

const LOG: &str = "log/00000000000000000000";

/// A log whose last rounds were written but never known to be durable.
fn torn_log() -> (MemoryDisk, Model, u64, u64) {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let mut model = Model::default();
    script(&mut model, &mut store, 0);
    settle(&mut store);
    let durable = store.durable();
    for round in 1..3 {
        script(&mut model, &mut store, round);
    }
    store.write().unwrap();
    let end = store.written();
    (disk.kill(), model, durable.0, end.0)
}

fn check_cut(disk: &MemoryDisk, model: &Model, cut_at: u64) {
    let (store, report) = open(disk);
    let goes_on = report.cut.as_ref().map_or(store.end(), |cut| cut.offset);
    // Padding need not be there.
    assert!(
        goes_on.0 <= cut_at.next_multiple_of(8),
        "nothing beyond the cut is believed"
    );
    assert!(report.damaged.is_empty());
    if let Some(cut) = &report.cut {
        assert_eq!(
            (cut.kind, cut.file.as_str(), cut.at),
            (CutKind::TornTail, LOG, cut.offset.0)
        );
        assert_eq!(cut.saved, [format!("lost+found/{:020}", cut.offset.0)]);
    }
    let mut owed = model.clone();
    owed.truncate(cut_at);
    let mut survived = model.clone();
    survived.truncate(goes_on.0);
    assert!(
        survived.len() >= owed.len(),
        "every whole record before the cut survives"
    );
    survived.check(&store);
    go_on(store, disk, survived);
}

/// As `check_cut`; a record that ends in zeros may be whole although it was cut.
fn check_zeroed(disk: &MemoryDisk, model: &Model, cut_at: u64) {
    let (store, report) = open(disk);
    assert!(report.damaged.is_empty());
    let goes_on = report.cut.map_or(store.end(), |cut| cut.offset).0;
    let (mut owed, mut survived) = (model.clone(), model.clone());
    owed.truncate(cut_at);
    survived.truncate(goes_on);
    assert!(survived.len() >= owed.len());
    survived.check(&store);
}

/// The log goes on behind the scar, and opens clean.
fn go_on(mut store: Store, disk: &MemoryDisk, mut model: Model) {
    script(&mut model, &mut store, 3);
    settle(&mut store);
    drop(store);
    let (store, report) = open(&disk.kill());
    assert!(report.is_clean(), "{report:?}");
    model.check(&store);
}

#[test]
fn a_file_that_ends_early_keeps_every_whole_record() {
    let (disk, model, durable, end) = torn_log();
    let whole = disk.bytes(LOG).unwrap();
    for cut_at in durable..=end {
        let disk = disk.kill();
        disk.set_bytes(LOG, whole[..cut_at as usize].to_vec());
        check_cut(&disk, &model, cut_at);
    }
}

#[test]
fn a_file_that_ends_in_zeros_keeps_every_whole_record() {
    let (disk, model, durable, end) = torn_log();
    let whole = disk.bytes(LOG).unwrap();
    for cut_at in durable..=end {
        let disk = disk.kill();
        let mut bytes = whole.clone();
        bytes[cut_at as usize..].fill(0);
        disk.set_bytes(LOG, bytes);
        // A record whose last bytes are zeros anyway is whole without them.
        let zeros = whole[..end as usize]
            .iter()
            .rev()
            .take_while(|byte| **byte == 0)
            .count() as u64;
        if cut_at < end - zeros {
            check_zeroed(&disk, &model, cut_at);
        }
    }
}

#[test]
fn garbage_behind_the_end_is_cut_and_kept() {
    let (disk, model, _, end) = torn_log();
    let mut bytes = disk.bytes(LOG).unwrap();
    bytes.truncate(end as usize);
    bytes.extend_from_slice(&[0xEE; 300]);
    disk.set_bytes(LOG, bytes);
    let (store, report) = open(&disk);
    let cut = report.cut.unwrap();
    assert_eq!((cut.offset, cut.bytes), (PhysicalOffset(end), 300));
    assert_eq!(disk.bytes(&cut.saved[0]).unwrap(), [0xEE; 300]);
    go_on(store, &disk, model);
}

#[test]
fn an_unsynced_hole_is_cut_and_the_report_counts_what_it_cost() {
    let (disk, mut model, durable, _) = torn_log();
    let mut bytes = disk.bytes(LOG).unwrap();
    bytes[durable as usize + 3] ^= 1;
    disk.set_bytes(LOG, bytes);
    let (store, report) = open(&disk);
    let cut = report.cut.unwrap();
    assert_eq!(
        (cut.kind, cut.offset),
        (CutKind::UnsyncedHole, PhysicalOffset(durable))
    );
    assert_eq!(cut.records, 11, "all but the damaged one of twelve");
    model.truncate(durable);
    model.check(&store);
    go_on(store, &disk, model);
}

/// Writes into the next segment without a sync, then takes the bytes behind the last one away. Answers the files that keep what was cut.
fn cut_a_whole_segment(disk: &MemoryDisk) -> Vec<String> {
    let (mut store, _) = open_with(disk, short_segments());
    send(&mut store, "t", 0, b"durable");
    settle(&mut store);
    let durable = store.durable().0;
    let segment = |at: u64| at - at % short_segments().segment_bytes;
    while segment(store.end().0) == segment(durable) {
        send(&mut store, "t", 0, &[1; 500]);
    }
    send(&mut store, "t", 0, b"in the next segment");
    store.write().unwrap();
    drop(store);
    let file = format!("log/{:020}", segment(durable));
    let mut bytes = disk.bytes(&file).unwrap();
    bytes.truncate((durable - segment(durable)) as usize + 100);
    disk.set_bytes(&file, bytes);
    let (_, report) = open_with(disk, short_segments());
    report.cut.unwrap().saved
}

#[test]
fn a_segment_that_is_cut_as_a_whole_is_kept_and_not_over_one_that_was_cut_before() {
    let disk = MemoryDisk::new();
    let first = cut_a_whole_segment(&disk);
    let kept: Vec<_> = first.iter().map(|name| disk.bytes(name).unwrap()).collect();
    assert_eq!(kept.len(), 2);
    let second = cut_a_whole_segment(&disk);
    assert_eq!(second.len(), 2);
    assert_eq!(second[1], format!("{}-1", first[1]));
    for (name, bytes) in first.iter().zip(kept) {
        assert_eq!(disk.bytes(name).unwrap(), bytes);
    }
}
