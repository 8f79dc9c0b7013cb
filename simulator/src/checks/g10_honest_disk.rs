//! G10: torn tails are cut and reported, nothing durable is cut, damage is named and is where a bit was turned over; what opens
//! is durable. (That no flipped bit is served is seen where bodies are compared.)

use escrow_store::{Error, ErrorKind};

use super::{Broken, Check, ensure};
use crate::model::{Item, Model};
use crate::seen::Seen;

pub(super) struct HonestDisk;

impl HonestDisk {
    fn refused(model: &Model, error: &Error) -> Result<(), Broken> {
        match error.kind() {
            ErrorKind::Stop => {
                let may_be_full = model.plan.capacity < 1 << 40;
                ensure!(
                    model.disk_failed || may_be_full,
                    "the store stopped for nothing: {error}"
                );
            }
            ErrorKind::Damaged => ensure!(
                model.derived_flipped || !model.flips.is_empty(),
                "nothing was damaged: {error}"
            ),
            ErrorKind::Space => ensure!(
                model.plan.store.free_bytes_refuse > 0,
                "no limit is set: {error}"
            ),
            ErrorKind::Request => {}
        }
        Ok(())
    }
}

impl Check for HonestDisk {
    fn guarantee(&self) -> &'static str {
        "G10 honest disk"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Refused(error) => return Self::refused(model, error),
            Seen::Opened {
                report,
                floor,
                durable,
                saved,
                is_clean_behind,
                ..
            } => {
                ensure!(
                    *is_clean_behind,
                    "a torn tail was left behind the log's end"
                );
                if let Some(cut) = &report.cut {
                    ensure!(
                        cut.offset.0 >= *floor,
                        "cut at {}, durable was {floor}",
                        cut.offset
                    );
                    // A segment that was only just begun may hold nothing.
                    let mut bytes = 0;
                    for name in &cut.saved {
                        let kept = saved.iter().find(|(file, _)| file == name);
                        ensure!(kept.is_some(), "{name} was cut and not saved");
                        bytes += kept.map_or(0, |(_, bytes)| *bytes as u64);
                    }
                    ensure!(
                        bytes >= cut.bytes,
                        "{} bytes were cut, {bytes} were saved",
                        cut.bytes
                    );
                }
                for damage in &report.damaged {
                    let is_explained = model.flips.iter().any(|(_, _, offset)| {
                        (damage.offset.0..damage.offset.0 + damage.bytes.max(1)).contains(offset)
                    });
                    ensure!(is_explained, "damage where none was done: {damage:?}");
                }
                ensure!(
                    report.parked.is_empty() || !report.damaged.is_empty(),
                    "halfs parked for nothing: {:?}",
                    report.parked
                );
                ensure!(
                    model.floor <= *durable,
                    "opened up to {}, the platter has {durable}",
                    model.floor
                );
            }
            Seen::Pulled {
                queue,
                read: Err(error),
                ..
            } => ensure!(
                model.derived_flipped || model.is_failed_read(error),
                "{queue:?} cannot be read: {error}"
            ),
            Seen::Pulled {
                queue,
                read: Ok(entries),
                ..
            } => {
                let damaged = entries
                    .iter()
                    .filter_map(|(offset, _, image)| Some((offset, image.as_ref().err()?)));
                for (offset, error) in damaged {
                    // Of a half whose bytes were lost before they could be carried forward, what stands for it is named.
                    let slots = model.queues.get(queue).map(|queue| &queue.slots);
                    let slot = slots.and_then(|slots| slots.get(offset));
                    if slot.is_some_and(|slot| matches!(slot.item, Item::Half(_))) {
                        continue;
                    }
                    named(model, error).map_err(|text| format!("{queue:?} at {offset}: {text}"))?;
                }
            }
            Seen::Looked {
                half,
                found: Err(error),
            } => {
                let half = model.half(*half);
                ensure!(
                    half.touched || model.derived_flipped || model.is_failed_read(error),
                    "half {} cannot be read: {error}",
                    half.seq
                );
            }
            _ => {}
        }
        Ok(())
    }
}

/// An error that tells of damage names file and place of a bit that was turned over, or at least its record.
fn named(model: &Model, error: &Error) -> Result<(), Broken> {
    if let Error::Damaged { offset, file, .. } = error {
        let near = model
            .flips
            .iter()
            .any(|(_, _, at)| at.abs_diff(offset.0) <= model.plan.store.segment_bytes);
        ensure!(near, "{file}: {error}");
    }
    Ok(())
}
