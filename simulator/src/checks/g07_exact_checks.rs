//! G7: checks come when they are due, to somebody who is there, one at a time; only an answered UNKNOWN counts.

use std::collections::{BTreeMap, BTreeSet};

use escrow_coordinator::{CheckRequest, EndOutcome};
use escrow_store::{HalfState, Store};

use super::{Broken, Check, ensure};
use crate::model::{Fate, HalfId, Model};
use crate::seen::{Ended, Seen};

/// What a check may come later than its time: the batch before it, and others that are due at the same time.
const SLACK_MS: u64 = 20;
/// How long an answer is awaited.
const ANSWER_MS: u64 = 8_000;
/// A round in which everybody is silent, and some more.
const ROUND_MS: u64 = 60_000;
/// How often a parked half is asked about.
const PARKED_MS: u64 = 3_600_000;
/// With more checks under way than this, the next may have to wait for its turn.
const BUSY: usize = 24;

#[derive(Debug, Default)]
pub(super) struct ExactChecks {
    /// Who is there, by group and connection, and since when somebody is.
    members: BTreeMap<u64, BTreeSet<u64>>,
    somebody_since: BTreeMap<u64, u64>,
    /// Checks that are out: whom, and when.
    asked: BTreeMap<HalfId, (u64, u64)>,
    /// First checks whose time is known to the millisecond.
    exact: BTreeMap<HalfId, u64>,
    /// Since when nothing has happened to a half that would make it wait anew.
    waits_since: BTreeMap<HalfId, u64>,
    up_since: u64,
}

impl Check for ExactChecks {
    fn guarantee(&self) -> &'static str {
        "G7 exact checks"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        let now = model.mono_ms;
        match seen {
            Seen::Stored { half: id, is_open } => {
                // One whose sender is gone already is asked about early.
                if *is_open {
                    let due = now + model.half(*id).first_check_ms;
                    self.exact.insert(*id, due);
                }
                self.waits_since.insert(*id, now);
            }
            Seen::Joined { group, connection } => self.joined(now, *group, *connection),
            Seen::Left { connection } => self.left(model, *connection),
            Seen::Touched(id) => {
                self.exact.remove(id);
            }
            Seen::Ended(ended) => return self.ended(model, ended),
            Seen::Operated {
                half,
                said: Some(_),
                ..
            } => {
                self.asked.remove(half);
                self.exact.remove(half);
            }
            Seen::NotSent { seq } => {
                if let Some(id) = model.by_seq(*seq) {
                    self.asked.remove(&id);
                }
            }
            Seen::Checks(checks) => {
                for check in *checks {
                    self.check(model, check)?;
                }
            }
            Seen::Crashed => {
                let up_since = self.up_since;
                *self = ExactChecks::default();
                self.up_since = up_since;
            }
            Seen::Opened { .. } => self.up_since = now,
            Seen::Audit { store, .. } => return self.audit(model, store),
            _ => {}
        }
        Ok(())
    }
}

impl ExactChecks {
    fn joined(&mut self, now: u64, group: u64, connection: u64) {
        let members = self.members.entry(group).or_default();
        if members.is_empty() {
            self.somebody_since.insert(group, now);
        }
        members.insert(connection);
    }

    /// Halfs of who is gone are asked about early, so their time is no longer known.
    fn left(&mut self, model: &Model, connection: u64) {
        for (group, members) in &mut self.members {
            if members.remove(&connection) {
                self.exact.retain(|id, _| model.half(*id).group != *group);
            }
        }
        self.asked.retain(|_, (asked, _)| *asked != connection);
    }

    fn ended(&mut self, model: &Model, ended: &Ended<'_>) -> Result<(), Broken> {
        let Some(id) = ended.half.filter(|_| !ended.is_wrong) else {
            return Ok(());
        };
        let half = model.half(id);
        let now = model.mono_ms;
        let asked = self.asked.get(&id).copied();
        let answers = ended.from_check && asked.is_some_and(|(who, _)| who == ended.connection);
        // At the very end of the time for an answer either is right.
        let in_doubt = asked.is_some_and(|(_, at)| now >= at + ANSWER_MS);
        if let EndOutcome::Noted(noted) = ended.outcome {
            ensure!(
                noted.counted == answers || (in_doubt && !noted.counted),
                "half {}: counted {} and answers a check {answers}",
                half.seq,
                noted.counted
            );
            ensure!(
                !noted.parked || self.may_park(model, id),
                "half {} is parked after {} answers",
                half.seq,
                half.counted
            );
            if noted.counted {
                self.waits_since.insert(id, now);
                self.exact.remove(&id);
            }
        }
        let is_decided = matches!(ended.outcome, EndOutcome::Decided(_));
        if answers || is_decided {
            self.asked.remove(&id);
            self.waits_since.insert(id, now);
        }
        Ok(())
    }

    fn may_park(&self, model: &Model, id: HalfId) -> bool {
        let half = model.half(id);
        let rules = model.plan.rules;
        let age = model.mono_ms.saturating_sub(half.stored_mono_ms);
        let is_old = age >= rules.park_age_ms || model.plan.faults.clock_step > 0;
        half.counted >= rules.checks_max && is_old
    }

    fn check(&mut self, model: &Model, check: &CheckRequest) -> Result<(), Broken> {
        let now = model.mono_ms;
        let Some(id) = model.by_seq(check.seq.0) else {
            return Err(format!(
                "a check for half {}, which is not there",
                check.seq
            ));
        };
        let half = model.half(id);
        ensure!(
            half.fate == Fate::Undecided,
            "a check for half {}, which is {:?}",
            half.seq,
            half.fate
        );
        let connection = check.connection.0;
        let is_there = self
            .members
            .get(&half.group)
            .is_some_and(|members| members.contains(&connection));
        ensure!(
            is_there,
            "a check for half {} to {connection}, who is not there",
            half.seq
        );
        if let Some((who, at)) = self.asked.get(&id) {
            ensure!(
                now >= at + ANSWER_MS,
                "half {} is asked of {connection} while {who} is asked since {at}",
                half.seq
            );
        }
        if let Some(due) = self.exact.remove(&id) {
            ensure!(
                now >= due,
                "half {} is checked at {now}, due at {due}",
                half.seq
            );
            let somebody = self.somebody_since.get(&half.group).copied().unwrap_or(now);
            let late = now - due.max(somebody).min(now);
            ensure!(
                late <= SLACK_MS || self.asked.len() > BUSY,
                "half {} is checked at {now}, {late} ms late",
                half.seq
            );
        }
        self.asked.insert(id, (connection, now));
        self.waits_since.insert(id, now);
        Ok(())
    }

    fn audit(&self, model: &Model, store: &Store) -> Result<(), Broken> {
        for (id, half) in model.undecided() {
            let Some(entry) = store.undecided_half(escrow_store::HalfSeq(half.seq)) else {
                continue;
            };
            ensure!(
                u32::from(entry.answered) <= half.counted,
                "half {} has {} answers counted, {} were given",
                half.seq,
                entry.answered,
                half.counted
            );
            let is_parked = entry.state == HalfState::Parked;
            ensure!(
                !is_parked
                    || half.touched
                    || entry.is_log_damaged()
                    || half.counted >= model.plan.rules.checks_max,
                "half {} is parked after {} answers",
                half.seq,
                half.counted
            );
            if !entry.is_log_damaged() {
                self.is_asked_in_time(model, id, is_parked)?;
            }
        }
        Ok(())
    }

    /// Whoever can be asked is asked: no half waits longer than the longest pause while somebody is there.
    fn is_asked_in_time(&self, model: &Model, id: HalfId, is_parked: bool) -> Result<(), Broken> {
        let half = model.half(id);
        let somebody = self
            .members
            .get(&half.group)
            .is_some_and(|group| !group.is_empty());
        if !somebody {
            return Ok(());
        }
        let since = [
            self.up_since,
            self.somebody_since.get(&half.group).copied().unwrap_or(0),
            self.waits_since.get(&id).copied().unwrap_or(0),
        ];
        let since = since.into_iter().max().unwrap_or(0);
        let pause = if is_parked {
            PARKED_MS
        } else {
            model.plan.rules.pause_max_ms().max(half.first_check_ms)
        };
        ensure!(
            model.mono_ms <= since + pause + ROUND_MS,
            "half {} waits since {since} and nobody is asked at {}",
            half.seq,
            model.mono_ms
        );
        if let Some(due) = self.exact.get(&id) {
            let from = (*due).max(self.somebody_since.get(&half.group).copied().unwrap_or(0));
            ensure!(
                model.mono_ms <= from + SLACK_MS || self.asked.len() > BUSY,
                "half {} was due at {from} and is not asked about at {}",
                half.seq,
                model.mono_ms
            );
        }
        Ok(())
    }
}
