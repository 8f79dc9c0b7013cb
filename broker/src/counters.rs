//! What the remoting edge counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A peer chooses its codes, so only this many of them are told apart.
const CODES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    unsupported: Mutex<BTreeMap<i32, u64>>,
    /// Sends refused with SYSTEM_BUSY because the log thread's queue stayed full.
    pub(crate) sends_shed: AtomicU64,
    /// Plain messages acknowledged.
    pub(crate) messages_in: AtomicU64,
    /// Messages handed to consumers.
    pub(crate) messages_out: AtomicU64,
    /// Pulls that were sent past a damaged record.
    pub(crate) damaged: AtomicU64,
}

impl Counters {
    pub(crate) fn unsupported(&self, code: i32) {
        let mut by_code = self.unsupported.lock();
        if by_code.len() < CODES_MAX || by_code.contains_key(&code) {
            *by_code.entry(code).or_default() += 1;
        }
    }

    pub(crate) fn damaged_skipped(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// How often each unsupported request code came.
    pub(crate) fn unsupported_by_code(&self) -> BTreeMap<i32, u64> {
        self.unsupported.lock().clone()
    }
}
