//! What is on the disk: each file as processes see it, as a power loss leaves it, and what lies between.

use std::collections::{BTreeMap, BTreeSet};

use crate::dice::Dice;

/// Unsynced writes survive a power loss in parts of this size.
const SECTOR: usize = 512;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The machine loses power: unsynced writes survive in any part and order.
    Power,
    /// The process is killed: what it wrote is there.
    Kill,
}

/// A change of names that no folder sync has made durable yet.
#[derive(Clone, Debug)]
pub(crate) enum NameOp {
    Create { name: String, number: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl NameOp {
    fn touches(&self, folder: &str) -> bool {
        match self {
            NameOp::Create { name, .. } | NameOp::Remove { name } => folder_of(name) == folder,
            NameOp::Rename { from, to } => folder_of(from) == folder || folder_of(to) == folder,
        }
    }

    /// False if the name is not there.
    fn apply(&self, names: &mut BTreeMap<String, u64>) -> bool {
        match self {
            NameOp::Create { name, number } => {
                names.insert(name.clone(), *number);
                true
            }
            NameOp::Rename { from, to } => match names.remove(from) {
                Some(number) => {
                    names.insert(to.clone(), number);
                    true
                }
                None => false,
            },
            NameOp::Remove { name } => names.remove(name).is_some(),
        }
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A write, or what is left of one, that no sync has made durable.
#[derive(Clone, Debug)]
struct Dirty {
    number: u64,
    at: usize,
    bytes: Vec<u8>,
}

/// What a sync has to make durable: what a file was when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Writes with smaller numbers.
    until: u64,
    size: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) now: Vec<u8>,
    pub(crate) synced: Vec<u8>,
    /// In the order in which they were made.
    dirty: Vec<Dirty>,
    /// Writes so far.
    writes: u64,
}

impl Content {
    pub(crate) fn write(&mut self, bytes: &[u8], at: usize) {
        overwrite(&mut self.now, at, bytes);
        self.dirty.push(Dirty {
            number: self.writes,
            at,
            bytes: bytes.to_vec(),
        });
        self.writes += 1;
    }

    /// What a sync that begins now has to make durable.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            until: self.writes,
            size: self.now.len(),
        }
    }

    /// How many of the writes that are not durable are in a sync's scope.
    fn inside(&self, scope: Scope) -> usize {
        self.dirty
            .partition_point(|write| write.number < scope.until)
    }

    /// Makes the first of its scope durable, so many of 1000.
    pub(crate) fn sync(&mut self, scope: Scope, part: u64) {
        let inside = self.inside(scope);
        let count = inside * usize::try_from(part).unwrap_or(0) / 1_000;
        for write in self.dirty.drain(..count) {
            overwrite(&mut self.synced, write.at, &write.bytes);
        }
        if count == inside && self.synced.len() < scope.size {
            self.synced.resize(scope.size, 0);
        }
    }

    /// Some of what a sync has not made durable never will be, unless it is written again; reads show it all the same.
    pub(crate) fn forget(&mut self, scope: Scope, dice: &mut Dice) {
        let kept_of_1000 = *dice.pick(&[0, 0, 500, 900]);
        let since = self.dirty.split_off(self.inside(scope));
        let mut kept = Vec::new();
        for Dirty { number, at, bytes } in std::mem::take(&mut self.dirty) {
            let sectors = sectors(at, &bytes).filter(|_| dice.permille(kept_of_1000));
            kept.extend(sectors.map(|(at, sector)| Dirty {
                number,
                at,
                bytes: sector.to_vec(),
            }));
        }
        kept.extend(since);
        self.dirty = kept;
    }

    /// From now on reads show what the disk has, and what is still to be written. True if that is something else.
    fn drop_cache(&mut self) -> bool {
        let mut there = self.synced.clone();
        there.resize(self.now.len(), 0);
        for write in &self.dirty {
            overwrite(&mut there, write.at, &write.bytes);
        }
        std::mem::replace(&mut self.now, there) != self.now
    }

    fn lose_power(&mut self, kept_of_1000: u64, dice: &mut Dice) {
        for write in std::mem::take(&mut self.dirty) {
            for (at, sector) in sectors(write.at, &write.bytes) {
                if dice.permille(kept_of_1000) {
                    overwrite(&mut self.synced, at, sector);
                }
            }
        }
        self.now.clone_from(&self.synced);
    }
}

/// Cuts bytes written at `at` where sectors end.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = (start + SECTOR - (at + start) % SECTOR).min(bytes.len());
        let sector = bytes.get(start..end).filter(|sector| !sector.is_empty())?;
        let from = at + start;
        start = end;
        Some((from, sector))
    })
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    let end = at + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(written);
}

/// All files and names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// With their numbers.
    pending: Vec<(u64, NameOp)>,
    /// Changes of names so far.
    changes: u64,
    next: u64,
}

impl Image {
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// A file that is created anew is another file: a power loss may bring the old one back.
    pub(crate) fn create(&mut self, name: &str) -> u64 {
        let number = self.next;
        self.next += 1;
        self.files.insert(number, Content::default());
        self.change(NameOp::Create {
            name: name.to_owned(),
            number,
        });
        number
    }

    pub(crate) fn change(&mut self, op: NameOp) -> bool {
        let is_known = op.apply(&mut self.names);
        if is_known {
            self.pending.push((self.changes, op));
            self.changes += 1;
        }
        is_known
    }

    pub(crate) fn list(&self, folder: &str) -> Vec<String> {
        let inside = |name: &&String| folder_of(name) == folder;
        let short = |name: &String| name[folder.len()..].trim_start_matches('/').to_owned();
        self.names.keys().filter(inside).map(short).collect()
    }

    /// How many changes of names there were.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Makes those of the first `until` changes durable that concern a folder.
    pub(crate) fn sync_folder(&mut self, folder: &str, until: u64) {
        let durable = &mut self.durable_names;
        self.pending.retain(|(number, op)| {
            let touches = *number < until && op.touches(folder);
            if touches {
                op.apply(durable);
            }
            !touches
        });
    }

    pub(crate) fn lose_power(&mut self, dice: &mut Dice) {
        let kept_of_1000 = *dice.pick(&[0, 100, 500, 900, 1_000]);
        for content in self.files.values_mut() {
            content.lose_power(kept_of_1000, dice);
        }
        // Names are journalled: some first part of what was pending is there.
        let kept = match dice.below(3) {
            0 => 0,
            1 => self.pending.len(),
            _ => dice.index(self.pending.len() + 1),
        };
        for (_, op) in self.pending.drain(..).take(kept) {
            op.apply(&mut self.durable_names);
        }
        self.names.clone_from(&self.durable_names);
    }

    pub(crate) fn drop_cache(&mut self) -> bool {
        let mut is_other = false;
        for content in self.files.values_mut() {
            is_other |= content.drop_cache();
        }
        is_other
    }

    pub(crate) fn collect_garbage(&mut self) {
        let mut used: BTreeSet<u64> = self.names.values().copied().collect();
        used.extend(self.durable_names.values());
        self.files.retain(|number, _| used.contains(number));
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used(&self) -> u64 {
        let sizes = self
            .names
            .values()
            .filter_map(|number| self.files.get(number));
        sizes.map(|content| content.now.len() as u64).sum()
    }

    /// Names and sizes of all files.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().filter_map(|(name, number)| {
            let content = self.files.get(number)?;
            Some((name.as_str(), content.now.len()))
        })
    }

    /// How far the log survives a power loss, `from` and all before it being known to: up to the first byte that is not on the
    /// platter as it was written last. Log segments are files named after where they start.
    pub(crate) fn log_durable(&self, segment_bytes: u64, from: u64) -> u64 {
        let mut start = from - from % segment_bytes;
        let mut at = from - start;
        loop {
            let name = format!("log/{start:020}");
            let number = self.names.get(&name);
            let content = number.and_then(|number| self.files.get(number));
            let Some(content) = content.filter(|_| self.durable_names.get(&name) == number) else {
                return start + at;
            };
            let skip = usize::try_from(at).unwrap_or(usize::MAX);
            let now = content.now.get(skip..).unwrap_or_default();
            let synced = content.synced.get(skip..).unwrap_or_default();
            let same = now.iter().zip(synced).take_while(|(a, b)| a == b).count();
            if same < now.len() {
                return start + at + same as u64;
            }
            start += segment_bytes;
            at = 0;
        }
    }

    /// Whether a log segment holds only zeros from a log offset on.
    pub(crate) fn is_clean_behind(&self, segment_bytes: u64, end: u64) -> bool {
        let start = end - end % segment_bytes;
        let number = self.names.get(&format!("log/{start:020}"));
        let content = number.and_then(|number| self.files.get(number));
        let from = usize::try_from(end - start).unwrap_or(usize::MAX);
        content.is_none_or(|content| {
            let rest = content.now.get(from..).unwrap_or_default();
            rest.iter().all(|byte| *byte == 0)
        })
    }

    pub(crate) fn flip(&mut self, name: &str, byte: usize, bit: u8) {
        let Some(content) = self.names.get(name).and_then(|n| self.files.get_mut(n)) else {
            return;
        };
        let written = content.dirty.iter_mut();
        let written = written.map(|write| (write.at, &mut write.bytes));
        let whole = [(0, &mut content.now), (0, &mut content.synced)];
        for (at, bytes) in written.chain(whole) {
            let place = byte.checked_sub(at).and_then(|byte| bytes.get_mut(byte));
            if let Some(place) = place {
                *place ^= 1 << bit;
            }
        }
    }
}
