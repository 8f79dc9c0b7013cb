//! One checker for each guarantee. A checker sees what happened and knows the ledger; it never looks into what it checks.

mod delivered;
mod g01_durable_ack;
mod g02_invisible_until_committed;
mod g03_delivered_iff_committed;
mod g04_first_decision_wins;
mod g05_never_forgotten;
mod g06_identity;
mod g07_exact_checks;
mod g08_order;
mod g09_bounded;
mod g10_honest_disk;

use crate::model::Model;
use crate::seen::Seen;

pub(crate) use g04_first_decision_wins::in_our_words;

/// A broken guarantee, in words.
pub(crate) type Broken = String;

/// Looks for one kind of broken promise.
pub(crate) trait Check {
    /// The guarantee, as the documents number it.
    fn guarantee(&self) -> &'static str;

    /// Looks at what was observed.
    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken>;
}

/// All checkers.
pub(crate) fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(g01_durable_ack::DurableAck),
        Box::new(g02_invisible_until_committed::Invisible),
        Box::new(g03_delivered_iff_committed::Delivered),
        Box::new(g04_first_decision_wins::FirstWins),
        Box::new(g05_never_forgotten::NeverForgotten),
        Box::new(g06_identity::Identity::default()),
        Box::new(g07_exact_checks::ExactChecks::default()),
        Box::new(g08_order::Order::default()),
        Box::new(g09_bounded::Bounded::default()),
        Box::new(g10_honest_disk::HonestDisk),
    ]
}

/// Fails with a text made only then.
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use ensure;
