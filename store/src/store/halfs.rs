//! Asking about half messages.

use bytes::Bytes;

use super::{Store, half_image};
use crate::half_queue::{HalfEntry, Oldest};
use crate::record::Kind;
use crate::{Error, HalfSeq, NameId, OpRecord, PhysicalOffset};

/// The half message that a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfLookup {
    /// This one.
    Half(HalfSeq, HalfEntry),
    /// No half message was ever written there, or it is no longer kept.
    None,
}

impl Store {
    /// A half message, decided or not; `None` if it was never stored, is no longer kept, or cannot be told.
    pub fn half(&self, seq: HalfSeq) -> Option<HalfEntry> {
        self.kept_half(seq).ok().flatten()
    }

    /// As [`Store::half`], and says why it cannot be told.
    ///
    /// # Errors
    /// The half queue's page is damaged, or the disk failed.
    pub fn kept_half(&self, seq: HalfSeq) -> Result<Option<HalfEntry>, Error> {
        let row = self.state.shared.half_row(seq)?;
        let start = self.state.shared.log.start();
        let kept = row.filter(|row| row.entry.state.is_undecided() || row.place >= start);
        Ok(kept.map(|row| row.entry))
    }

    /// What is known of a half while it is undecided. Only memory is looked at, so this may be asked often.
    pub fn undecided_half(&self, seq: HalfSeq) -> Option<HalfEntry> {
        let halfs = self.state.shared.halfs.read();
        halfs
            .get(seq)
            .copied()
            .filter(|entry| entry.state.is_undecided())
    }

    /// The wire image of a half, also of one that is not written yet.
    ///
    /// # Errors
    /// It is not kept, or damaged.
    pub fn half_image(&self, seq: HalfSeq) -> Result<Bytes, Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        let stored = self.log.read(
            row.place,
            crate::ids::narrow(u64::from(row.entry.size)) + 512,
        )?;
        let image = half_image(&stored).ok_or(Error::NotFound {
            what: "half message",
        })?;
        Ok(Bytes::copy_from_slice(image))
    }

    /// The half message with this original handle, also when its bytes were carried elsewhere.
    ///
    /// # Errors
    /// The record or the half queue's page is damaged.
    pub fn half_at(&self, physical: PhysicalOffset) -> Result<HalfLookup, Error> {
        let stored = match self.log.look(physical.0) {
            Ok(Some(stored)) if stored.header.kind == Kind::Half => {
                Some(HalfSeq(stored.header.link))
            }
            Ok(_) => return Ok(HalfLookup::None),
            // Carried away, or unreadable: the half queue knows all handles.
            Err(Error::NotFound { .. } | Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let seq = match stored {
            Some(seq) => Some(seq),
            None => self.state.shared.find_handle(physical)?,
        };
        let found = match seq {
            Some(seq) => self.kept_half(seq)?.map(|entry| (seq, entry)),
            None => None,
        };
        let found = found.filter(|(_, entry)| entry.handle == physical);
        Ok(found.map_or(HalfLookup::None, |(seq, entry)| {
            HalfLookup::Half(seq, entry)
        }))
    }

    /// All undecided halfs, pending and parked, in order.
    pub fn undecided(&self) -> impl Iterator<Item = (HalfSeq, HalfEntry)> {
        self.undecided_from(HalfSeq(0))
    }

    /// The undecided halfs from `from` on, in order.
    pub fn undecided_from(&self, from: HalfSeq) -> impl Iterator<Item = (HalfSeq, HalfEntry)> {
        // In pages, so that readers are not kept out for long.
        const PAGE: usize = 1024;
        let mut next = Some(from);
        let pages = std::iter::from_fn(move || {
            let start = next?;
            let halfs = self.state.shared.halfs.read();
            let page: Vec<_> = halfs
                .undecided(start)
                .take(PAGE)
                .map(|(seq, entry)| (seq, *entry))
                .collect();
            next = page
                .last()
                .filter(|_| page.len() == PAGE)
                .map(|(seq, _)| HalfSeq(seq.0 + 1));
            Some(page)
        });
        pages.flatten()
    }

    /// Halfs that are pending and halfs that are parked.
    pub fn undecided_counts(&self) -> (u64, u64) {
        let halfs = self.state.shared.halfs.read();
        (halfs.pending(), halfs.parked())
    }

    /// Undecided halfs by topic. A topic that had one since the store was opened is listed with 0.
    pub fn undecided_by_topic(&self) -> Vec<(NameId, u64)> {
        let halfs = self.state.shared.halfs.read();
        halfs.undecided_by_topic().collect()
    }

    /// How many halfs of a group are undecided.
    pub fn undecided_of(&self, group: NameId) -> u64 {
        self.state.shared.halfs.read().undecided_of(group)
    }

    /// A group's oldest undecided half, by the store time that never decreases with the sequence. Looks at `looked_at_max`
    /// halfs; the next search goes on where this one ends.
    pub fn oldest_undecided_of(&self, group: NameId, looked_at_max: usize) -> Oldest {
        let mut halfs = self.state.shared.halfs.write();
        halfs.oldest_of(group, looked_at_max)
    }

    /// The sequence that the next half gets.
    pub fn next_half(&self) -> HalfSeq {
        self.state.shared.halfs.read().next()
    }

    /// The name behind an id, empty if it was lost.
    pub fn name(&self, id: NameId) -> &str {
        self.state.names.name(id)
    }

    /// The id of a name, if any half ever had it.
    pub fn name_id(&self, name: &str) -> Option<NameId> {
        self.state.names.id(name)
    }

    /// All that happened to a half message and is still kept, oldest first.
    ///
    /// # Errors
    /// The half is not known, or the disk failed. A damaged op ends the walk and is listed as such.
    pub fn op_history(&self, seq: HalfSeq) -> Result<Vec<OpRecord>, Error> {
        let row = self.state.shared.half_row(seq)?.ok_or(Error::NotFound {
            what: "half message",
        })?;
        crate::history::walk(row.entry.last_op.0, row.place, |offset| {
            self.log.read(offset, 0)
        })
    }
}
