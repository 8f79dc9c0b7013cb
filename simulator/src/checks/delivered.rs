//! A message as it came out of the broker, laid beside what the ledger says it must be.

use escrow_protocol::message;
use escrow_protocol::sysflag;

use super::{Broken, ensure};
use crate::model::{Item, Model, QueueKey};

/// Whether `image`, read at an offset of a queue, is what stands there, to the last byte that matters.
pub(super) fn is_right(
    model: &Model,
    queue: QueueKey,
    offset: u64,
    item: &Item,
    image: &[u8],
) -> Result<(), Broken> {
    let message = message::decode(image).map_err(|error| format!("no message: {error}"))?;
    let key = message.properties().get("UNIQ_KEY").unwrap_or_default();
    let (wanted_key, wanted_body, handle) = match item {
        Item::Plain { key, body }
        | Item::Delayed { key, body, .. }
        | Item::Delivered { key, body, .. } => (key.as_str(), body, 0),
        Item::Half(id) => {
            let half = model.half(*id);
            (half.key.as_str(), &half.body, half.handle)
        }
    };
    ensure!(
        key == wanted_key,
        "{queue:?} at {offset}: {key} instead of {wanted_key}"
    );
    ensure!(
        message.body == wanted_body.as_slice(),
        "{key}: another body"
    );
    ensure!(
        message.topic == queue.topic_name(),
        "{key}: topic {}",
        message.topic
    );
    ensure!(
        message.queue_id == queue.queue_id,
        "{key}: queue {}",
        message.queue_id
    );
    ensure!(
        message.queue_offset == offset.cast_signed(),
        "{key}: queue offset {} at {offset}",
        message.queue_offset
    );
    let transaction = message.sys_flag & sysflag::TRANSACTION_MASK;
    let wanted = if handle == 0 {
        0
    } else {
        sysflag::TRANSACTION_COMMIT
    };
    ensure!(
        transaction == wanted,
        "{key}: system flag {:#x}",
        message.sys_flag
    );
    ensure!(
        message.prepared_transaction_offset == handle.cast_signed(),
        "{key}: prepared offset {} instead of {handle}",
        message.prepared_transaction_offset
    );
    Ok(())
}
