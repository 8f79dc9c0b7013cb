//! A read that fails says nothing about what is there: it is answered as an error, and nothing is cut, given up or forgotten
//! because of it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::model::{Model, script};
use common::*;
use escrow_store::memory_disk::Loss;
use escrow_store::{Durability, Error, ErrorKind, MemoryDisk, Op, OpKind, Settings, Store};

/// Small enough that a few rounds close segments, and that little is read from memory.
fn settings() -> Settings {
    Settings {
        segment_bytes: 8192,
        record_bytes_max: 2048,
        tail_cache_bytes: 1024,
        ..Settings::tiny()
    }
}

#[test]
fn a_read_that_fails_while_the_store_opens_costs_nothing() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let mut model = Model::default();
    for round in 0..4 {
        script(&mut model, &mut store, round);
        settle(&mut store);
        if round == 2 {
            store.checkpoint(NOW).unwrap();
        }
    }
    for reads in 0.. {
        let disk = disk.kill();
        disk.fail_read_after(reads);
        let opened = Store::open(Arc::new(disk.clone()), settings(), NOW);
        let is_open = match &opened {
            Ok((_, report)) => {
                assert_eq!(
                    (&report.cut, report.damaged.len()),
                    (&None, 0),
                    "read {reads}"
                );
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Stop, "read {reads}: {error}");
                false
            }
        };
        drop(opened);
        let (store, report) = open_with(&disk.crash(Loss::All), settings());
        assert_eq!(
            (&report.cut, report.damaged.len()),
            (&None, 0),
            "read {reads}"
        );
        model.check(&store);
        if is_open {
            assert!(reads > 10, "an open reads something");
            return;
        }
    }
}

#[test]
fn a_half_that_retention_cannot_read_this_time_is_carried_the_next_time() {
    let settings = Settings {
        file_reserved: Duration::from_secs(60),
        ..settings()
    };
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings);
    let waiting = half(&mut store, "T", 0, "waiting", b"body");
    for _ in 0..200 {
        send(&mut store, "T", 1, &[7; 200]);
    }
    settle(&mut store);
    let later = NOW + 3_600_000;
    disk.fail_read_after(0);
    let error = store.retention_step(later).unwrap_err();
    assert!(matches!(error, Error::Disk { .. }), "{error}");
    let start = store.reader().log_range().0;
    let mut report = store.retention_step(later).unwrap();
    while report.is_unfinished {
        report = store.retention_step(later).unwrap();
        assert_eq!(report.unreadable, 0);
    }
    assert!(store.reader().log_range().0 > start, "the segment has left");
    store.half_image(waiting.seq).unwrap();
}

#[test]
fn a_decision_whose_half_cannot_be_read_this_time_is_neither_lost_nor_made_up() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let decided = half(&mut store, "T", 0, "decided", b"body");
    commit(&mut store, decided.seq, 0);
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    disk.fail_read_after(0);
    assert!(store.kept_half(decided.seq).is_err());
    let attempt: Op<'_> = op(OpKind::Conflict {
        attempted: escrow_protocol::transaction::Resolution::Rollback,
    });
    let end = store.end();
    disk.fail_read_after(0);
    let refused = store.append_op(NOW, decided.seq, &attempt, Durability::Synced);
    assert!(matches!(refused, Err(Error::Disk { .. })), "{refused:?}");
    assert_eq!(store.end(), end, "nothing was written for it");
    store
        .append_op(NOW, decided.seq, &attempt, Durability::Synced)
        .unwrap();
    settle(&mut store);
    assert_eq!(store.op_history(decided.seq).unwrap().len(), 2);
}
