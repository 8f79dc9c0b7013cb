//! G3: a committed half is published exactly once, and in the end every consumer has it.

use std::collections::BTreeSet;

use escrow_store::Error;

use super::delivered::is_right;
use super::{Broken, Check, ensure};
use crate::model::{Fate, Item, Model, QueueKey};
use crate::seen::{ReadEntry, Seen};

pub(super) struct Delivered;

impl Check for Delivered {
    fn guarantee(&self) -> &'static str {
        "G3 delivered iff committed"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Pulled {
                queue,
                read: Ok(entries),
                ..
            } => pulled(model, *queue, entries),
            Seen::Opened { reopened, .. } => match reopened.levels.first() {
                Some(text) => Err(text.clone()),
                None => Ok(()),
            },
            Seen::Audit { .. } => published_once(model),
            Seen::Settled { .. } => all_delivered(model),
            _ => Ok(()),
        }
    }
}

fn pulled(model: &Model, key: QueueKey, entries: &[ReadEntry]) -> Result<(), Broken> {
    for (offset, _, image) in entries {
        let Some(queue) = model.queues.get(&key) else {
            return Err(format!("{key:?} has entries and nothing was put there"));
        };
        let Some(slot) = queue.slots.get(offset) else {
            return Err(format!("{key:?} at {offset}: nothing was put there"));
        };
        match image {
            Ok(image) => is_right(model, key, *offset, &slot.item, image)?,
            Err(Error::Damaged { .. }) if model.is_touched(queue, *offset) => {}
            Err(Error::NotFound { .. }) if model.is_expired(slot.stored_wall_ms) => {}
            Err(error) if model.is_failed_read(error) => {}
            Err(error) => return Err(format!("{key:?} at {offset}: {error}")),
        }
    }
    Ok(())
}

fn published_once(model: &Model) -> Result<(), Broken> {
    let mut seen = BTreeSet::new();
    let mut seen_delayed = BTreeSet::new();
    for (key, queue) in &model.queues {
        for (offset, slot) in &queue.slots {
            if let Item::Delivered { from, .. } = slot.item {
                ensure!(
                    seen_delayed.insert(from),
                    "the delayed message at {from:?} is delivered twice"
                );
            }
            let Item::Half(id) = slot.item else {
                continue;
            };
            ensure!(
                seen.insert(id),
                "half {} is published twice",
                model.half(id).seq
            );
            let place = match model.half(id).fate {
                Fate::Committed { queue, offset, .. } => Some((queue, offset)),
                _ => None,
            };
            ensure!(
                place == Some((*key, *offset)),
                "half {} is {:?} and stands at {offset} of {key:?}",
                model.half(id).seq,
                model.half(id).fate
            );
        }
    }
    Ok(())
}

/// Faults are over and consumers have polled all along: what is committed was read, unless its topic or its time ended.
fn all_delivered(model: &Model) -> Result<(), Broken> {
    for (key, queue) in &model.queues {
        for (offset, slot) in &queue.slots {
            let Item::Half(id) = slot.item else {
                continue;
            };
            let half = model.half(id);
            let is_excused = half.touched || slot.touched || *offset < queue.min;
            for (number, consumer) in model.plan.consumers.iter().enumerate() {
                ensure!(
                    is_excused || !consumer.reads(key.topic) || half.delivered.contains(&number),
                    "half {} is committed at {offset} of {key:?} and consumer {number} never got it",
                    half.seq
                );
            }
        }
    }
    match model.undelivered().next() {
        Some(left) => Err(format!(
            "the delayed message at {left:?} was never delivered"
        )),
        None => Ok(()),
    }
}
