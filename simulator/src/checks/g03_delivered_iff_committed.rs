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
    for (key, queue) in &model.queues {
        for (offset, slot) in &queue.slots {
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
            if let Item::Half(id) = slot.item {
                let half = model.half(id);
                ensure!(
                    half.delivered || half.touched || slot.touched || *offset < queue.min,
                    "half {} is committed at {offset} of {key:?} and was never delivered",
                    half.seq
                );
            }
        }
    }
    Ok(())
}
