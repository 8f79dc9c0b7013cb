//! Everything that the store reads from a disk, through the one door that reads it: [`Store::open`] on a disk in memory.
//! Whatever is there, opening must not panic and must not size anything by what it has not checked; what it accepts must be
//! the same at the next open, and the store must go on from there. Shared by the corpus test and the fuzz targets.

use std::sync::Arc;

use escrow_store::{Error, MemoryDisk, Settings, Store};

mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod folder;
mod input;
mod log;
mod pages;
mod seal;
mod shown;

use common::NOW;
use shown::Shown;

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 4] = [
    ("log", log),
    ("checkpoint", checkpoint),
    ("pages", pages),
    ("recovery", recovery),
];

/// A log of records with good checksums and any content: heads, bodies of every kind, op records.
pub(crate) fn log(data: &[u8]) {
    survive(&log::write(data), Derived::None);
}

/// Any checkpoint with a good checksum, beside a good log and its derived files.
pub(crate) fn checkpoint(data: &[u8]) {
    survive(&checkpoint::write(data), Derived::Forged);
}

/// Any half-queue page, consume-queue page or page of the key index, with good checksums, in a good folder.
pub(crate) fn pages(data: &[u8]) {
    survive(&pages::write(data), Derived::Forged);
}

/// A good data folder, damaged anywhere: bytes, lengths and names, with and without checksums that hide it.
pub(crate) fn recovery(data: &[u8]) {
    let (disk, derived) = folder::write(data);
    survive(&disk, derived);
}

/// What checkpoint and derived files say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Derived {
    /// There are none.
    None,
    /// What the log says, or damage that a checksum tells.
    FromTheLog,
    /// Anything, behind good checksums: when they are rebuilt, something else may be shown.
    Forged,
}

const SEGMENT_BYTES: usize = 8 << 10;

fn settings() -> Settings {
    Settings {
        segment_bytes: SEGMENT_BYTES as u64,
        record_bytes_max: 3 << 10,
        unsynced_bytes_max: 4 << 10,
        checkpoint_bytes: 16 << 10,
        tail_cache_bytes: 1 << 10,
        relocate_after: std::time::Duration::from_secs(3600),
        ..Settings::tiny()
    }
}

fn open(disk: &MemoryDisk) -> Result<Store, Error> {
    Store::open(Arc::new(disk.clone()), settings(), NOW).map(|(store, _)| store)
}

/// Opens what is on the disk, twice, and goes on.
fn survive(disk: &MemoryDisk, derived: Derived) {
    let Ok((store, found)) = Store::open(Arc::new(disk.clone()), settings(), NOW) else {
        // Refused, in words: newer, foreign. It must be so again.
        assert!(open(disk).is_err(), "refused once is refused again");
        return;
    };
    let first = Shown::of(&store);
    if derived == Derived::FromTheLog {
        shown::each_handle_leads_to_its_half(&store);
    }
    drop(store);
    let (mut store, report) =
        Store::open(Arc::new(disk.clone()), settings(), NOW).expect("opened once opens again");
    assert!(report.cut.is_none(), "cut twice: {report:?}");
    first.must_be(&Shown::of(&store), "two opens agree");
    go_on(&mut store);
    let then = Shown::of(&store);
    drop(store);
    let (store, last) = match Store::open(Arc::new(disk.clone()), settings(), NOW) {
        Ok(opened) => opened,
        // A newer version's record below the checkpoint, which was given up.
        Err(Error::OtherFormat { .. }) => return,
        Err(error) => panic!("opens after going on: {error}"),
    };
    // What damage hid in the log, pages that were written before it may tell later; and damage below a checkpoint is met only
    // when its files are given up.
    let is_whole = found.damaged.is_empty() && last.damaged.is_empty();
    // So do files that were written before durable bytes of the log were cut, until they are given up.
    let is_whole = is_whole && (found.cut.is_none() || last.checkpoint.is_some());
    if derived == Derived::None || (derived == Derived::FromTheLog && is_whole) {
        then.must_be(&Shown::of(&store), "what was appended is there");
    }
}

/// A little of everything, as if nothing had been.
fn go_on(store: &mut Store) {
    common::send(store, "T", 0, b"on");
    let half = common::half(store, "U", 1, "UX", b"on");
    let open = common::half(store, "T", 0, "UY", b"open");
    common::commit(store, half.seq, 1);
    common::settle(store);
    // One that meets damage in derived files fails; a later one gives them up.
    assert!((0..3).any(|_| store.checkpoint(NOW).is_ok()));
    common::apply(store, open.seq, escrow_store::OpKind::Park);
    common::settle(store);
}
