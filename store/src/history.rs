//! The chain of ops behind a half message: who did what, and why.

use std::cell::LazyCell;

use escrow_protocol::transaction::Resolution;

use crate::log_view::Stored;
use crate::record::op::read_op_flags;
use crate::record::{Kind, OpBody};
use crate::store::half_body;
use crate::{Error, PhysicalOffset, Source};

/// More ops of one half are not walked through: a hostile disk cannot keep a reader for ever.
const OPS_MAX: usize = 100_000;

/// What an op in a history did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpRecordKind {
    /// The message was delivered.
    Commit,
    /// The message was dropped.
    Rollback,
    /// The checks were given up.
    Park,
    /// They were taken up again.
    Resume,
    /// A check was answered.
    Answer,
    /// The opposite of the decision was tried.
    Conflict,
    /// The record cannot be read; older ops are out of reach.
    Damaged,
}

/// One op of a half message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpRecord {
    /// Its record.
    pub physical: PhysicalOffset,
    /// What it did.
    pub kind: OpRecordKind,
    /// When, ms.
    pub store_timestamp: i64,
    /// Who did it.
    pub source: Source,
    /// What was said or tried.
    pub resolution: Resolution,
    /// The client id, may be empty.
    pub client_id: String,
    /// The peer's `ip:port`, may be empty.
    pub address: String,
    /// Why.
    pub reason: String,
    /// Of a commit: the queue offset that it took.
    pub queue_offset: Option<crate::QueueOffset>,
}

/// Follows `previous` from the newest op of the half whose bytes are at `place`; gives them oldest first. Ops whose segment
/// has left end the walk silently.
pub(crate) fn walk(
    newest: u64,
    place: u64,
    read: impl Fn(u64) -> Result<Stored, Error>,
) -> Result<Vec<OpRecord>, Error> {
    let mut history = Vec::new();
    let mut at = newest;
    // A half that cannot be read does not say who sent it.
    let sender = LazyCell::new(|| {
        let half = read(place).ok();
        let body = half.as_ref().and_then(half_body);
        body.map_or_else(String::new, |body| body.client_id.to_owned())
    });
    while at != 0 && history.len() < OPS_MAX {
        let stored = match read(at) {
            Ok(stored) => stored,
            Err(Error::NotFound { .. }) => break,
            Err(Error::Damaged { .. }) => {
                history.push(damaged(at));
                break;
            }
            Err(error) => return Err(error),
        };
        let Some((op, previous)) = op_record(&stored, || sender.clone()) else {
            history.push(damaged(at));
            break;
        };
        history.push(op);
        // The chain only goes back; anything else would be a loop.
        at = if previous < at { previous } else { 0 };
    }
    history.reverse();
    Ok(history)
}

fn op_record(stored: &Stored, sender: impl FnOnce() -> String) -> Option<(OpRecord, u64)> {
    let header = &stored.header;
    let kind = match header.kind {
        Kind::Commit => OpRecordKind::Commit,
        Kind::Rollback => OpRecordKind::Rollback,
        Kind::Park => OpRecordKind::Park,
        Kind::Resume => OpRecordKind::Resume,
        Kind::Answer => OpRecordKind::Answer,
        Kind::Conflict => OpRecordKind::Conflict,
        _ => return None,
    };
    let (body, _) = OpBody::decode(&stored.body)?;
    let (source, resolution) = read_op_flags(header.flags);
    let record = OpRecord {
        physical: PhysicalOffset(header.offset),
        kind,
        store_timestamp: header.store_timestamp,
        source,
        resolution,
        client_id: body.client_id.map_or_else(sender, str::to_owned),
        address: body.address.to_owned(),
        reason: body.reason.to_owned(),
        queue_offset: (kind == OpRecordKind::Commit).then_some(crate::QueueOffset(header.position)),
    };
    Some((record, body.previous))
}

fn damaged(at: u64) -> OpRecord {
    OpRecord {
        physical: PhysicalOffset(at),
        kind: OpRecordKind::Damaged,
        store_timestamp: 0,
        source: Source::Policy,
        resolution: Resolution::Unknown,
        client_id: String::new(),
        address: String::new(),
        reason: String::new(),
        queue_offset: None,
    }
}
