//! What will happen to each order, laid down in advance so that every run tells the whole story.

use serde::{Deserialize, Serialize};

/// The life of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// Database commits, END_TRANSACTION says COMMIT.
    Committed,
    /// Card declined: database rolls back, END_TRANSACTION says ROLLBACK.
    RolledBack,
    /// Database commits, then the process aborts before END_TRANSACTION.
    CrashedAfterCommit,
    /// The process aborts before the database commits.
    CrashedBeforeCommit,
    /// Database commits, END_TRANSACTION is never sent although the process lives.
    EndLost,
}

impl Fate {
    pub(super) const ALL: [Fate; 5] = [
        Fate::Committed,
        Fate::RolledBack,
        Fate::CrashedAfterCommit,
        Fate::CrashedBeforeCommit,
        Fate::EndLost,
    ];

    pub(super) fn of(order: u64) -> Self {
        match order % 25 {
            7 | 19 => Fate::CrashedAfterCommit,
            13 => Fate::CrashedBeforeCommit,
            4 | 16 => Fate::EndLost,
            0 | 5 | 10 | 15 | 20 => Fate::RolledBack,
            _ => Fate::Committed,
        }
    }

    /// Whether the order is in the database in the end.
    pub(super) fn is_kept(self) -> bool {
        !matches!(self, Fate::RolledBack | Fate::CrashedBeforeCommit)
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Fate::Committed => "committed, END sent",
            Fate::RolledBack => "rolled back, END sent",
            Fate::CrashedAfterCommit => "committed, then aborted before END",
            Fate::CrashedBeforeCommit => "aborted before the database commit",
            Fate::EndLost => "committed, END lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_demo_has_every_fate() {
        for fate in Fate::ALL {
            assert!((1..=25).any(|order| Fate::of(order) == fate), "{fate:?}");
        }
    }
}
