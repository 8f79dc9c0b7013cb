//! The numbers that name things in the store. Each is its own type, so that a queue offset can never be read as a log offset.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A byte position in the commit log: where a record begins. Grows for ever; never 0, for every segment opens with a header.
    PhysicalOffset(u64)
);
number!(
    /// A position in one topic queue. Dense from 0.
    QueueOffset(u64)
);
number!(
    /// A half message's place in the half queue: dense from 0, and what clients echo as `tranStateTableOffset`.
    HalfSeq(u64)
);
number!(
    /// An interned topic, producer group or client id. Means something only to the [`crate::Store`] that gave it out.
    NameId(u32)
);

impl NameId {
    /// Stands for a name that was lost with a damaged record. Resolves to the empty string.
    pub const UNKNOWN: NameId = NameId(u32::MAX);
}

/// Widens a length; no platform we run on has a `usize` beyond 64 bits.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Narrows a length read from disk or from an offset; saturates, so that a bounds check fails instead of wrapping round.
pub(crate) fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
