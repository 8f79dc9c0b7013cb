//! What whoever was told of something, or has seen it, may rely on.

use escrow_store::Durability;

use crate::disk::Crash;

/// What it must survive from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// Nobody knows of it.
    #[default]
    Nothing,
    /// The end of the process.
    Process,
    /// A power loss.
    Machine,
}

impl Promise {
    pub(crate) fn of(need: Durability) -> Promise {
        match need {
            Durability::Written => Promise::Process,
            Durability::Synced => Promise::Machine,
        }
    }

    /// A promise is never taken back.
    pub(crate) fn raise(&mut self, need: Durability) {
        *self = (*self).max(Promise::of(need));
    }

    pub(crate) fn covers(self, crash: Crash) -> bool {
        match self {
            Promise::Nothing => false,
            Promise::Process => crash == Crash::Kill,
            Promise::Machine => true,
        }
    }
}
