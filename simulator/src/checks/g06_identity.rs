//! G6: a half's handle never changes and always finds it, and it alone.

use std::collections::BTreeSet;

use escrow_coordinator::EndOutcome;
use escrow_protocol::message;
use escrow_store::{HalfLookup, HalfSeq, Lookup, PhysicalOffset, Store};

use super::{Broken, Check, ensure};
use crate::model::{Fate, Half, HalfId, Item, Model};
use crate::seen::{Ended, Seen};

#[derive(Debug, Default)]
pub(super) struct Identity {
    /// Halfs that a consumer has read since the last look: their bytes are kept.
    read: BTreeSet<HalfId>,
}

impl Check for Identity {
    fn guarantee(&self) -> &'static str {
        "G6 identity"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Repeated(half) => ensure!(half.is_some(), "a repeated half got another's ids"),
            Seen::Ended(ended) => return self::ended(ended),
            Seen::Checks(checks) => {
                for check in *checks {
                    let half = model.by_seq(check.seq.0).map(|id| model.half(id));
                    ensure!(
                        half.is_some_and(|half| half.handle == check.handle.0),
                        "a check for half {} names handle {}",
                        check.seq,
                        check.handle
                    );
                }
            }
            Seen::Looked {
                half,
                found: Ok(found),
            } => return looked(model.half(*half), found),
            Seen::Pulled {
                queue,
                read: Ok(entries),
                ..
            } => {
                let slots = model.queues.get(queue).map(|queue| &queue.slots);
                let read = entries.iter().filter(|(_, _, image)| image.is_ok());
                for (offset, ..) in read {
                    let slot = slots.and_then(|slots| slots.get(offset));
                    if let Some(Item::Half(id)) = slot.map(|slot| &slot.item) {
                        self.read.insert(*id);
                    }
                }
            }
            // What left meanwhile need not be found; nobody can tell that of a crash.
            Seen::Retained(report) if report.removed.is_some() => self.read.clear(),
            Seen::Crashed => self.read.clear(),
            Seen::Audit { store, .. } => {
                let read = std::mem::take(&mut self.read);
                return audit(model, store, &read);
            }
            _ => {}
        }
        Ok(())
    }
}

fn ended(ended: &Ended<'_>) -> Result<(), Broken> {
    let is_refused = matches!(ended.outcome, EndOutcome::Refused(_));
    ensure!(
        is_refused || (ended.half.is_some() && !ended.is_wrong),
        "a request that names no half was taken: {:?}",
        ended.outcome
    );
    Ok(())
}

fn looked(half: &Half, found: &Lookup) -> Result<(), Broken> {
    let seq = match found {
        Lookup::Undecided(seq) | Lookup::RolledBack(seq) | Lookup::Parked(seq, _) => Some(*seq),
        _ => None,
    };
    ensure!(
        seq.is_none_or(|seq| seq.0 == half.seq),
        "the handle of half {} finds half {seq:?}",
        half.seq
    );
    Ok(())
}

fn audit(model: &Model, store: &Store, read: &BTreeSet<HalfId>) -> Result<(), Broken> {
    for (id, half) in model.present() {
        let is_undecided = half.fate == Fate::Undecided;
        let is_kept = is_undecided || half.handle >= model.log_start || read.contains(&id);
        let is_excused = half.touched || (!is_undecided && model.derived_flipped);
        if !is_kept || is_excused {
            continue;
        }
        let found = store.half_at(PhysicalOffset(half.handle));
        let found = found.map_err(|error| format!("handle {}: {error}", half.handle))?;
        let HalfLookup::Half(seq, entry) = found else {
            return Err(format!(
                "handle {} finds nothing, half {}",
                half.handle, half.seq
            ));
        };
        ensure!(
            seq == HalfSeq(half.seq) && entry.handle.0 == half.handle,
            "handle {} finds half {seq} with handle {}",
            half.handle,
            entry.handle
        );
        // A store that failed while it carried a half forward looks for it where it never came to be, until it is opened again.
        if is_undecided && half.end <= store.written().0 && !model.disk_failed {
            let image = store.reader().half_image(seq);
            let image = image.map_err(|error| format!("half {seq}: {error}"))?;
            let message = message::decode(&image).map_err(|error| error.to_string())?;
            ensure!(
                message.physical_offset == half.handle.cast_signed()
                    && message.queue_offset == half.seq.cast_signed(),
                "half {seq} says of itself that it is {} at {}",
                message.queue_offset,
                message.physical_offset
            );
        }
    }
    Ok(())
}
