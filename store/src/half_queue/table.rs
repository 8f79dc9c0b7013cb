//! The half queue's memory: direct addressing by sequence in chunks. No hash table: a growing one stops the world for half a
//! second at ten million entries. An empty chunk is freed, a nearly empty one becomes a short sorted list.

use std::collections::BTreeMap;

use super::entry::HalfEntry;
use super::page::ENTRIES_PER_PAGE;
use crate::ids::{narrow, wide};

/// Entries of one chunk: whole pages, so that a page never spans two chunks.
pub(crate) const CHUNK: u64 = ENTRIES_PER_PAGE * 80;

/// A chunk with fewer entries than this is kept as a list.
const SPARSE_BELOW: usize = 1024;

#[derive(Debug)]
enum Chunk {
    Dense {
        slots: Vec<Option<HalfEntry>>,
        present: usize,
    },
    Sparse(Vec<(u16, HalfEntry)>),
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    chunks: BTreeMap<u64, Chunk>,
    present: usize,
}

fn slot_of(seq: u64) -> usize {
    narrow(seq % CHUNK)
}

fn key_of(seq: u64) -> u16 {
    u16::try_from(seq % CHUNK).unwrap_or(u16::MAX)
}

impl Table {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.present
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&HalfEntry> {
        match self.chunks.get(&(seq / CHUNK))? {
            Chunk::Dense { slots, .. } => slots.get(slot_of(seq))?.as_ref(),
            Chunk::Sparse(list) => {
                let index = list
                    .binary_search_by_key(&key_of(seq), |(key, _)| *key)
                    .ok()?;
                list.get(index).map(|(_, entry)| entry)
            }
        }
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut HalfEntry> {
        match self.chunks.get_mut(&(seq / CHUNK))? {
            Chunk::Dense { slots, .. } => slots.get_mut(slot_of(seq))?.as_mut(),
            Chunk::Sparse(list) => {
                let index = list
                    .binary_search_by_key(&key_of(seq), |(key, _)| *key)
                    .ok()?;
                list.get_mut(index).map(|(_, entry)| entry)
            }
        }
    }

    pub(crate) fn insert(&mut self, seq: u64, entry: HalfEntry) {
        let chunk = self
            .chunks
            .entry(seq / CHUNK)
            .or_insert_with(|| Chunk::Dense {
                // All of it at once: pages not touched cost nothing, growing by doubling would cost half as much again.
                slots: Vec::with_capacity(narrow(CHUNK)),
                present: 0,
            });
        let added = match chunk {
            Chunk::Dense { slots, present } => {
                let slot = slot_of(seq);
                if slots.len() <= slot {
                    slots.resize(slot + 1, None);
                }
                let added = slots
                    .get_mut(slot)
                    .is_some_and(|place| place.replace(entry).is_none());
                *present += usize::from(added);
                added
            }
            Chunk::Sparse(list) => match list.binary_search_by_key(&key_of(seq), |(key, _)| *key) {
                Ok(index) => {
                    if let Some(place) = list.get_mut(index) {
                        place.1 = entry;
                    }
                    false
                }
                Err(index) => {
                    list.insert(index, (key_of(seq), entry));
                    true
                }
            },
        };
        self.present += usize::from(added);
    }

    pub(crate) fn remove(&mut self, seq: u64) {
        let Some(chunk) = self.chunks.get_mut(&(seq / CHUNK)) else {
            return;
        };
        let (removed, empty) = match chunk {
            Chunk::Dense { slots, present } => {
                let removed = slots
                    .get_mut(slot_of(seq))
                    .is_some_and(|place| place.take().is_some());
                *present -= usize::from(removed);
                (removed, *present == 0)
            }
            Chunk::Sparse(list) => {
                let found = list.binary_search_by_key(&key_of(seq), |(key, _)| *key);
                if let Ok(index) = found {
                    list.remove(index);
                }
                (found.is_ok(), list.is_empty())
            }
        };
        self.present -= usize::from(removed);
        if empty {
            self.chunks.remove(&(seq / CHUNK));
        }
    }

    /// Makes lists of chunks that are nearly empty. Chunks from `keep_from` on are still being filled.
    pub(crate) fn shrink(&mut self, keep_from: u64) {
        for (number, chunk) in self.chunks.range_mut(..keep_from / CHUNK) {
            let Chunk::Dense { slots, present } = chunk else {
                continue;
            };
            if *present >= SPARSE_BELOW {
                slots.shrink_to_fit();
                continue;
            }
            let first = number * CHUNK;
            let list = (first..)
                .zip(slots.iter())
                .filter_map(|(seq, slot)| Some((key_of(seq), (*slot)?)));
            let list: Vec<_> = list.collect();
            *chunk = Chunk::Sparse(list);
        }
    }

    /// Entries from `from` on, in order.
    pub(crate) fn range(&self, from: u64) -> impl Iterator<Item = (u64, &HalfEntry)> {
        let chunks = self.chunks.range(from / CHUNK..);
        chunks
            .flat_map(move |(number, chunk)| chunk.iter(number * CHUNK))
            .skip_while(move |(seq, _)| *seq < from)
    }
}

impl Chunk {
    fn iter(&self, first: u64) -> Box<dyn Iterator<Item = (u64, &HalfEntry)> + '_> {
        match self {
            Chunk::Dense { slots, .. } => Box::new(
                slots
                    .iter()
                    .enumerate()
                    .filter_map(move |(slot, entry)| Some((first + wide(slot), entry.as_ref()?))),
            ),
            Chunk::Sparse(list) => Box::new(
                list.iter()
                    .map(move |(key, entry)| (first + u64::from(*key), entry)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half_queue::tests::entry;

    #[test]
    fn dense_and_sparse_chunks_behave_alike() {
        let mut table = Table::default();
        for seq in 0..CHUNK + 10 {
            table.insert(seq, entry(seq));
        }
        for seq in (0..CHUNK).filter(|seq| seq % 100 != 0) {
            table.remove(seq);
        }
        table.shrink(CHUNK);
        assert!(matches!(table.chunks.get(&0), Some(Chunk::Sparse(_))));
        assert_eq!(table.get(300), Some(&entry(300)));
        assert_eq!(table.get(301), None);
        table.insert(301, entry(301));
        let listed: Vec<u64> = table.range(250).map(|(seq, _)| seq).take(3).collect();
        assert_eq!(listed, [300, 301, 400]);
        for seq in 0..CHUNK {
            table.remove(seq);
        }
        assert_eq!(table.chunks.len(), 1);
        assert_eq!(table.len(), 10);
    }
}
