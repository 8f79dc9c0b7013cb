//! Reading single messages by where they are, for the requests that name a commit-log offset.
//!
//! What an undecided or rolled-back half holds never leaves the broker this way (G2).

use std::sync::Arc;

use bytes::Bytes;
use escrow_store::{Error, Lookup, PhysicalOffset};

use crate::shared::Shared;

/// A message as consumers got it, or a parked half as an operator may see it.
pub(super) enum Found {
    Message(Bytes),
    Parked(Bytes),
    /// There is none that anybody may read.
    Nothing,
}

/// Looks on the blocking pool: the message may be old.
pub(super) async fn at(shared: &Arc<Shared>, offset: i64) -> Result<Found, Error> {
    let Ok(offset) = u64::try_from(offset) else {
        return Ok(Found::Nothing);
    };
    let reader = shared.reader.clone();
    let looked = tokio::task::spawn_blocking(move || reader.by_offset(PhysicalOffset(offset)));
    match looked.await.unwrap_or(Ok(Lookup::NotFound))? {
        Lookup::Message(record) => Ok(Found::Message(record)),
        Lookup::Parked(_, record) => Ok(Found::Parked(record)),
        Lookup::Undecided(_) | Lookup::RolledBack(_) | Lookup::NotAMessage | Lookup::NotFound => {
            Ok(Found::Nothing)
        }
    }
}
