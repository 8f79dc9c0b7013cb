//! Up to when everything of a producer group is decided: what its database may forget.

use escrow_store::{NameId, Oldest, PhysicalOffset, Store};

use crate::clock::Now;
use crate::coordinator::Coordinator;

/// Halfs looked at in one call.
const LOOKED_AT_MAX: usize = 50_000;

/// How far a producer group's halfs are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Every half of the group with an earlier store time is decided, and no later half gets one. Milliseconds.
    pub at_ms: i64,
    /// How many of its halfs are undecided, pending or parked. Halfs that lost their group to damage count for every group.
    pub undecided: u64,
    /// The handle of the oldest of them.
    pub oldest: Option<PhysicalOffset>,
}

impl Coordinator {
    /// The purge watermark of a group, which need not have had a half. It must not be told before everything staged is
    /// durable: the decisions that raised it could be lost. `None`: not found yet, call again.
    ///
    /// # Errors
    /// The store is poisoned, or its disk failed.
    pub fn watermark(
        &mut self,
        store: &mut Store,
        now: Now,
        group: &str,
    ) -> Result<Option<Watermark>, escrow_store::Error> {
        self.observe(now);
        let mut watermark = Watermark {
            at_ms: store.clock(now.wall_ms)?,
            undecided: 0,
            oldest: None,
        };
        for group in store.name_id(group).into_iter().chain([NameId::UNKNOWN]) {
            watermark.undecided += store.undecided_of(group);
            match store.oldest_undecided_of(group, LOOKED_AT_MAX) {
                Oldest::None => {}
                Oldest::NotYet => return Ok(None),
                Oldest::Half(_, half) => {
                    let is_older = watermark.oldest.is_none_or(|oldest| half.handle < oldest);
                    if is_older {
                        watermark.at_ms = half.store_timestamp;
                        watermark.oldest = Some(half.handle);
                    }
                }
            }
        }
        Ok(Some(watermark))
    }
}
