//! What a disk can be told to do wrong.

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Opening, listing and asking for a size too.
    Read,
    Write,
    Sync,
    /// Creating, renaming, removing.
    Name,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureKind {
    /// Everything ends in the middle of an operation.
    Crash,
    /// A write fails, having written a part.
    Write,
    /// A sync fails, having synced a part.
    Sync,
    /// A sync fails, having synced a part, and some of the rest counts as written from then on: reads show it, no later sync
    /// writes it, a power loss shows that it never was there.
    SyncForgets,
    /// A read fails.
    Read,
    /// A read goes well, and before it everything leaves the cache that counts as written: reads show what the disk has.
    CacheDropped,
}

impl FailureKind {
    fn concerns(self, op: Op) -> bool {
        match self {
            FailureKind::Crash => op != Op::Read,
            FailureKind::Read | FailureKind::CacheDropped => op == Op::Read,
            FailureKind::Write => op == Op::Write,
            FailureKind::Sync | FailureKind::SyncForgets => op == Op::Sync,
        }
    }
}

/// Something that is to go wrong after a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// Operations of that kind that still go well.
    pub(crate) after: u64,
    /// Whether it goes on until the next process, or happens once.
    pub(crate) lasts: bool,
}

impl Failure {
    pub(crate) fn strikes(&mut self, op: Op) -> bool {
        if !self.kind.concerns(op) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        true
    }
}
