//! Staging messages: plain ones, due delayed ones, and halfs.

use escrow_protocol::message::{self, Message};

use super::{Store, check_name};
use crate::commit_log::{Head, Span};
use crate::queues::Need;
use crate::record::{HalfBody, Kind};
use crate::state::{State, message_entry};
use crate::{Durability, Error, HalfSeq, PhysicalOffset, QueueOffset};

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its record, which is also the physical offset in its message id.
    pub physical: PhysicalOffset,
    /// Its place in its queue.
    pub queue_offset: QueueOffset,
    /// The end of the record: durable once [`Store::durable`] has reached it.
    pub end: PhysicalOffset,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// A half message that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewHalf<'a> {
    /// The message with its real topic and queue, as it will be delivered. Queue offset, physical offset and store timestamp
    /// are filled in here.
    pub message: Message<'a>,
    /// The producer group.
    pub group: &'a str,
    /// The client id that sent it, may be empty.
    pub client_id: &'a str,
    /// The time before the first check that the message asked for.
    pub immunity_ms: Option<u32>,
}

/// Where a half message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfPlaced {
    /// Its place in the half queue.
    pub seq: HalfSeq,
    /// Its handle.
    pub physical: PhysicalOffset,
    /// The end of the record.
    pub end: PhysicalOffset,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// Which delayed message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleSource {
    /// The queue of the schedule topic, one per delay level.
    pub level_queue: u32,
    /// The message's offset in it.
    pub queue_offset: u64,
}

impl Store {
    /// Stages a plain message. `need` says when consumers may see it.
    ///
    /// # Errors
    /// Too large, no space, poisoned, or the disk failed while changing segments.
    pub fn append_message(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        need: Durability,
    ) -> Result<Placed, Error> {
        self.append_to_queue(now_ms, message, Head::of(Kind::Normal), need)
    }

    /// Stages a due delayed message under its real topic. The record says where it came from, so that after a crash it is
    /// delivered exactly once more or not at all.
    ///
    /// # Errors
    /// As [`Store::append_message`].
    pub fn append_delivery(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        from: ScheduleSource,
        need: Durability,
    ) -> Result<Placed, Error> {
        let flags = u16::try_from(from.level_queue).map_err(|_| Error::FieldTooLong {
            what: "level queue",
            bytes: 4,
            bytes_max: 2,
        })?;
        let head = Head {
            flags,
            link: from.queue_offset,
            ..Head::of(Kind::Delivery)
        };
        let placed = self.append_to_queue(now_ms, message, head, need)?;
        self.state
            .apply_progress(from.level_queue, from.queue_offset);
        Ok(placed)
    }

    fn append_to_queue(
        &mut self,
        now_ms: i64,
        message: &Message<'_>,
        head: Head,
        need: Durability,
    ) -> Result<Placed, Error> {
        self.log.check_usable()?;
        self.space.check_new()?;
        check_message(message)?;
        let slot = self.state.queues.slot(message.topic, message.queue_id);
        let head = Head {
            subject: slot.hash,
            position: slot.next,
            ..head
        };
        let size = message::encoded_len(message);
        let span = self.log.append(head, now_ms, size, |span, out| {
            encode(message, slot.next, span, out);
        })?;
        self.note(&span);
        self.state.searchable.read(message.properties);
        let entry = message_entry(
            span.offset,
            size,
            &self.state.searchable,
            span.store_timestamp,
        );
        self.state
            .apply_message(slot, message.topic, entry, Need::Until(need, span.end));
        Ok(Placed {
            physical: PhysicalOffset(span.offset),
            queue_offset: QueueOffset(slot.next),
            end: PhysicalOffset(span.end),
            store_timestamp: span.store_timestamp,
        })
    }

    /// Stages a half message. No consumer can read it before a commit.
    ///
    /// # Errors
    /// As [`Store::append_message`].
    pub fn append_half(
        &mut self,
        now_ms: i64,
        half: &NewHalf<'_>,
        _need: Durability,
    ) -> Result<HalfPlaced, Error> {
        self.log.check_usable()?;
        self.space.check_new()?;
        check_message(&half.message)?;
        check_name("producer group", half.group)?;
        check_name("client id", half.client_id)?;
        let seq = self.state.shared.halfs.read().next();
        let head = Head {
            link: seq.0,
            ..Head::of(Kind::Half)
        };
        let prefix = HalfBody::prefix_len(half.immunity_ms, half.group, half.client_id);
        let size = message::encoded_len(&half.message);
        let span = self.log.append(head, now_ms, prefix + size, |span, out| {
            HalfBody::put_prefix(out, half.immunity_ms, half.group, half.client_id);
            encode(&half.message, seq.0, span, out);
        })?;
        self.note(&span);
        let entry = self
            .state
            .new_half_entry(half, size, span.offset, span.store_timestamp);
        let State {
            recent_words,
            searchable,
            ..
        } = &mut self.state;
        recent_words.note(seq, &searchable.words);
        self.state.apply_half(seq, entry);
        Ok(HalfPlaced {
            seq,
            physical: PhysicalOffset(span.offset),
            end: PhysicalOffset(span.end),
            store_timestamp: span.store_timestamp,
        })
    }
}

/// Encodes a message with its place filled in. Lengths were checked, so that it cannot fail half way.
fn encode(message: &Message<'_>, queue_offset: u64, span: &Span, out: &mut Vec<u8>) {
    let placed = Message {
        queue_offset: queue_offset.cast_signed(),
        physical_offset: span.offset.cast_signed(),
        store_timestamp: span.store_timestamp,
        ..*message
    };
    let encoded = message::encode(&placed, out);
    assert!(encoded.is_ok(), "a checked message can be encoded");
}

fn check_message(message: &Message<'_>) -> Result<(), Error> {
    check_name("topic", message.topic)?;
    check_name("properties", message.properties)
}
