//! The half queue: every half message by its dense sequence, with its state. Derived from the log; changed only by
//! [`HalfQueue::insert`], [`HalfQueue::relocate`] and [`HalfQueue::apply_op`], which append and replay both call.
//! Undecided halfs are in memory; decided ones are there until a checkpoint has written them, then only in the files.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Kind;
use crate::record::op::Source;
use crate::{HalfSeq, NameId, PhysicalOffset};

pub(crate) mod entry;
pub(crate) mod file;
pub(crate) mod page;
mod table;
mod tally;

pub(crate) use entry::{
    HAS_DOMAIN, HAS_WORDS, LOG_DAMAGED, LOG_DAMAGED_REASON, NO_IMMUNITY, UNREADABLE,
};
pub use entry::{HalfEntry, HalfState};
pub(crate) use file::HalfFiles;
pub(crate) use page::{ENTRIES_PER_PAGE, Row};
use table::Table;
use tally::Tallies;

/// Where an entry is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Memory(Row),
    /// Decided and written: read its page.
    File,
    /// Its record has left the log. If it was decided after its bytes were carried forward, a page may have it still.
    Left,
    /// Never given out, lost, or no longer kept.
    Nowhere,
}

#[derive(Debug, Default)]
pub(crate) struct HalfQueue {
    table: Table,
    /// The next sequence to be given out.
    next: u64,
    /// The first sequence whose record is in the log: from here on every page is there. Of those before it, pages need only
    /// keep what was carried forward.
    first_kept: u64,
    /// Sequences below which entries that are not in memory are in a file.
    flushed: u64,
    /// Where carried bytes are, of entries in memory.
    relocated: BTreeMap<u64, u64>,
    /// Pages that differ from the files.
    dirty: BTreeSet<u64>,
    pending: u64,
    parked: u64,
    tallies: Tallies,
}

/// A group's oldest undecided half, as far as one search went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// The group has none.
    None,
    /// This one.
    Half(HalfSeq, HalfEntry),
    /// There is one further on: search again.
    NotYet,
}

/// Entries of one page, as a checkpoint takes them: `None` is not in memory.
#[derive(Clone, Debug)]
pub(crate) struct DirtyPage {
    pub(crate) number: u64,
    pub(crate) rows: Vec<Option<Row>>,
}

impl HalfQueue {
    pub(crate) fn next(&self) -> HalfSeq {
        HalfSeq(self.next)
    }

    pub(crate) fn first_kept(&self) -> u64 {
        self.first_kept
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending
    }

    pub(crate) fn parked(&self) -> u64 {
        self.parked
    }

    /// Starts from a checkpoint; its undecided rows follow by [`HalfQueue::load`].
    pub(crate) fn start_at(&mut self, next: u64, first_kept: u64) {
        self.next = next;
        self.flushed = next;
        self.first_kept = first_kept;
    }

    /// Takes a row that a checkpoint's file holds.
    pub(crate) fn load(&mut self, seq: u64, row: Row) {
        self.count(seq, &row.entry, true);
        self.put(seq, row);
    }

    fn put(&mut self, seq: u64, row: Row) {
        if row.place == row.entry.handle.0 {
            self.relocated.remove(&seq);
        } else {
            self.relocated.insert(seq, row.place);
        }
        self.table.insert(seq, row.entry);
    }

    /// A HALF record. Sequences that were skipped are lost to damage and stay vacant.
    pub(crate) fn insert(&mut self, seq: HalfSeq, entry: HalfEntry) {
        if seq.0 < self.next {
            return;
        }
        self.next = seq.0 + 1;
        self.table.insert(seq.0, entry);
        self.count(seq.0, &entry, true);
        self.touch(seq.0);
    }

    /// A RELOCATE record: the bytes are at `place` now. `carried` restores an entry whose HALF record has left the log.
    pub(crate) fn relocate(&mut self, seq: HalfSeq, place: u64, carried: HalfEntry) {
        if seq.0 >= self.next {
            self.insert(seq, carried);
        } else if self.table.get(seq.0).is_none() {
            self.table.insert(seq.0, carried);
            self.count(seq.0, &carried, true);
        }
        self.relocated.insert(seq.0, place);
        self.touch(seq.0);
    }

    /// Sequences below `next` were given out; retention said so when their records left the log.
    pub(crate) fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Brings an entry that only a file holds back into memory, so that an op can be applied to it.
    pub(crate) fn recall(&mut self, seq: HalfSeq, row: Row) {
        if self.table.get(seq.0).is_none() {
            self.load(seq.0, row);
        }
    }

    /// An op record. The one function that changes a half's state, for append and replay alike; an op that is older than what
    /// the entry knows already changes nothing. Its page is written again all the same: one that knows more than its checkpoint
    /// is from a checkpoint that failed, and nobody knows whether it is durable.
    pub(crate) fn apply_op(
        &mut self,
        seq: HalfSeq,
        kind: Kind,
        source: Source,
        at: PhysicalOffset,
    ) {
        let Some(entry) = self.table.get_mut(seq.0) else {
            return;
        };
        self.dirty.insert(seq.0 / ENTRIES_PER_PAGE);
        if at <= entry.last_op {
            return;
        }
        entry.last_op = at;
        let before = *entry;
        match kind {
            Kind::Commit if before.state.is_undecided() => entry.state = HalfState::Committed,
            Kind::Rollback if before.state.is_undecided() => entry.state = HalfState::RolledBack,
            Kind::Park if before.state == HalfState::Pending => entry.state = HalfState::Parked,
            Kind::Resume if before.state == HalfState::Parked => {
                entry.state = HalfState::Pending;
                entry.answered = 0;
            }
            // What nobody asked for is kept in the history and counts nothing.
            Kind::Answer if source == Source::Check => {
                entry.answered = entry.answered.saturating_add(1)
            }
            _ => {}
        }
        let after = *entry;
        if after.state != before.state {
            self.count(seq.0, &before, false);
            self.count(seq.0, &after, true);
        }
    }

    /// Notes that damage may hide what became of a half.
    pub(crate) fn flag(&mut self, seq: HalfSeq, flag: u8) {
        if let Some(entry) = self.table.get_mut(seq.0) {
            entry.flags |= flag;
            self.touch(seq.0);
        }
    }

    fn count(&mut self, seq: u64, entry: &HalfEntry, up: bool) {
        let counter = match entry.state {
            HalfState::Pending => &mut self.pending,
            HalfState::Parked => &mut self.parked,
            HalfState::Committed | HalfState::RolledBack => return,
        };
        if up {
            *counter += 1;
            self.tallies.add(seq, entry);
        } else {
            *counter -= 1;
            self.tallies.remove(entry);
        }
    }

    /// Undecided halfs by topic.
    pub(crate) fn undecided_by_topic(&self) -> impl Iterator<Item = (NameId, u64)> {
        self.tallies.topics()
    }

    /// How many halfs of a group are undecided.
    pub(crate) fn undecided_of(&self, group: NameId) -> u64 {
        self.tallies.group(group).undecided
    }

    /// Searches a group's oldest undecided half among `looked_at_max` entries, from where the last search came to. Sequences
    /// only grow, so no entry is passed over twice for one group.
    pub(crate) fn oldest_of(&mut self, group: NameId, looked_at_max: usize) -> Oldest {
        let tally = self.tallies.group(group);
        if tally.undecided == 0 {
            return Oldest::None;
        }
        let (mut from, mut found) = (tally.from, Oldest::NotYet);
        for (seq, entry) in self.table.range(tally.from).take(looked_at_max) {
            from = seq;
            if entry.group == group && entry.state.is_undecided() {
                found = Oldest::Half(HalfSeq(seq), *entry);
                break;
            }
            from += 1;
        }
        self.tallies.raise(group, from);
        found
    }

    fn touch(&mut self, seq: u64) {
        self.dirty.insert(seq / ENTRIES_PER_PAGE);
    }

    pub(crate) fn locate(&self, seq: HalfSeq) -> Where {
        match self.row(seq.0) {
            Some(row) => Where::Memory(row),
            None if seq.0 < self.first_kept => Where::Left,
            None if seq.0 < self.flushed => Where::File,
            None => Where::Nowhere,
        }
    }

    /// The entry of a half that is in memory, as every undecided one is.
    pub(crate) fn get(&self, seq: HalfSeq) -> Option<&HalfEntry> {
        self.table.get(seq.0)
    }

    /// The first sequence from `seq` on of which memory has something.
    pub(crate) fn next_in_memory(&self, seq: u64) -> Option<u64> {
        self.table.range(seq).next().map(|(seq, _)| seq)
    }

    /// What memory has of a half.
    pub(crate) fn in_memory_row(&self, seq: HalfSeq) -> Option<Row> {
        self.row(seq.0)
    }

    fn row(&self, seq: u64) -> Option<Row> {
        let entry = *self.table.get(seq)?;
        let place = self.relocated.get(&seq).copied().unwrap_or(entry.handle.0);
        Some(Row { entry, place })
    }

    /// Undecided halfs from `from` on, in order.
    pub(crate) fn undecided(&self, from: HalfSeq) -> impl Iterator<Item = (HalfSeq, &HalfEntry)> {
        let entries = self.table.range(from.0);
        entries
            .filter(|(_, entry)| entry.state.is_undecided())
            .map(|(seq, entry)| (HalfSeq(seq), entry))
    }

    /// Halfs from `from` on that were undecided when the log ended at `end`, in order.
    pub(crate) fn undecided_at(&self, from: HalfSeq, end: u64) -> impl Iterator<Item = HalfSeq> {
        let entries = self.table.range(from.0);
        let then =
            entries.filter(move |(_, entry)| entry.state.is_undecided() || entry.last_op.0 >= end);
        then.map(|(seq, _)| HalfSeq(seq))
    }

    /// Rows of undecided halfs from `from` on, in order.
    pub(crate) fn undecided_rows(&self, from: HalfSeq) -> impl Iterator<Item = (HalfSeq, Row)> {
        self.undecided(from)
            .filter_map(|(seq, _)| Some((seq, self.row(seq.0)?)))
    }

    /// Takes the pages that a checkpoint must write.
    pub(crate) fn take_dirty(&mut self) -> Vec<DirtyPage> {
        let numbers = std::mem::take(&mut self.dirty);
        let page = |number: u64| {
            let first = number * ENTRIES_PER_PAGE;
            let rows = (first..first + ENTRIES_PER_PAGE)
                .map(|seq| self.row(seq))
                .collect();
            DirtyPage { number, rows }
        };
        numbers.into_iter().map(page).collect()
    }

    /// The pages are in the files: decided entries that did not change since leave memory.
    pub(crate) fn written(&mut self, pages: impl Iterator<Item = u64>, next_then: u64) {
        self.flushed = self.flushed.max(next_then);
        for number in pages
            .filter(|number| !self.dirty.contains(number))
            .collect::<Vec<_>>()
        {
            let first = number * ENTRIES_PER_PAGE;
            for seq in first..(first + ENTRIES_PER_PAGE).min(next_then) {
                if self
                    .table
                    .get(seq)
                    .is_some_and(|entry| !entry.state.is_undecided())
                {
                    self.table.remove(seq);
                    self.relocated.remove(&seq);
                }
            }
        }
        self.table.shrink(self.next);
    }

    /// The pages could not be written: they stay dirty.
    pub(crate) fn not_written(&mut self, pages: impl Iterator<Item = u64>) {
        self.dirty.extend(pages);
    }

    /// The records of halfs below `seq` have left the log.
    pub(crate) fn forget_below(&mut self, seq: u64) {
        self.first_kept = self.first_kept.max(seq);
    }

    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
pub(crate) mod tests;
