//! One round of the store's owner: what was staged is written once, shown, synced once if anybody waits for that, and shown
//! again; whoever waits is told in the order of the log, and never before what they wait for has happened.
//!
//! The sync may run beside the owner. Then the next rounds are written while it is on its way, and those of them who wait for a
//! sync wait for the next one.

use crate::{Arrival, Durability, Error, PhysicalOffset, Store, SyncDone, SyncJob};

/// Those who wait for the round's write, and those who wait for a sync.
#[derive(Debug)]
pub struct Waiting<T> {
    written: Vec<T>,
    synced: Vec<T>,
    /// They wait for the sync that is on its way.
    syncing: Vec<T>,
}

/// What the owner does as a round goes on.
pub trait Settling<T> {
    /// These messages have become visible.
    fn show(&mut self, arrivals: Vec<Arrival>);

    /// Takes all of `waiting` and tells them how what they waited for went.
    fn tell(&mut self, waiting: &mut Vec<T>, result: &Result<(), Error>);
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting {
            written: Vec::new(),
            synced: Vec::new(),
            syncing: Vec::new(),
        }
    }
}

impl<T> Waiting<T> {
    /// Lets `waiter` wait for what it needs.
    pub fn push(&mut self, need: Durability, waiter: T) {
        match need {
            Durability::Written => self.written.push(waiter),
            Durability::Synced => self.synced.push(waiter),
        }
    }

    /// What whoever comes last has to wait for so as to be told after everybody else.
    pub fn last_need(&self) -> Durability {
        if self.synced.is_empty() && self.syncing.is_empty() {
            Durability::Written
        } else {
            Durability::Synced
        }
    }

    /// Ends the round; `sync_anyway` asks for a sync for which nobody waits. True if it synced.
    ///
    /// # Errors
    /// The write or the sync failed: those who wait were told so, and the store is poisoned.
    pub fn settle(
        &mut self,
        store: &mut Store,
        sync_anyway: bool,
        owner: &mut impl Settling<T>,
    ) -> Result<bool, Error> {
        match self.write(store, sync_anyway, owner)? {
            Some(job) => self.synced(store, job.run(), owner).map(|()| true),
            None => Ok(false),
        }
    }

    /// Ends the round but for its sync, which is given out if there is to be one and none is on its way: its outcome must come
    /// back to [`Waiting::synced`].
    ///
    /// # Errors
    /// The write failed, or the store did before: those who wait were told so.
    pub fn write(
        &mut self,
        store: &mut Store,
        sync_anyway: bool,
        owner: &mut impl Settling<T>,
    ) -> Result<Option<SyncJob>, Error> {
        let written = store.write();
        owner.show(store.publish());
        owner.tell(&mut self.written, &written);
        if self.synced.is_empty() && !sync_anyway {
            return written.map(|()| None);
        }
        let begun = written.and_then(|()| store.begin_sync());
        match &begun {
            Ok(Some(_)) => self.syncing.append(&mut self.synced),
            Ok(None) if store.is_syncing() => {}
            // All that they wait for is durable already.
            Ok(None) => owner.tell(&mut self.synced, &Ok(())),
            Err(error) => owner.tell(&mut self.synced, &Err(error.clone())),
        }
        begun
    }

    /// The sync that was given out is over.
    ///
    /// # Errors
    /// It failed: those who wait were told so, and the store is poisoned.
    pub fn synced(
        &mut self,
        store: &mut Store,
        done: SyncDone,
        owner: &mut impl Settling<T>,
    ) -> Result<(), Error> {
        let synced = store.finish_sync(done);
        owner.show(store.publish());
        owner.tell(&mut self.syncing, &synced);
        synced
    }
}

impl Store {
    /// What telling of something that ends at `durable_at` still has to wait for, if by rule such things wait for `need`.
    pub fn still_needs(&self, durable_at: PhysicalOffset, need: Durability) -> Durability {
        if durable_at <= self.durable() {
            return Durability::Written;
        }
        need
    }
}
