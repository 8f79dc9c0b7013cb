//! How often what went wrong.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name, over one run or many.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Halfs stored.
    pub halfs: u64,
    /// Delayed messages delivered.
    pub delayed: u64,
    /// Simulated time, ms.
    pub simulated_ms: u64,
    /// Seeds run.
    pub seeds: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds what another run counted.
    pub fn merge(&mut self, other: &Tally) {
        for (fault, count) in &other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.halfs += other.halfs;
        self.delayed += other.delayed;
        self.simulated_ms += other.simulated_ms;
        self.seeds += other.seeds;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {} halfs, {} deliveries of delayed messages, {} h simulated; faults:",
            self.seeds,
            self.halfs,
            self.delayed,
            self.simulated_ms / 3_600_000
        )?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>9}  {fault}")?;
        }
        Ok(())
    }
}
