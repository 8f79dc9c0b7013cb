//! Segments leave from the head; what is undecided, and what only they said, is carried forward first.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod carried;
mod disk_space;
mod rebuilt;

use common::*;
use escrow_store::{Durability, Store};

const HOUR: i64 = 3_600_000;

/// Fills the current segment, and leaves it.
fn roll(store: &mut Store, now: i64) {
    let (_, end) = store.reader().log_range();
    let segment = end.0 / (12 << 10);
    while store.end().0 / (12 << 10) == segment {
        store
            .append_message(now, &plain("fill", 0, &[1; 2000], ""), Durability::Written)
            .unwrap();
    }
    settle(store);
}

fn retain(store: &mut Store, now: i64) -> u64 {
    let mut relocated = 0;
    loop {
        let report = store.retention_step(now).unwrap();
        relocated += report.relocated;
        if !report.is_unfinished {
            return relocated;
        }
    }
}
