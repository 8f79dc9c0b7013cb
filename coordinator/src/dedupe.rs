//! The window in which a half that is sent again is recognised: a client's send retry keeps its `UNIQ_KEY`.
//!
//! The window holds undecided halfs by a hash of group and key, and no more than a fixed number of them; who
//! finds one there verifies it against the record. Old entries do no harm, for their age is looked at when
//! they are found, so they are only dropped when room is needed.

use escrow_store::{HalfEntry, HalfSeq, NameId, Store};
use hashbrown::HashMap;

use crate::policy::mix;

/// For how long a half sent again is the same half.
pub(crate) const WINDOW_MS: u64 = 60_000;
/// Halfs in the window; 4.5 MiB. It fills only if so many halfs are undecided at a time.
const HALFS_MAX: usize = 229_376;

/// Recent undecided halfs by what identifies them.
#[derive(Debug)]
pub(crate) struct Window {
    by_key: HashMap<u64, HalfSeq>,
    /// No half before this one is in the window.
    oldest: HalfSeq,
    halfs_max: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window::holding(HALFS_MAX)
    }
}

/// What identifies a half: its group and the hash of its `UNIQ_KEY`.
pub(crate) fn key(group: NameId, unique: u64) -> u64 {
    mix(unique ^ u64::from(group.0) << 32)
}

fn key_of(entry: &HalfEntry) -> u64 {
    key(entry.group, entry.unique_hash)
}

impl Window {
    fn holding(halfs_max: usize) -> Self {
        Window {
            by_key: HashMap::new(),
            oldest: HalfSeq(0),
            halfs_max,
        }
    }

    /// The window as it was before the broker stopped.
    pub(crate) fn rebuild(store: &Store, wall_ms: i64) -> Self {
        let mut window = Window::default();
        for (seq, entry) in store.undecided() {
            let age = wall_ms.saturating_sub(entry.store_timestamp);
            if age.unsigned_abs() < WINDOW_MS {
                window.insert(store, seq, &entry);
            }
        }
        window
    }

    /// The half that was last seen under a key; its age and its record remain to be looked at.
    pub(crate) fn find(&self, key: u64) -> Option<HalfSeq> {
        self.by_key.get(&key).copied()
    }

    /// Takes in a half that was just stored.
    pub(crate) fn insert(&mut self, store: &Store, seq: HalfSeq, entry: &HalfEntry) {
        if entry.unique_hash == 0 {
            return;
        }
        if self.by_key.len() >= self.halfs_max {
            self.make_room(store);
        }
        self.by_key.insert(key_of(entry), seq);
    }

    /// Takes out a half that is decided.
    pub(crate) fn remove(&mut self, seq: HalfSeq, entry: &HalfEntry) {
        if self.by_key.get(&key_of(entry)) == Some(&seq) {
            self.by_key.remove(&key_of(entry));
        }
    }

    /// Drops the oldest quarter.
    fn make_room(&mut self, store: &Store) {
        let enough = self.halfs_max - self.halfs_max / 4;
        for (seq, entry) in store.undecided_from(self.oldest) {
            if self.by_key.len() < enough {
                return;
            }
            self.remove(seq, &entry);
            self.oldest = HalfSeq(seq.0 + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use escrow_protocol::message::Message;
    use escrow_store::{Durability, MemoryDisk, NewHalf, Settings, Store};

    use super::*;

    fn store_with(halfs: u64) -> Result<Store, Box<dyn std::error::Error>> {
        let disk = Arc::new(MemoryDisk::new());
        let (mut store, _) = Store::open(disk, Settings::tiny(), 0)?;
        for n in 0..halfs {
            let properties = format!("UNIQ_KEY\u{1}k{n}\u{2}");
            let message = Message {
                queue_id: 0,
                flag: 0,
                queue_offset: 0,
                physical_offset: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: "127.0.0.1:1".parse()?,
                store_timestamp: 0,
                store_host: "127.0.0.1:2".parse()?,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"",
                topic: "t",
                properties: &properties,
            };
            let half = NewHalf {
                message,
                group: "g",
                client_id: "c",
                immunity_ms: None,
            };
            store.append_half(0, &half, Durability::Written)?;
        }
        Ok(store)
    }

    #[test]
    fn the_window_holds_so_many_halfs_and_drops_the_oldest()
    -> Result<(), Box<dyn std::error::Error>> {
        let store = store_with(30)?;
        let mut window = Window::holding(8);
        for (seq, entry) in store.undecided() {
            window.insert(&store, seq, &entry);
            assert!(window.by_key.len() <= 8);
            assert_eq!(
                window.find(key_of(&entry)),
                Some(seq),
                "the newest is there"
            );
        }
        let kept = store
            .undecided()
            .filter(|(_, entry)| window.find(key_of(entry)).is_some());
        let kept: Vec<u64> = kept.map(|(seq, _)| seq.0).collect();
        let first = 30 - u64::try_from(kept.len())?;
        assert_eq!(kept, (first..30).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn a_half_is_taken_out_only_by_itself() -> Result<(), Box<dyn std::error::Error>> {
        let store = store_with(1)?;
        let mut window = Window::default();
        for (_, entry) in store.undecided() {
            window.insert(&store, HalfSeq(7), &entry);
            window.remove(HalfSeq(0), &entry);
            assert_eq!(
                window.find(key_of(&entry)),
                Some(HalfSeq(7)),
                "a newer one of the same key"
            );
            window.remove(HalfSeq(7), &entry);
            assert_eq!(window.find(key_of(&entry)), None);
        }
        Ok(())
    }
}
