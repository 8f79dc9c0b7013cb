//! G5: every half is decided, or listed as pending or parked, with its bytes; at the end of all faults every one is decided.

use std::collections::BTreeSet;

use escrow_protocol::message;
use escrow_store::{HalfSeq, HalfState, Store};

use super::{Broken, Check, ensure};
use crate::model::{Half, Model};
use crate::seen::Seen;

pub(super) struct NeverForgotten;

impl Check for NeverForgotten {
    fn guarantee(&self) -> &'static str {
        "G5 never forgotten"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Audit { store, .. } => audit(model, store),
            Seen::Settled { store, .. } => {
                let left: Vec<u64> = store.undecided().map(|(seq, _)| seq.0).collect();
                ensure!(left.is_empty(), "never settled: halfs {left:?}");
                let known = model.undecided().next();
                ensure!(known.is_none(), "never settled: {known:?}");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn audit(model: &Model, store: &Store) -> Result<(), Broken> {
    let listed: BTreeSet<u64> = store.undecided().map(|(seq, _)| seq.0).collect();
    let known: BTreeSet<u64> = model.undecided().map(|(_, half)| half.seq).collect();
    if let Some(seq) = known.difference(&listed).next() {
        return Err(format!("half {seq} is undecided and listed nowhere"));
    }
    if let Some(seq) = listed.difference(&known).next() {
        return Err(format!("half {seq} is listed as undecided and is not"));
    }
    let (pending, parked) = store.undecided_counts();
    ensure!(
        pending + parked == listed.len() as u64,
        "{pending} pending and {parked} parked are counted, {} listed",
        listed.len()
    );
    for (_, half) in model.undecided() {
        is_readable(store, half)?;
    }
    Ok(())
}

fn is_readable(store: &Store, half: &Half) -> Result<(), Broken> {
    let entry = store.undecided_half(HalfSeq(half.seq));
    ensure!(entry.is_some(), "half {} is listed and not known", half.seq);
    if half.touched {
        return Ok(());
    }
    ensure!(
        entry.is_some_and(|entry| !entry.is_log_damaged() || entry.state == HalfState::Parked),
        "half {} is damaged and not parked",
        half.seq
    );
    let image = store.half_image(HalfSeq(half.seq));
    let image = image.map_err(|error| format!("half {} cannot be read: {error}", half.seq))?;
    let message = message::decode(&image).map_err(|error| error.to_string())?;
    ensure!(
        message.body == half.body.as_slice()
            && message.properties().get("UNIQ_KEY") == Some(half.key.as_str()),
        "half {} has become another",
        half.seq
    );
    Ok(())
}
