//! A sync that runs while the log goes on: what it covers, who is told of it, and what a crash or a failure leaves.

mod common;

use common::{NOW, commit, half, open, send};
use escrow_store::memory_disk::Loss;
use escrow_store::{Arrival, Durability, Error, MemoryDisk, QueueOffset, Settling, Store, Waiting};

/// Who was told what, in order.
#[derive(Default)]
struct Told(Vec<(&'static str, bool)>);

impl Settling<&'static str> for Told {
    fn show(&mut self, _: Vec<Arrival>) {}

    fn tell(&mut self, waiting: &mut Vec<&'static str>, result: &Result<(), Error>) {
        self.0
            .extend(waiting.drain(..).map(|who| (who, result.is_ok())));
    }
}

fn round(waiting: &mut Waiting<&'static str>, store: &mut Store, told: &mut Told) {
    assert!(waiting.write(store, false, told).unwrap().is_none());
}

#[test]
fn who_comes_while_a_sync_is_on_its_way_waits_for_the_next_one() {
    let (mut store, _) = open(&MemoryDisk::new());
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    half(&mut store, "T", 0, "U1", b"a");
    waiting.push(Durability::Synced, "first");
    let job = waiting
        .write(&mut store, false, &mut told)
        .unwrap()
        .unwrap();
    half(&mut store, "T", 0, "U2", b"b");
    waiting.push(Durability::Synced, "second");
    waiting.push(Durability::Written, "plain");
    round(&mut waiting, &mut store, &mut told);
    assert_eq!(told.0, [("plain", true)]);
    assert_eq!(waiting.last_need(), Durability::Synced);

    let until = store.written();
    waiting.synced(&mut store, job.run(), &mut told).unwrap();
    assert!(store.durable() < until, "the second half is not durable");
    assert_eq!(told.0, [("plain", true), ("first", true)]);
    assert!(waiting.settle(&mut store, false, &mut told).unwrap());
    assert_eq!(told.0.last(), Some(&("second", true)));
    assert_eq!(store.durable(), until);
    assert_eq!(waiting.last_need(), Durability::Written);
}

#[test]
fn a_commit_is_not_shown_by_a_sync_that_began_before_it() {
    let (mut store, _) = open(&MemoryDisk::new());
    let reader = store.reader();
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    let placed = half(&mut store, "T", 0, "U1", b"a");
    waiting.push(Durability::Synced, "half");
    let job = waiting
        .write(&mut store, false, &mut told)
        .unwrap()
        .unwrap();
    commit(&mut store, placed.seq, 0);
    waiting.push(Durability::Synced, "commit");
    round(&mut waiting, &mut store, &mut told);
    waiting.synced(&mut store, job.run(), &mut told).unwrap();
    assert_eq!(reader.queue_range("T", 0).1, QueueOffset(0));
    waiting.settle(&mut store, false, &mut told).unwrap();
    assert_eq!(reader.queue_range("T", 0).1, QueueOffset(1));
}

#[test]
fn a_crash_takes_what_was_written_after_the_sync_began_and_nothing_else() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    // Over several segments, so that the sync has to cover those that were left, and their names.
    let mut sent = 0;
    while store.end().0 < 150 << 10 {
        send(&mut store, "T", 0, &[7; 3000]);
        sent += 1;
    }
    waiting.push(Durability::Synced, "all");
    let job = waiting
        .write(&mut store, false, &mut told)
        .unwrap()
        .unwrap();
    let done = job.run();
    send(&mut store, "T", 0, b"late");
    round(&mut waiting, &mut store, &mut told);
    waiting.synced(&mut store, done, &mut told).unwrap();
    assert_eq!(told.0, [("all", true)]);
    let crashed = disk.crash(Loss::All);
    drop(store);
    let (store, _) = open(&crashed);
    assert_eq!(store.reader().queue_range("T", 0).1, QueueOffset(sent));
}

#[test]
fn a_segment_that_was_left_while_a_sync_was_on_its_way_is_synced_by_the_next_one() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    send(&mut store, "T", 0, b"first");
    waiting.push(Durability::Synced, "first");
    let done = waiting
        .write(&mut store, false, &mut told)
        .unwrap()
        .unwrap()
        .run();
    let mut sent = 1;
    while store.end().0 < 80 << 10 {
        send(&mut store, "T", 0, &[7; 3000]);
        sent += 1;
    }
    waiting.push(Durability::Synced, "rest");
    round(&mut waiting, &mut store, &mut told);
    waiting.synced(&mut store, done, &mut told).unwrap();
    waiting.settle(&mut store, false, &mut told).unwrap();
    assert_eq!(told.0, [("first", true), ("rest", true)]);
    let crashed = disk.crash(Loss::All);
    drop(store);
    let (store, _) = open(&crashed);
    assert_eq!(store.reader().queue_range("T", 0).1, QueueOffset(sent));
}

#[test]
fn a_sync_that_fails_is_told_to_those_who_wait_for_it_and_poisons_the_store() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    half(&mut store, "T", 0, "U1", b"a");
    waiting.push(Durability::Synced, "first");
    disk.fail_sync_after(0);
    let job = waiting
        .write(&mut store, false, &mut told)
        .unwrap()
        .unwrap();
    let before = store.durable();
    half(&mut store, "T", 0, "U2", b"b");
    waiting.push(Durability::Synced, "second");
    round(&mut waiting, &mut store, &mut told);
    assert!(waiting.synced(&mut store, job.run(), &mut told).is_err());
    assert!(waiting.settle(&mut store, false, &mut told).is_err());
    assert_eq!(told.0, [("first", false), ("second", false)]);
    assert_eq!(store.durable(), before);
    let refused = store.append_message(NOW, &common::plain("T", 0, b"x", ""), Durability::Written);
    assert!(matches!(refused, Err(Error::Poisoned { .. })));
}

#[test]
fn who_needs_only_what_is_durable_already_does_not_wait() {
    let (mut store, _) = open(&MemoryDisk::new());
    let (mut waiting, mut told) = (Waiting::default(), Told::default());
    waiting.push(Durability::Synced, "nothing to sync");
    round(&mut waiting, &mut store, &mut told);
    assert_eq!(told.0, [("nothing to sync", true)]);
}
