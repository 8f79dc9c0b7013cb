//! G1: what was acknowledged survives what its flush policy promises.

use escrow_store::Durability;

use super::{Broken, Check, ensure};
use crate::model::Model;
use crate::seen::Seen;

pub(super) struct DurableAck;

impl Check for DurableAck {
    fn guarantee(&self) -> &'static str {
        "G1 durable ack"
    }

    fn see(&mut self, _model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Told {
                what,
                end,
                need: Durability::Synced,
                durable,
            } => ensure!(
                end <= durable,
                "{what:?} is acknowledged up to {end}, the platter has {durable}"
            ),
            Seen::Opened { reopened, .. } => {
                let broken = reopened.lost.iter().find(|lost| lost.promised);
                if let Some(lost) = broken {
                    return Err(format!("{} was promised and is gone", lost.what));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
