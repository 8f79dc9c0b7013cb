//! G2: no consumer, by any request, reads an undecided or a rolled-back half, nor a commit that a crash may undo.

use escrow_protocol::message;
use escrow_store::{Durability, Lookup};

use super::{Broken, Check, ensure};
use crate::model::{Decision, Fate, Model, QueueKey};
use crate::seen::Seen;

pub(super) struct Invisible;

impl Check for Invisible {
    fn guarantee(&self) -> &'static str {
        "G2 invisible until committed"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Shown {
                queue,
                offset,
                durable,
            } => shown(model, *queue, *offset, *durable),
            Seen::Pulled {
                queue,
                read: Ok(entries),
                written,
                durable,
                ..
            } => {
                for (offset, _, image) in entries {
                    if let Ok(image) = image {
                        may_be_read(model, image)?;
                        is_safe(model, *queue, *offset, (*written, *durable))?;
                    }
                }
                Ok(())
            }
            Seen::ByKey {
                found: Ok(images), ..
            } => images
                .iter()
                .try_for_each(|image| may_be_read(model, image)),
            Seen::Looked {
                half,
                found: Ok(lookup),
            } => {
                let half = model.half(*half);
                let is_message = matches!(lookup, Lookup::Message(_));
                ensure!(
                    !is_message || half.fate.decision() == Some(Decision::Commit),
                    "half {} is {:?} and was read by its offset",
                    half.seq,
                    half.fate
                );
                let is_rolled_back = matches!(lookup, Lookup::RolledBack(_));
                ensure!(
                    !is_rolled_back || half.fate.decision() == Some(Decision::Rollback),
                    "half {} is {:?} and is said to be rolled back",
                    half.seq,
                    half.fate
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn shown(model: &Model, queue: QueueKey, offset: u64, durable: u64) -> Result<(), Broken> {
    let slot = model
        .queues
        .get(&queue)
        .and_then(|queue| queue.slots.get(&offset));
    let Some(slot) = slot else {
        return Err(format!(
            "{queue:?} shows offset {offset}, where nothing was put"
        ));
    };
    let is_safe = model.need(&slot.item) == Durability::Written || slot.end <= durable;
    ensure!(
        is_safe,
        "{queue:?} shows offset {offset}, which ends at {} and the platter has {durable}",
        slot.end
    );
    Ok(())
}

/// What a consumer reads is as durable as it must be, at that very moment.
fn is_safe(
    model: &Model,
    queue: QueueKey,
    offset: u64,
    (written, durable): (u64, u64),
) -> Result<(), Broken> {
    let slots = model.queues.get(&queue).map(|queue| &queue.slots);
    let Some(slot) = slots.and_then(|slots| slots.get(&offset)) else {
        return Ok(());
    };
    let reached = match model.need(&slot.item) {
        Durability::Written => written,
        Durability::Synced => durable,
    };
    ensure!(
        slot.end <= reached,
        "{queue:?} at {offset} was read, which ends at {}; written up to {written}, on the platter up to {durable}",
        slot.end
    );
    Ok(())
}

/// A message that came from a half must come from one that is committed: under its handle, not only under its key.
fn may_be_read(model: &Model, image: &[u8]) -> Result<(), Broken> {
    let message = message::decode(image).map_err(|error| error.to_string())?;
    let handle = message.prepared_transaction_offset.cast_unsigned();
    let key = message.properties().get("UNIQ_KEY").unwrap_or_default();
    let is_half = message.properties().is_true("TRAN_MSG");
    let mut committed = model
        .halfs
        .iter()
        .filter(|half| half.key == key && matches!(half.fate, Fate::Committed { .. }));
    ensure!(
        !is_half || committed.any(|half| half.handle == handle),
        "{key} with handle {handle} was read and is not committed"
    );
    Ok(())
}
