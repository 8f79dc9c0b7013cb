//! Who was asked last about a half, for those who look at it. Checks are not logged, so this is what memory
//! still has: the latest few thousand checks.

use std::collections::VecDeque;

use escrow_store::HalfSeq;

const KEPT_MAX: usize = 4_096;

/// A check that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Client id of who was asked; empty if it has not given one.
    pub client_id: String,
    /// Its `ip:port`.
    pub address: String,
    /// Wall time in milliseconds.
    pub at_ms: i64,
}

/// The latest checks, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RecentlyAsked {
    checks: VecDeque<(HalfSeq, Asked)>,
}

impl RecentlyAsked {
    pub(crate) fn add(&mut self, seq: HalfSeq, asked: Asked) {
        if self.checks.len() == KEPT_MAX {
            self.checks.pop_front();
        }
        self.checks.push_back((seq, asked));
    }

    pub(crate) fn last(&self, seq: HalfSeq) -> Option<&Asked> {
        let mut latest_first = self.checks.iter().rev();
        latest_first
            .find(|(other, _)| *other == seq)
            .map(|(_, asked)| asked)
    }
}
