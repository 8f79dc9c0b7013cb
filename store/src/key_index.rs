//! The key index: from the hash of topic and key to the records that carry it. What is recent is in sorted blocks in memory;
//! each checkpoint writes them as one sorted run. Answers are candidates: whoever asks compares the real key.

use std::sync::Arc;

pub(crate) mod run;

pub(crate) use run::{Run, RunFiles};

/// A key's hash and the record that it leads to.
pub(crate) type Item = (u64, u64);

/// Items that are sorted at a time: few enough that the log thread does not notice.
const BLOCK: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    /// Unsorted.
    newest: Vec<Item>,
    /// Sorted, oldest first.
    blocks: Vec<Arc<[Item]>>,
    /// Oldest first.
    runs: Vec<Arc<Run>>,
}

impl KeyIndex {
    pub(crate) fn extend(&mut self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            self.newest.push(item);
            if self.newest.len() >= BLOCK {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        if self.newest.is_empty() {
            return;
        }
        self.newest.sort_unstable();
        self.blocks.push(Arc::from(self.newest.as_slice()));
        self.newest.clear();
    }

    /// What a checkpoint must write: the blocks, which stay until [`KeyIndex::written`].
    pub(crate) fn take_blocks(&mut self) -> Vec<Arc<[Item]>> {
        self.seal();
        self.blocks.clone()
    }

    /// The first `blocks` blocks are in `runs` now, the whole list that replaces the old one.
    pub(crate) fn written(&mut self, blocks: usize, runs: Vec<Arc<Run>>) {
        self.blocks.drain(..blocks.min(self.blocks.len()));
        self.runs = runs;
    }

    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        self.runs.clone()
    }

    /// Forgets the runs of which nothing is kept in the log any more.
    pub(crate) fn forget_below(&mut self, log_start: u64) {
        self.runs.retain(|run| run.physical_max >= log_start);
    }

    /// Records in memory under `hash`, newest first, and the runs that are to be asked after them.
    pub(crate) fn recent(&self, hash: u64) -> (Vec<u64>, Vec<Arc<Run>>) {
        let mut found: Vec<u64> = self
            .newest
            .iter()
            .filter(|item| item.0 == hash)
            .map(|item| item.1)
            .collect();
        for block in &self.blocks {
            let first = block.partition_point(|item| item.0 < hash);
            let matching = block
                .get(first..)
                .unwrap_or_default()
                .iter()
                .take_while(|item| item.0 == hash);
            found.extend(matching.map(|item| item.1));
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        (found, self.runs.iter().rev().cloned().collect())
    }
}

#[cfg(test)]
mod tests;
