//! A deterministic simulation of the broker: one seed decides who is there, what they do, and what goes wrong.
//!
//! The real [`escrow_store`] and [`escrow_coordinator`] run on one thread, coupled as the log thread couples them, on a
//! simulated disk and clock. First everything may go wrong and nothing may be broken; then nothing goes wrong any more and
//! everything must settle. What must hold is in `model`, which knows nothing of how it is done, and in `checks`, one file for
//! each guarantee.

mod agenda;
mod checks;
mod dice;
mod disk;
mod model;
mod plan;
mod seen;
mod tally;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use tally::Tally;

use world::World;

/// How a run is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telling {
    /// The history is printed as it goes.
    pub is_printed: bool,
    /// The history is kept in [`Outcome::history`].
    pub is_kept: bool,
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was broken: the guarantee, how, and when. `None`: nothing was.
    pub broken: Option<String>,
    /// A hash of the whole history.
    pub trace_hash: u128,
    /// Lines of the history.
    pub trace_lines: u64,
    /// The history, if it was asked for.
    pub history: String,
    /// What went wrong on purpose.
    pub tally: Tally,
}

/// Runs one seed to its end.
pub fn run(seed: u64, telling: Telling) -> Outcome {
    let mut world = World::new(seed, telling.is_kept, telling.is_printed);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match result {
        Ok(violation) => violation.map(|broken| {
            format!(
                "{}: {} (at {} ms)",
                broken.guarantee, broken.what, broken.at_ms
            )
        }),
        Err(panic) => Some(format!("G9 bounded: panicked: {}", text_of(&*panic))),
    };
    let mut tally = world.tally.clone();
    tally.seeds = 1;
    Outcome {
        seed,
        broken,
        trace_hash: world.trace.hash(),
        trace_lines: world.trace.lines(),
        history: world.trace.into_text(),
        tally,
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
