//! One half message as the half queue knows it.

use crate::{NameId, PhysicalOffset};

/// Where a half message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HalfState {
    /// Undecided; its producer is asked.
    Pending,
    /// Undecided; asked often enough, or its log is damaged. A person or a late answer decides.
    Parked,
    /// Delivered.
    Committed,
    /// Never delivered.
    RolledBack,
}

impl HalfState {
    /// True while a decision can still be made.
    pub fn is_undecided(self) -> bool {
        matches!(self, HalfState::Pending | HalfState::Parked)
    }
}

/// What is known of a half message without reading it: 64 bytes in memory while it is undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfEntry {
    /// Where the HALF record was written: the identity that its producer holds. Never changes.
    pub handle: PhysicalOffset,
    /// The newest op of this half, 0 if there is none.
    pub last_op: PhysicalOffset,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// [`crate::key_hash`] of its `UNIQ_KEY`, 0 if it has none.
    pub unique_hash: u64,
    /// Its real topic.
    pub topic: NameId,
    /// Its producer group.
    pub group: NameId,
    /// The client id that sent it.
    pub client: NameId,
    /// Its real queue.
    pub queue_id: i32,
    /// Bytes of its wire image.
    pub size: u32,
    pub(crate) immunity: u32,
    pub(crate) tags: i32,
    /// Checks answered with UNKNOWN.
    pub answered: u16,
    /// Where it stands.
    pub state: HalfState,
    pub(crate) flags: u8,
}

/// `KEYS` has words: a commit must fetch their hashes.
pub(crate) const HAS_WORDS: u8 = 1;
/// The HALF record itself cannot be read.
pub(crate) const UNREADABLE: u8 = 2;
/// Damage in the log may hide an op of this half.
pub(crate) const LOG_DAMAGED: u8 = 4;

/// The reason that the PARK of such a half states: by it replay knows again what only the damage had told.
pub(crate) const LOG_DAMAGED_REASON: &str = "log damaged";

/// The message has an `ESCROW_DOMAIN`.
pub(crate) const HAS_DOMAIN: u8 = 8;

pub(crate) const NO_IMMUNITY: u32 = u32::MAX;

impl HalfEntry {
    /// The time before the first check that the message asked for.
    pub fn immunity_ms(&self) -> Option<u32> {
        (self.immunity != NO_IMMUNITY).then_some(self.immunity)
    }

    /// True if the message names the database that decides it, by an `ESCROW_DOMAIN`: a row there says what became of its
    /// transaction, so that it may be asked about at any time.
    pub fn declares_marker(&self) -> bool {
        self.flags & HAS_DOMAIN != 0
    }

    /// True if damage in the log may hide what became of this half, or hid the half itself. Never to be checked by itself.
    pub fn is_log_damaged(&self) -> bool {
        self.flags & (UNREADABLE | LOG_DAMAGED) != 0
    }
}

const _: () = assert!(
    size_of::<Option<HalfEntry>>() == 64,
    "an undecided half costs one cache line"
);
