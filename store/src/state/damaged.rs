//! What a record whose body is damaged still says by its head.

use super::{State, source_of};
use crate::consume_queue::QueueEntry;
use crate::half_queue::{HalfEntry, NO_IMMUNITY, UNREADABLE};
use crate::queues::{Lost, Need};
use crate::record::{Header, Kind};
use crate::{Error, HalfSeq, HalfState, NameId, PhysicalOffset};

impl State {
    /// Applies what the head of a record says whose body is damaged: its queue offset stays occupied, its decision stands.
    ///
    /// # Errors
    /// The disk does not give what is known of its half.
    pub(crate) fn apply_head(&mut self, header: &Header) -> Result<(), Error> {
        let seq = HalfSeq(header.link);
        match header.kind {
            Kind::Normal | Kind::Delivery | Kind::Commit => self.lose_entry(header)?,
            Kind::Half => self.apply_half(seq, lost_half(header.offset, header)),
            // While the original is there its bytes are still good, so the half stays where it was.
            Kind::Relocate if self.shared.halfs.read().get(seq).is_some() => {}
            Kind::Relocate => {
                let entry = lost_half(header.position, header);
                self.lose_bytes(seq, header.position, header.offset, entry);
            }
            Kind::Rollback | Kind::Park | Kind::Resume | Kind::Answer | Kind::Conflict => {
                self.recall(seq)?;
                self.apply_op(seq, header.kind, source_of(header), header.offset);
            }
            Kind::DropTopic => {
                if let Some(topic) = self.queues.topic_by_hash(header.subject) {
                    self.apply_drop(&topic);
                }
            }
            Kind::Meta | Kind::Mark | Kind::Cut | Kind::Pad => {}
        }
        Ok(())
    }

    /// The bytes of a half are gone; a record at `place` says that there is one.
    pub(crate) fn lose_bytes(&mut self, seq: HalfSeq, handle: u64, place: u64, entry: HalfEntry) {
        let mut halfs = self.shared.halfs.write();
        halfs.relocate(
            seq,
            place,
            HalfEntry {
                handle: PhysicalOffset(handle),
                ..entry
            },
        );
        halfs.flag(seq, UNREADABLE);
    }

    fn lose_entry(&mut self, header: &Header) -> Result<(), Error> {
        if header.kind == Kind::Delivery {
            self.apply_progress(u32::from(header.flags), header.link);
        }
        if header.kind == Kind::Commit && self.apply_lost_commit(header)? {
            return Ok(());
        }
        self.queues.apply_lost(Lost {
            hash: header.subject,
            offset: header.position,
            physical: header.offset,
            store_timestamp: header.store_timestamp,
        });
        Ok(())
    }

    /// A COMMIT whose body is damaged, of a half that is known: the head has the queue offset, the half has all the rest.
    fn apply_lost_commit(&mut self, header: &Header) -> Result<bool, Error> {
        let seq = HalfSeq(header.link);
        self.recall(seq)?;
        self.apply_op(seq, Kind::Commit, source_of(header), header.offset);
        let Some(row) = self.shared.halfs.read().in_memory_row(seq) else {
            return Ok(false);
        };
        let topic = self.names.name(row.entry.topic).to_owned();
        if crate::hash::queue_hash(&topic, row.entry.queue_id) != header.subject {
            return Ok(false);
        }
        let entry = QueueEntry {
            physical: PhysicalOffset(row.place),
            size: row.entry.size,
            tags: row.entry.tags,
            store_timestamp: header.store_timestamp,
            damaged: false,
        };
        self.queues.apply(
            &topic,
            row.entry.queue_id,
            header.position,
            entry,
            Need::Nothing,
        );
        self.note_reference(row.place, header.store_timestamp);
        Ok(true)
    }
}

/// What is known of a half whose record cannot be read: it waits for a person.
pub(super) fn lost_half(handle: u64, header: &Header) -> HalfEntry {
    HalfEntry {
        handle: PhysicalOffset(handle),
        last_op: PhysicalOffset(0),
        store_timestamp: header.store_timestamp,
        unique_hash: 0,
        topic: NameId::UNKNOWN,
        group: NameId::UNKNOWN,
        client: NameId::UNKNOWN,
        queue_id: 0,
        size: 0,
        immunity: NO_IMMUNITY,
        tags: 0,
        answered: 0,
        state: HalfState::Parked,
        flags: UNREADABLE,
    }
}
