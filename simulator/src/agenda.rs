//! What is still to happen, and when. Ties are broken by the order in which they were entered.

use std::collections::BTreeMap;

/// Things to come, by their time in milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    entries: BTreeMap<(u64, u64), T>,
    next: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda {
            entries: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn at(&mut self, at_ms: u64, what: T) {
        self.entries.insert((at_ms, self.next), what);
        self.next += 1;
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, T)> {
        let ((at, _), what) = self.entries.pop_first()?;
        Some((at, what))
    }

    /// Drops what no longer can happen.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.entries.retain(|_, what| keep(what));
    }
}
