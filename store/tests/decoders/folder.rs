//! Good data folders, made once, and what can happen to them.

use std::sync::OnceLock;

use escrow_store::{MemoryDisk, OpKind, Store};

use super::input::Input;
use super::{Derived, NOW, SEGMENT_BYTES, common, open, seal};

const HOUR: i64 = 3_600_000;

/// One byte for the folder, then what is done to it.
pub(super) fn write(data: &[u8]) -> (MemoryDisk, Derived) {
    let mut input = Input::new(data);
    let disk = good(input.u8());
    let names = disk.names();
    let mut derived = Derived::FromTheLog;
    while !input.is_empty() {
        if harm(&disk, &names, &mut input) {
            derived = Derived::Forged;
        }
    }
    (disk, derived)
}

/// A copy of one of them.
pub(super) fn good(number: u8) -> MemoryDisk {
    static GOOD: OnceLock<Vec<MemoryDisk>> = OnceLock::new();
    let all = GOOD.get_or_init(|| vec![without_checkpoint(), with_checkpoint(), long_lived()]);
    let disk = &all[usize::from(number) % all.len()];
    disk.kill()
}

fn begin() -> (MemoryDisk, Store) {
    let disk = MemoryDisk::new();
    let store = open(&disk).expect("an empty disk can be opened");
    (disk, store)
}

/// Some of everything, in every state.
fn fill(store: &mut Store, rounds: u64) {
    for round in 0..rounds {
        common::send(store, "U", 1, b"plain");
        let first = common::half(store, "T", 0, &format!("U{round}"), b"one");
        let second = common::half(store, "T", 1, "K", b"two");
        let resolution = escrow_protocol::transaction::Resolution::Unknown;
        common::apply(store, second.seq, OpKind::Answer { resolution });
        match round % 3 {
            0 => common::commit(store, first.seq, 0),
            1 => common::apply(store, first.seq, OpKind::Rollback),
            _ => common::apply(store, first.seq, OpKind::Park),
        };
        store.set_meta(NOW, "key", b"value").expect("it has room");
        common::settle(store);
    }
}

/// The newest records were never known to be durable.
fn without_checkpoint() -> MemoryDisk {
    let (disk, mut store) = begin();
    fill(&mut store, 2);
    common::send(&mut store, "T", 0, b"new");
    store.write().expect("the disk is good");
    drop(store);
    disk
}

fn with_checkpoint() -> MemoryDisk {
    let (disk, mut store) = begin();
    fill(&mut store, 3);
    store.checkpoint(NOW).expect("the disk is good");
    fill(&mut store, 1);
    drop(store);
    disk
}

/// Several segments, the first of which has left; runs that were merged; halfs that were carried.
fn long_lived() -> MemoryDisk {
    let (disk, mut store) = begin();
    for round in 0..9 {
        fill(&mut store, 1);
        if round % 3 == 0 {
            common::send(&mut store, "fill", 0, &[1; 2500]);
        }
        store.checkpoint(NOW).expect("the disk is good");
    }
    while store
        .retention_step(NOW + 80 * HOUR)
        .expect("the disk is good")
        .is_unfinished
    {}
    fill(&mut store, 1);
    store.checkpoint(NOW).expect("the disk is good");
    fill(&mut store, 1);
    drop(store);
    disk
}

/// Does one thing to one file. True if checksums hide it.
fn harm(disk: &MemoryDisk, names: &[String], input: &mut Input<'_>) -> bool {
    let Some(name) = input.pick(names) else {
        return false;
    };
    let mut bytes = disk.bytes(&name).unwrap_or_default();
    let at = usize::from(input.u16());
    let how = input.u8();
    match how & 7 {
        0 => bytes.truncate(at),
        1 => {
            // Longer, though not without end.
            let len = bytes.len().max(at.min(2 * SEGMENT_BYTES));
            bytes.resize(len, how);
        }
        2 => bytes = Vec::new(),
        // Another file's content.
        3 => bytes = disk.bytes(&names[at % names.len()]).unwrap_or_default(),
        4 => {
            let patch = input.bytes(8);
            overwrite(&mut bytes, at, patch);
        }
        5 => {
            let end = (at + usize::from(input.u8())).min(bytes.len());
            if let Some(range) = bytes.get_mut(at..end) {
                range.fill(0);
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= input.u8();
            }
        }
    }
    let hidden = how & 0x80 != 0;
    if hidden {
        reseal(&name, &mut bytes, at);
    }
    disk.set_bytes(&name, bytes);
    // Another file's content may be good where it is.
    hidden || how & 7 == 3
}

fn overwrite(bytes: &mut [u8], at: usize, patch: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(patch) {
        *place = *byte;
    }
}

/// Makes the checksums around `at` good.
fn reseal(name: &str, bytes: &mut [u8], at: usize) {
    if name.starts_with("checkpoint/") {
        seal::checkpoint(bytes);
    } else if name.starts_with("log/") {
        if at < 4096 {
            seal::segment(bytes);
        } else if let Some((start, end)) = seal::records(bytes)
            .into_iter()
            .find(|(start, end)| (*start..*end).contains(&at))
        {
            seal::record(&mut bytes[start..end]);
        }
    } else {
        let start = at / 4096 * 4096;
        if let Some(page) = bytes.get_mut(start..start + 4096) {
            seal::page(page);
        }
    }
}
