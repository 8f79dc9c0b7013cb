//! A sync that fails and forgets: reads still show what was not written, no later sync writes it, and a power loss shows that it
//! never was there. A process that is started again meanwhile, without a restart of the machine, must not believe what it reads.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::model::{Model, script};
use common::*;
use escrow_store::memory_disk::Loss;
use escrow_store::{Durability, Error, HalfState, MemoryDisk, OpKind, Settings, Store};

/// Small enough that a round closes segments.
fn settings() -> Settings {
    Settings {
        segment_bytes: 8192,
        record_bytes_max: 2048,
        ..Settings::tiny()
    }
}

/// A store that was killed after its last sync forgot what all rounds of `script` but the first had written; and where the log
/// ended when the first was synced.
fn killed_after(rounds: u8) -> (MemoryDisk, Model, u64) {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let mut model = Model::default();
    script(&mut model, &mut store, 0);
    settle(&mut store);
    let durable = store.durable().0;
    for round in 1..=rounds {
        script(&mut model, &mut store, round);
        store.write().unwrap();
    }
    disk.forget_at_sync_after(0);
    store.sync().unwrap_err();
    (disk.kill(), model, durable)
}

#[test]
fn what_opens_after_a_sync_that_forgot_survives_a_power_loss() {
    for rounds in 1..6 {
        let (disk, model, _) = killed_after(rounds);
        let (store, report) = open_with(&disk, settings());
        assert_eq!(report.cut, None, "the page cache shows all of it");
        model.check(&store);
        let (store, report) = open_with(&disk.crash(Loss::All), settings());
        assert!(report.damaged.is_empty(), "{:?}", report.damaged);
        model.check(&store);
    }
}

#[test]
fn a_failure_while_the_log_is_written_again_costs_nothing_that_was_durable() {
    let (killed, model, durable) = killed_after(3);
    for syncs in 0.. {
        let disk = killed.kill();
        disk.forget_at_sync_after(syncs);
        let opened = Store::open(Arc::new(disk.clone()), settings(), NOW);
        let is_open = opened.is_ok();
        drop(opened);
        for seed in 0..8 {
            let (store, report) = open_with(&disk.crash(Loss::Torn(seed)), settings());
            assert!(report.damaged.is_empty(), "{:?}", report.damaged);
            let end = report.cut.map_or(store.end(), |cut| cut.offset).0;
            assert!(end >= durable, "the first round was synced");
            let mut kept = model.clone();
            kept.truncate(end);
            kept.check(&store);
        }
        if is_open {
            return;
        }
    }
}

#[test]
fn a_first_segment_whose_header_was_forgotten_is_written_again() {
    let disk = MemoryDisk::new();
    disk.forget_at_sync_after(0);
    Store::open(Arc::new(disk.clone()), settings(), NOW).unwrap_err();
    let disk = disk.kill();
    open_with(&disk, settings());
    let log = disk
        .crash(Loss::All)
        .bytes("log/00000000000000000000")
        .unwrap();
    assert_eq!(&log[..8], b"ESCROWLG");
}

#[test]
fn a_page_that_a_failed_checkpoint_left_behind_is_written_again_by_the_next_one() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let first = half(&mut store, "T", 0, "first", b"1");
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    commit(&mut store, first.seq, 0);
    settle(&mut store);
    // The log is synced, the half queue's page is not.
    let job = store.begin_checkpoint(NOW).unwrap().unwrap();
    disk.forget_at_sync_after(0);
    store.finish_checkpoint(job.run()).unwrap_err();
    let disk = disk.kill();
    let (mut store, _) = open(&disk);
    send(&mut store, "T", 1, b"2");
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    let (mut store, _) = open(&disk.crash(Loss::All));
    let entry = store.half(first.seq).unwrap();
    assert_eq!(entry.state, HalfState::Committed);
    let again = store.append_op(NOW, first.seq, &op(OpKind::Rollback), Durability::Synced);
    assert!(matches!(again, Err(Error::AlreadyDecided)));
}
