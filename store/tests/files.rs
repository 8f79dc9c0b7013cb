//! The store on real files: lock, format, the spare segment, many halfs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::model::{Model, script};
use common::*;
use escrow_store::{Error, FileDisk, HalfSeq, MemoryDisk, OpKind, Settings, Store};

#[test]
fn a_store_on_files_lives_through_reopens() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    for round in 0..6 {
        let disk = Arc::new(FileDisk::open(folder.path()).unwrap());
        let (mut store, report) = Store::open(disk, Settings::tiny(), NOW).unwrap();
        assert!(report.is_clean());
        model.check(&store);
        script(&mut model, &mut store, round);
        settle(&mut store);
        if round % 2 == 1 {
            store.checkpoint(NOW).unwrap();
        }
        store.free_space().unwrap();
        model.check(&store);
    }
}

#[test]
fn a_folder_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Store::open(
            Arc::new(FileDisk::open(folder.path()).unwrap()),
            Settings::tiny(),
            NOW,
        )
    };
    let first = open().unwrap();
    assert!(matches!(open(), Err(Error::Locked)));
    drop(first);
    open().unwrap();
}

#[test]
fn a_newer_store_is_refused() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    send(&mut store, "T", 0, b"x");
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    drop(store);
    let name = "checkpoint/1";
    let mut bytes = disk.bytes(name).unwrap();
    bytes[12] = 3;
    let crc = crc_fast::crc32_iscsi(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(name, bytes);
    let refused = Store::open(Arc::new(disk.clone()), Settings::tiny(), NOW);
    assert!(matches!(
        refused,
        Err(Error::OtherFormat {
            found: 3,
            known: 2,
            ..
        })
    ));
}

#[test]
fn the_spare_segment_is_taken_when_it_is_ready() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let mut model = Model::default();
    let preallocator = store.preallocator();
    assert!(!preallocator.step().unwrap(), "an idle store needs none");
    let mut round = 0;
    while store.end().0 < 100 << 10 {
        script(&mut model, &mut store, round);
        round = (round + 1) % 100;
        settle(&mut store);
        while preallocator.step().unwrap() {}
    }
    model.check(&store);
    let second = disk.bytes("log/00000000000000065536").unwrap();
    assert_eq!(
        second.len(),
        64 << 10,
        "the whole segment was there before it was needed"
    );
    drop(store);
    let (store, report) = open(&disk.kill());
    assert!(report.is_clean(), "{report:?}");
    model.check(&store);
}

#[test]
fn the_spare_segment_does_not_take_the_last_room_of_the_disk() {
    const MIB: u64 = 1 << 20;
    let disk = MemoryDisk::new();
    let settings = Settings {
        segment_bytes: 4 * MIB,
        free_bytes_refuse: 10 * MIB,
        ..Settings::tiny()
    };
    disk.set_free_bytes(14 * MIB);
    let (mut store, _) = open_with(&disk, settings);
    while store.end().0 < MIB / 2 {
        half(&mut store, "T", 0, "U", &[7; 10_000]);
        settle(&mut store);
    }
    let has_spare = || disk.names().contains(&"log/spare".to_owned());
    let preallocator = store.preallocator();
    assert!(preallocator.step().unwrap() && preallocator.step().unwrap());
    assert!(has_spare());
    disk.set_free_bytes(12 * MIB);
    assert!(!preallocator.step().unwrap(), "three MiB are missing");
    assert!(!has_spare(), "and what was taken is given back");
    assert!(!preallocator.step().unwrap());
    assert!(!has_spare());
    disk.set_free_bytes(14 * MIB);
    while preallocator.step().unwrap() {}
    assert!(has_spare());
}

#[test]
fn opening_reads_pages_of_undecided_halfs_only() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        segment_bytes: 64 << 20,
        unsynced_bytes_max: 64 << 20,
        ..Settings::tiny()
    };
    let (mut store, _) = open_with(&disk, settings.clone());
    for seq in 0..20_000_u64 {
        half(&mut store, "T", 0, "U", b"body");
        if seq % 1000 != 0 {
            apply(&mut store, HalfSeq(seq), OpKind::Rollback);
        }
    }
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    let before: Vec<_> = store.undecided().collect();
    assert_eq!(before.len(), 20);
    assert!(
        store.half(HalfSeq(1)).is_some(),
        "decided halfs come from the file"
    );
    drop(store);
    let (store, report) = open_with(&disk.kill(), settings);
    assert_eq!(report.records, 0);
    assert_eq!(store.undecided().collect::<Vec<_>>(), before);
    let last = store.half(HalfSeq(19_999)).unwrap();
    assert_eq!(
        store.half_at(last.handle).unwrap(),
        escrow_store::HalfLookup::Half(HalfSeq(19_999), last)
    );
}
