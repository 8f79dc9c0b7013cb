//! What must hold, kept in the plainest way.

use std::collections::BTreeMap;

use escrow_coordinator::{Decision, HalfAck};
use escrow_store::{HalfEntry, HalfSeq, HalfState};

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A half that was stored.
#[derive(Debug, Clone)]
pub(crate) struct Half {
    pub(crate) ack: HalfAck,
    pub(crate) key: String,
    /// What its database says.
    pub(crate) commits: bool,
    /// When its database says so, on the monotonic clock.
    pub(crate) known_at: u64,
    /// What was answered to whoever decided it.
    pub(crate) decision: Option<Decision>,
    /// The half was acknowledged: it must never be lost.
    half_is_durable: bool,
    /// So was its decision.
    decision_is_durable: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    halfs: BTreeMap<u64, Half>,
}

impl Model {
    pub(crate) fn stored(&mut self, ack: HalfAck, key: String, commits: bool, known_at: u64) {
        let half = Half {
            ack,
            key,
            commits,
            known_at,
            decision: None,
            half_is_durable: false,
            decision_is_durable: false,
        };
        let before = self.halfs.insert(ack.seq.0, half);
        assert!(before.is_none(), "a half offset given twice");
    }

    pub(crate) fn half(&self, seq: u64) -> Option<&Half> {
        self.halfs.get(&seq)
    }

    /// Some half, the newest ones more often.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<Half> {
        let count = u64::try_from(self.halfs.len()).expect("few");
        let back = if rng.one_in(3) {
            rng.below(count)
        } else {
            rng.below(count.min(8))
        };
        self.halfs
            .values()
            .rev()
            .nth(usize::try_from(back).expect("few"))
            .cloned()
    }

    pub(crate) fn decided(&mut self, seq: u64, decision: Decision) {
        let half = self.halfs.get_mut(&seq).expect("stored");
        half.decision = Some(decision);
    }

    /// Everything said so far has been acknowledged.
    pub(crate) fn synced(&mut self) {
        for half in self.halfs.values_mut() {
            half.half_is_durable = true;
            half.decision_is_durable = half.decision.is_some();
        }
    }

    /// The monotonic clock begins anew `down_ms` later.
    pub(crate) fn forget_clock(&mut self, mono_ms: u64, down_ms: u64) {
        for half in self.halfs.values_mut() {
            half.known_at = half.known_at.saturating_sub(mono_ms + down_ms);
        }
    }

    /// What was acknowledged must still be so. What was not may be either way: then the store's word counts.
    pub(crate) fn crashed(&mut self, find: impl Fn(HalfSeq) -> Option<HalfEntry>) {
        self.halfs.retain(|seq, half| {
            let found = find(HalfSeq(*seq)).filter(|entry| entry.handle == half.ack.handle);
            let Some(entry) = found else {
                assert!(
                    !half.half_is_durable,
                    "an acknowledged half is lost: {half:?}"
                );
                return false;
            };
            let decision = match entry.state {
                HalfState::Pending | HalfState::Parked => None,
                HalfState::Committed => Some(Decision::Commit),
                HalfState::RolledBack => Some(Decision::Rollback),
            };
            if half.decision_is_durable {
                assert_eq!(
                    decision, half.decision,
                    "an acknowledged decision is lost: {half:?}"
                );
            } else {
                assert!(decision.is_none() || decision == half.decision, "{half:?}");
                half.decision = decision;
            }
            half.half_is_durable = true;
            half.decision_is_durable = decision.is_some();
            true
        });
    }

    /// Consumers see each committed half once, and nothing else.
    pub(crate) fn check_delivered(&self, delivered: &[String]) {
        let committed = self
            .halfs
            .values()
            .filter(|half| half.decision == Some(Decision::Commit));
        let mut expected: Vec<&str> = committed.map(|half| half.key.as_str()).collect();
        let mut delivered: Vec<&str> = delivered.iter().map(String::as_str).collect();
        expected.sort_unstable();
        delivered.sort_unstable();
        assert_eq!(delivered, expected);
    }

    pub(crate) fn undecided(&self) -> Vec<u64> {
        let undecided = self
            .halfs
            .iter()
            .filter(|(_, half)| half.decision.is_none());
        undecided.map(|(seq, _)| *seq).collect()
    }
}
