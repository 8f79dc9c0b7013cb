//! What a restart did to the ledger: what was never promised may be gone, and the ledger follows.

use escrow_store::{HalfState, Reader, Store, key_hash};

use super::{Decision, Fate, HalfId, Item, Model, Promise, Slot, TopicQueue};
use crate::disk::Crash;

/// Something that a restart took back.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) what: String,
    /// It was promised, so this is a broken promise.
    pub(crate) promised: bool,
}

/// What the store says that the ledger cannot explain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reopened {
    pub(crate) lost: Vec<Lost>,
    pub(crate) unexplained: Vec<String>,
    /// Levels of delayed messages that do not stand where they should: something is lost or comes twice.
    pub(crate) levels: Vec<String>,
}

impl Model {
    /// Follows a store that was just opened after `crash` and kept the log up to `kept_end`.
    pub(crate) fn reopen(&mut self, store: &Store, crash: Crash, kept_end: u64) -> Reopened {
        let mut reopened = Reopened::default();
        let reader = store.reader();
        self.log_start = self.log_start.max(reader.log_range().0.0);
        let ids: Vec<HalfId> = self.by_seq.values().copied().collect();
        for id in ids {
            self.reopen_half(store, crash, kept_end, id, &mut reopened);
        }
        self.reopen_drops(&reader);
        self.reopen_queues(&reader, crash, kept_end, &mut reopened);
        self.reopen_levels(store, kept_end, &mut reopened);
        self.floor = store.durable().0;
        reopened
    }

    fn is_promised(&self, end: u64, promise: Promise, crash: Crash) -> bool {
        end <= self.floor || promise.covers(crash)
    }

    fn reopen_half(
        &mut self,
        store: &Store,
        crash: Crash,
        kept_end: u64,
        id: HalfId,
        reopened: &mut Reopened,
    ) {
        let half = self.half(id).clone();
        let entry = store.half(escrow_store::HalfSeq(half.seq));
        let entry = entry.filter(|entry| {
            entry.handle.0 == half.handle
                && (half.touched || entry.unique_hash == key_hash(&half.key))
        });
        let is_decided = half.fate != Fate::Undecided;
        let Some(entry) = entry else {
            // Its page may be damaged: nothing is known then.
            if is_decided && self.derived_flipped && half.fate.end() <= kept_end {
                return;
            }
            self.by_seq.remove(&half.seq);
            if !(is_decided && half.handle < self.log_start) {
                reopened.lost.push(Lost {
                    what: format!(
                        "half {} ({}) with handle {}",
                        half.seq, half.key, half.handle
                    ),
                    promised: self.is_promised(half.end, half.promise, crash),
                });
            }
            return;
        };
        let said = match entry.state {
            HalfState::Pending | HalfState::Parked => None,
            HalfState::Committed => Some(Decision::Commit),
            HalfState::RolledBack => Some(Decision::Rollback),
        };
        let promised = self.is_promised(half.fate.end(), half.fate_promise, crash);
        let counted = u32::from(entry.answered).min(half.counted);
        let half = self.half_mut(id);
        half.counted = counted;
        match (half.fate.decision(), said) {
            (known, said) if known == said => {}
            (Some(known), None) => {
                half.fate = Fate::Undecided;
                half.fate_promise = Promise::Nothing;
                reopened.lost.push(Lost {
                    what: format!("decision {known:?} of half {} ({})", half.seq, half.key),
                    promised,
                });
            }
            (known, said) => reopened.unexplained.push(format!(
                "half {} ({}) was {known:?} and is {said:?}",
                half.seq, half.key
            )),
        }
    }

    /// A topic's end of which nobody was told may have been undone.
    fn reopen_drops(&mut self, reader: &Reader) {
        for drop in std::mem::take(&mut self.drops) {
            let is_there = drop
                .queues
                .iter()
                .any(|(key, _)| reader.queue_range(&key.topic_name(), key.queue_id).1.0 > 0);
            if is_there {
                self.queues.extend(drop.queues);
            }
        }
    }

    fn reopen_queues(
        &mut self,
        reader: &Reader,
        crash: Crash,
        kept_end: u64,
        reopened: &mut Reopened,
    ) {
        let (floor, halfs) = (self.floor, &self.halfs);
        for (key, queue) in &mut self.queues {
            let (_, end) = reader.queue_range(&key.topic_name(), key.queue_id);
            if end.0 > queue.end {
                let text = format!("{key:?} ended at {} and ends at {end}", queue.end);
                reopened.unexplained.push(text);
            }
            // A queue of which only damaged records are left is not known until the next message, and goes on behind them.
            let touched = |slot: &Slot| match slot.item {
                Item::Half(id) => slot.touched || halfs[id.0].touched,
                _ => slot.touched,
            };
            let kept: Vec<_> = queue
                .slots
                .range(end.0..)
                .filter(|(_, slot)| slot.end <= kept_end)
                .collect();
            let known_end = match kept.last() {
                Some((last, _)) if kept.iter().all(|(_, slot)| touched(slot)) => *last + 1,
                _ => end.0,
            };
            let lost = queue.slots.split_off(&known_end);
            if lost.is_empty() && known_end > end.0 {
                continue;
            }
            queue.end = known_end;
            for (offset, slot) in lost {
                reopened.lost.push(Lost {
                    what: format!("{:?} at {offset} of {key:?}", slot.item),
                    promised: slot.end <= floor || slot.promise.covers(crash),
                });
            }
        }
        self.queues.retain(|_, queue| queue.end > 0);
    }

    /// Where a level stands is what was delivered says, and nothing else.
    fn reopen_levels(&mut self, store: &Store, kept_end: u64, reopened: &mut Reopened) {
        self.deliveries
            .retain(|_, delivery| delivery.end <= kept_end);
        for (level, _) in (0..).zip(&self.plan.levels) {
            let (known, said) = (self.progress(level), store.schedule_progress(level).0);
            if known != said {
                let text = format!("level {level} goes on at {said} instead of {known}");
                reopened.levels.push(text);
            }
        }
    }

    /// Whether a bit was turned over in what stands at an offset.
    pub(crate) fn is_touched(&self, queue: &TopicQueue, offset: u64) -> bool {
        queue.slots.get(&offset).is_some_and(|slot| {
            let half = match slot.item {
                Item::Half(id) => self.half(id).touched,
                _ => false,
            };
            slot.touched || half
        })
    }
}
