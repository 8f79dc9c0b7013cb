//! Passes over all undecided halfs, a piece at a time, for the two events that concern an unknown many of
//! them: a sending client is gone, and somebody has come who may know about parked halfs.
//!
//! An index of halfs by client and by group would cost every pending half more than a pass costs the few
//! events; so the pass it is, in pieces that do not hold up the log.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use escrow_store::{HalfEntry, HalfSeq, HalfState, NameId, Store};

use crate::clock::Now;
use crate::coordinator::Coordinator;
use crate::policy::EXPEDITE_AGE_MIN_MS;
use crate::ready::Turn;
use crate::schedule::Tag;

/// Halfs looked at in one call.
const PIECE: usize = 10_000;

#[derive(Debug)]
struct Pass {
    from: HalfSeq,
    senders: BTreeSet<NameId>,
    groups: BTreeSet<NameId>,
}

/// The pass under way, and what the next one is for.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    /// Senders that left, with the time from which their halfs may be asked about.
    left: VecDeque<(u64, Arc<str>)>,
    joined: BTreeSet<Arc<str>>,
    pass: Option<Pass>,
}

impl Sweeps {
    /// The last connection of a sender is closed; `from` never decreases.
    pub(crate) fn sender_left(&mut self, from: u64, sender: Arc<str>) {
        self.left.push_back((from, sender));
    }

    /// Somebody is there to be asked for a group.
    pub(crate) fn somebody_joined(&mut self, group: &str) {
        if !self.joined.contains(group) {
            self.joined.insert(group.into());
        }
    }

    /// When there is something to do; 0 for at once.
    pub(crate) fn next_due(&self) -> Option<u64> {
        if self.pass.is_some() || !self.joined.is_empty() {
            return Some(0);
        }
        self.left.front().map(|(from, _)| *from)
    }
}

impl Coordinator {
    /// Does the next piece of the pass under way, or begins one if there is reason to.
    pub(crate) fn sweep(&mut self, store: &Store, now: Now) {
        let Some(mut pass) = self
            .sweeps
            .pass
            .take()
            .or_else(|| self.next_pass(store, now))
        else {
            return;
        };
        let mut looked_at = 0;
        for (seq, entry) in store.undecided_from(pass.from).take(PIECE) {
            looked_at += 1;
            pass.from = HalfSeq(seq.0 + 1);
            if pass.groups.contains(&entry.group) && entry.state == HalfState::Parked {
                self.ask_about_parked(store, now, seq, &entry);
            } else if pass.senders.contains(&entry.client) && entry.state == HalfState::Pending {
                self.expedite(store, now, seq, &entry);
            }
        }
        if looked_at == PIECE {
            self.sweeps.pass = Some(pass);
        }
    }

    fn next_pass(&mut self, store: &Store, now: Now) -> Option<Pass> {
        let mut pass = Pass {
            from: HalfSeq(0),
            senders: BTreeSet::new(),
            groups: BTreeSet::new(),
        };
        while let Some((_, sender)) = self
            .sweeps
            .left
            .pop_front_if(|(from, _)| *from <= now.mono_ms)
        {
            // Whoever is back within the second has only lost a connection: its transactions are alive.
            if !self.members.is_connected(&sender) {
                pass.senders.extend(store.name_id(&sender));
            }
        }
        let joined = std::mem::take(&mut self.sweeps.joined);
        if store.undecided_counts().1 > 0 {
            pass.groups
                .extend(joined.iter().filter_map(|group| store.name_id(group)));
        }
        let has_reason = !(pass.senders.is_empty() && pass.groups.is_empty());
        has_reason.then_some(pass)
    }

    fn ask_about_parked(&mut self, store: &Store, now: Now, seq: HalfSeq, entry: &HalfEntry) {
        if !entry.is_log_damaged() && self.flights.get(seq).is_none() {
            self.make_ready(store, now, seq, entry, Turn::InOrder);
        }
    }

    /// The sender is gone: asks about its half as soon as the half's age allows, if that is sooner than it would
    /// be asked about anyway.
    fn expedite(&mut self, store: &Store, now: Now, seq: HalfSeq, entry: &HalfEntry) {
        if entry.is_log_damaged() || self.flights.get(seq).is_some() {
            return;
        }
        let policy = self.policy(store, entry);
        let age = self.timeline.age_ms(now, entry.store_timestamp);
        let asks_database =
            entry.declares_marker() && self.members.has_declared(store.name(entry.group));
        let age_min = if asks_database {
            policy.immunity_ms()
        } else {
            EXPEDITE_AGE_MIN_MS.max(policy.immunity_ms())
        };
        if entry.answered == 0 && age_min >= policy.first_check_ms.0 {
            return;
        }
        self.counters.expedited += 1;
        if age >= age_min {
            self.make_ready(store, now, seq, entry, Turn::InOrder);
        } else {
            let due = now.mono_ms.saturating_add(age_min - age);
            self.set_timer(store, due, Tag::new(seq, entry.answered.into(), 0));
        }
    }
}
