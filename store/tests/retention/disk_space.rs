//! What makes segments leave: time, the hour, and how full the disk is.

use escrow_protocol::transaction::Resolution;
use escrow_store::{Durability, MemoryDisk, OpKind, Settings, SpaceState, Store, Upkeep};

use crate::common::*;
use crate::{HOUR, retain, roll};

#[test]
fn a_log_that_grows_fast_does_not_fill_the_disk_between_two_steps() {
    let disk = MemoryDisk::new();
    let limits = Settings {
        segment_bytes: 64 << 10,
        free_bytes_clean: 40_000,
        free_bytes_refuse: 40_000,
        ..short_segments()
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
        ..short_segments()
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
fn a_share_of_the_disk_rules_instead_of_free_bytes_where_one_is_set() {
    let disk = MemoryDisk::new();
    let settings = Settings {
        free_bytes_clean: 8000,
        used_percent_clean: Some(75),
        delete_hours: vec![4],
        ..short_segments()
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
        ..short_segments()
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
