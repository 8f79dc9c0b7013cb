//! How many halfs are undecided by topic and by producer group, and from where on a group's may be found. Kept up with every
//! change, so that nobody has to go through ten million halfs to learn that a group has none.

use hashbrown::HashMap;

use super::entry::HalfEntry;
use crate::NameId;

/// The undecided halfs of one producer group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupTally {
    pub(crate) undecided: u64,
    /// None of them has a sequence below this.
    pub(crate) from: u64,
}

/// Counts by name; a name that had a half once stays.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    topics: HashMap<NameId, u64>,
    groups: HashMap<NameId, GroupTally>,
}

impl Tallies {
    pub(crate) fn add(&mut self, seq: u64, entry: &HalfEntry) {
        *self.topics.entry(entry.topic).or_default() += 1;
        let group = self.groups.entry(entry.group).or_default();
        group.from = if group.undecided == 0 {
            seq
        } else {
            group.from.min(seq)
        };
        group.undecided += 1;
    }

    pub(crate) fn remove(&mut self, entry: &HalfEntry) {
        if let Some(topic) = self.topics.get_mut(&entry.topic) {
            *topic -= 1;
        }
        if let Some(group) = self.groups.get_mut(&entry.group) {
            group.undecided -= 1;
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (NameId, u64)> {
        self.topics.iter().map(|(topic, halfs)| (*topic, *halfs))
    }

    pub(crate) fn group(&self, group: NameId) -> GroupTally {
        self.groups.get(&group).copied().unwrap_or_default()
    }

    /// It was found out that none of the group's lies below `from`.
    pub(crate) fn raise(&mut self, group: NameId, from: u64) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.from = group.from.max(from);
        }
    }
}
