//! What the checkers see. The ledger has taken note of it before they look, except where it says otherwise.

use bytes::Bytes;
use escrow_coordinator::{CheckRequest, Coordinator, EndOutcome};
use escrow_protocol::transaction::Resolution;
use escrow_store::{Durability, Error, Lookup, OpRecord, RecoveryReport, RetentionReport, Store};

use crate::model::{Decision, HalfId, QueueKey, Reopened, What};

/// Who wanted a half decided, and how it ended.
pub(crate) struct Ended<'a> {
    /// `None` if the request names no half that is there.
    pub(crate) half: Option<HalfId>,
    /// What had been decided before.
    pub(crate) before: Option<Decision>,
    pub(crate) resolution: Resolution,
    pub(crate) from_check: bool,
    pub(crate) connection: u64,
    /// The request was made wrong on purpose: it names no half rightly.
    pub(crate) is_wrong: bool,
    pub(crate) outcome: &'a EndOutcome,
    /// What is kept of the half afterwards.
    pub(crate) history: &'a [OpRecord],
}

/// One entry of a queue as a consumer read it.
pub(crate) type ReadEntry = (u64, i64, Result<Bytes, Error>);

/// Something that was observed.
pub(crate) enum Seen<'a> {
    /// A half was stored; whether its sender's connection was open then.
    Stored {
        half: HalfId,
        is_open: bool,
    },
    /// A half was sent again and answered with the ids of this one.
    Repeated(Option<HalfId>),
    /// A plain message or a commit took this place in a queue that ended at `before`.
    Placed {
        queue: QueueKey,
        offset: u64,
        before: u64,
    },
    /// A request was refused by the store.
    Refused(&'a Error),
    /// An END_TRANSACTION was carried out.
    Ended(Ended<'a>),
    /// An operator decided. `None` before: undecided.
    Operated {
        half: HalfId,
        before: Option<Decision>,
        wanted: Decision,
        /// What the broker said was decided, and whether it was so before.
        said: Option<(Decision, bool)>,
    },
    /// An operator took a half up again, or asked for a check.
    Touched(HalfId),
    /// Somebody is told that something which ends at `end` is safe.
    Told {
        what: &'a What,
        end: u64,
        need: Durability,
        /// How far the log really is on the platter.
        durable: u64,
    },
    /// This message became visible.
    Shown {
        queue: QueueKey,
        offset: u64,
        durable: u64,
    },
    Joined {
        group: u64,
        connection: u64,
    },
    Left {
        connection: u64,
    },
    /// Checks go out, all of one round.
    Checks(&'a [CheckRequest]),
    /// A check could not be delivered.
    NotSent {
        seq: u64,
    },
    /// A consumer has read from `from` on.
    Pulled {
        queue: QueueKey,
        range: (u64, u64),
        from: u64,
        read: &'a Result<Vec<ReadEntry>, Error>,
        /// How far the log was written then, and how far it really was on the platter.
        written: u64,
        durable: u64,
    },
    /// Somebody looked at a half by its handle.
    Looked {
        half: HalfId,
        found: &'a Result<Lookup, Error>,
    },
    /// Somebody asked for messages by key.
    ByKey {
        found: &'a Result<Vec<Bytes>, Error>,
    },
    /// Retention made a step.
    Retained(&'a RetentionReport),
    /// The process has ended.
    Crashed,
    /// A process has opened the store. The ledger has followed what it found.
    Opened {
        report: &'a RecoveryReport,
        reopened: &'a Reopened,
        /// What was promised durable before.
        floor: u64,
        /// How far the log really is on the platter.
        durable: u64,
        /// Behind its end the log's last file holds nothing.
        is_clean_behind: bool,
        /// Bytes saved under `lost+found`, by file.
        saved: &'a [(String, usize)],
    },
    /// Everything is looked over.
    Audit {
        store: &'a Store,
        coordinator: &'a Coordinator,
    },
    /// The second phase is over.
    Settled {
        store: &'a Store,
    },
}
