//! One half as the ledger knows it.

use std::collections::BTreeSet;

use super::{Promise, QueueKey};

/// A half's number in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HalfId(pub(crate) usize);

/// What can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

/// What became of it, and where the log record ends that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Undecided,
    Committed {
        queue: QueueKey,
        offset: u64,
        end: u64,
    },
    RolledBack {
        end: u64,
    },
}

impl Fate {
    pub(crate) fn decision(self) -> Option<Decision> {
        match self {
            Fate::Undecided => None,
            Fate::Committed { .. } => Some(Decision::Commit),
            Fate::RolledBack { .. } => Some(Decision::Rollback),
        }
    }

    pub(crate) fn end(self) -> u64 {
        match self {
            Fate::Undecided => 0,
            Fate::Committed { end, .. } | Fate::RolledBack { end } => end,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Half {
    pub(crate) key: String,
    pub(crate) group: u64,
    pub(crate) topic: u64,
    pub(crate) queue_id: i32,
    pub(crate) body: Vec<u8>,
    /// What its sender was, or will be, answered.
    pub(crate) handle: u64,
    pub(crate) seq: u64,
    pub(crate) end: u64,
    pub(crate) stored_mono_ms: u64,
    pub(crate) first_check_ms: u64,
    /// To its sender, that it is stored.
    pub(crate) promise: Promise,
    pub(crate) fate: Fate,
    /// To whoever was told of that fate, or has seen the message.
    pub(crate) fate_promise: Promise,
    /// Consumers that have read it.
    pub(crate) delivered: BTreeSet<usize>,
    /// Answers UNKNOWN that counted, at most so many.
    pub(crate) counted: u32,
    /// A bit was turned over in a record of it.
    pub(crate) touched: bool,
}

impl Half {
    /// Decided, and its record has left the log: nobody need know it any more.
    pub(crate) fn is_retired(&self, log_start: u64) -> bool {
        self.fate != Fate::Undecided && self.handle < log_start
    }
}
