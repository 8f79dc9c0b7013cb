//! Power loss and failing disks at every sync and every write: what was durable is there, what was not may be, and the store
//! that saw the failure acknowledges nothing more.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{Event, Model, script};
use common::*;
use escrow_store::memory_disk::Loss;
use escrow_store::{Durability, Error, ErrorKind, MemoryDisk, Settings, Store};

fn settings() -> Settings {
    // Small enough that the workload rolls.
    Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        unsynced_bytes_max: 8 << 10,
        ..Settings::tiny()
    }
}

/// Runs the workload until the disk fails; gives the model and what the store said was durable.
fn run(disk: &MemoryDisk) -> (Model, u64, bool) {
    let (mut store, _) = match Store::open(std::sync::Arc::new(disk.clone()), settings(), NOW) {
        Ok(opened) => opened,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Stop);
            return (Model::default(), 0, true);
        }
    };
    let mut model = Model::default();
    let mut durable = 0;
    for round in 0..12 {
        let appended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            script(&mut model, &mut store, round)
        }));
        let result = store.write().and_then(|()| store.sync());
        durable = store.durable().0.max(durable);
        if appended.is_err() || result.is_err() {
            assert!(
                matches!(store.write(), Err(Error::Poisoned { .. })),
                "nothing is acknowledged after a failure"
            );
            let refused = store.append_message(NOW, &plain("T", 0, b"", ""), Durability::Written);
            assert!(matches!(refused, Err(Error::Poisoned { .. })));
            let reader = store.reader();
            reader
                .entries("T", 0, escrow_store::QueueOffset(0), 10)
                .unwrap();
            return (model, durable, true);
        }
        store.publish();
        // A checkpoint that fails does no harm.
        if round % 4 == 3 && store.checkpoint(NOW).is_err() && store.write().is_err() {
            return (model, durable, true);
        }
    }
    (model, durable, false)
}

fn check_recovered(disk: &MemoryDisk, mut model: Model, durable: u64) {
    let (store, report) = open_with(disk, settings());
    assert!(
        report.damaged.is_empty() && report.parked.is_empty(),
        "{report:?}"
    );
    let goes_on = report.cut.map_or(store.end(), |cut| cut.offset).0;
    assert!(
        goes_on >= durable,
        "what was durable is there: {goes_on} {durable}"
    );
    model.truncate(goes_on);
    model.check(&store);
}

#[test]
fn power_loss_at_every_sync() {
    let disk = MemoryDisk::new();
    let (_, _, failed) = run(&disk);
    assert!(!failed);
    for syncs in 0..disk.syncs() {
        let disk = MemoryDisk::new();
        disk.fail_sync_after(syncs);
        let (model, durable, _) = run(&disk);
        check_recovered(&disk.crash(Loss::All), model.clone(), durable);
        for seed in 0..3 {
            check_recovered(
                &disk.crash(Loss::Torn(seed * 1000 + syncs)),
                model.clone(),
                durable,
            );
        }
        check_recovered(&disk.kill(), model, durable);
    }
}

#[test]
fn the_disk_fails_at_every_write() {
    let disk = MemoryDisk::new();
    run(&disk);
    for writes in 0..disk.writes() {
        let disk = MemoryDisk::new();
        disk.fail_write_after(writes);
        let (model, durable, _) = run(&disk);
        check_recovered(&disk.crash(Loss::All), model.clone(), durable);
        check_recovered(&disk.crash(Loss::Torn(writes)), model.clone(), durable);
        check_recovered(&disk.kill(), model, durable);
    }
}

#[test]
fn a_crash_between_the_steps_of_a_checkpoint_is_harmless() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, settings());
    let mut model = Model::default();
    script(&mut model, &mut store, 0);
    settle(&mut store);
    store.checkpoint(NOW).unwrap();
    script(&mut model, &mut store, 1);
    let job = store.begin_checkpoint(NOW).unwrap().unwrap();
    assert!(
        store.begin_checkpoint(NOW).unwrap().is_none(),
        "one at a time"
    );
    // Goes on while the checkpoint is on its way.
    model.append(
        &mut store,
        Event::Op {
            seq: 0,
            kind: escrow_store::OpKind::Conflict {
                attempted: escrow_protocol::transaction::Resolution::Rollback,
            },
        },
    );
    script(&mut model, &mut store, 4);
    settle(&mut store);
    let before = disk.kill();
    let done = job.run();
    let after = disk.kill();
    store.finish_checkpoint(done).unwrap();
    model.check(&store);
    let durable = store.durable().0;
    for disk in [before, after, disk.kill(), disk.crash(Loss::All)] {
        check_recovered(&disk, model.clone(), durable);
    }
}
