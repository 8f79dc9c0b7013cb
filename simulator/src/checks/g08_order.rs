//! G8: queue offsets are dense and never reordered; a committed half takes its place at its commit.

use std::collections::BTreeMap;

use super::{Broken, Check, ensure};
use crate::model::{Model, QueueKey};
use crate::seen::Seen;

#[derive(Debug, Default)]
pub(super) struct Order {
    /// The visible end of each queue at the last look, since the process began.
    ends: BTreeMap<QueueKey, u64>,
}

impl Check for Order {
    fn guarantee(&self) -> &'static str {
        "G8 order"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Placed {
                queue,
                offset,
                before,
            } => ensure!(
                offset == before,
                "{queue:?}: offset {offset} is given out where {before} was next"
            ),
            Seen::Crashed => self.ends.clear(),
            Seen::Pulled {
                queue,
                range,
                from,
                read,
                ..
            } => {
                let known = model.queues.get(queue);
                if known.is_none() {
                    self.ends.remove(queue);
                }
                let ledger_end = known.map_or(0, |queue| queue.end);
                ensure!(
                    range.1 <= ledger_end,
                    "{queue:?} ends at {} and only {ledger_end} were put there",
                    range.1
                );
                let end = self.ends.entry(*queue).or_default();
                // A topic that ended and came back begins anew.
                *end = (*end).min(ledger_end);
                ensure!(range.1 >= *end, "{queue:?} ends at {} after {end}", range.1);
                *end = range.1;
                if let Ok(entries) = read {
                    let mut last_time = i64::MIN;
                    for (index, (offset, time, _)) in (0..).zip(entries) {
                        ensure!(*offset == from + index, "{queue:?}: {offset} follows a gap");
                        ensure!(*time >= last_time, "{queue:?}: time goes back at {offset}");
                        last_time = *time;
                    }
                }
            }
            Seen::Audit { .. } => {
                for (key, queue) in &model.queues {
                    let ends: Vec<u64> = queue.slots.values().map(|slot| slot.end).collect();
                    ensure!(ends.is_sorted(), "{key:?} is not in the order of the log");
                }
            }
            _ => {}
        }
        Ok(())
    }
}
