//! G9: everything has a limit. (That no bytes make anything panic is seen by whoever runs a seed: a panic is a broken G9.)

use std::collections::{BTreeMap, VecDeque};

use escrow_store::ErrorKind;

use super::{Broken, Check, ensure};
use crate::model::Model;
use crate::seen::Seen;

/// Checks that one connection may have to answer at a time, and for how long.
const PER_CONNECTION: usize = 64;
const ANSWER_MS: u64 = 8_000;
const PER_ROUND: usize = 256;
/// Checks a second, and what may go out at once after a pause.
const PER_SECOND: usize = 2_100;

#[derive(Debug, Default)]
pub(super) struct Bounded {
    /// Whom each half is asked of, and since when.
    asked: BTreeMap<u64, (u64, u64)>,
    recent: VecDeque<u64>,
}

impl Check for Bounded {
    fn guarantee(&self) -> &'static str {
        "G9 bounded"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Checks(checks) => {
                ensure!(checks.len() <= PER_ROUND, "{} checks at once", checks.len());
                for check in *checks {
                    self.asks(model.mono_ms, check.seq.0, check.connection.0)?;
                }
                self.count(model.mono_ms, checks.len())
            }
            Seen::Ended(ended) => {
                if let Some(id) = ended.half {
                    self.asked.remove(&model.half(id).seq);
                }
                Ok(())
            }
            Seen::NotSent { seq } => {
                self.asked.remove(seq);
                Ok(())
            }
            Seen::Left { connection } => {
                self.asked.retain(|_, (who, _)| who != connection);
                Ok(())
            }
            Seen::Refused(error) => {
                ensure!(
                    error.kind() != ErrorKind::Request,
                    "a good request is refused: {error}"
                );
                Ok(())
            }
            Seen::Crashed => {
                *self = Bounded::default();
                Ok(())
            }
            Seen::Audit { coordinator, store } => {
                let (pending, parked) = store.undecided_counts();
                let in_flight = coordinator.in_flight();
                ensure!(
                    in_flight as u64 <= pending + parked,
                    "{in_flight} checks under way for {} undecided halfs",
                    pending + parked
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Bounded {
    fn asks(&mut self, now: u64, seq: u64, connection: u64) -> Result<(), Broken> {
        self.asked.insert(seq, (connection, now));
        let mut under_way = self.asked.values();
        let of_it = |(who, since): &&(u64, u64)| *who == connection && now < since + ANSWER_MS;
        let has = under_way.by_ref().filter(of_it).count();
        ensure!(
            has <= PER_CONNECTION,
            "{has} checks to connection {connection}"
        );
        Ok(())
    }

    fn count(&mut self, now: u64, checks: usize) -> Result<(), Broken> {
        self.recent.extend(std::iter::repeat_n(now, checks));
        while self.recent.front().is_some_and(|at| at + 1_000 <= now) {
            self.recent.pop_front();
        }
        ensure!(
            self.recent.len() <= PER_SECOND,
            "{} checks in a second",
            self.recent.len()
        );
        Ok(())
    }
}
