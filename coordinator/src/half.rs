//! Taking a half message in: what is refused, what is a repetition, and what is stored.

use std::borrow::Cow;

use escrow_protocol::code::response;
use escrow_protocol::message::Message;
use escrow_protocol::properties::{self, Properties, name};
use escrow_protocol::sysflag;
use escrow_store::{ErrorKind, HalfEntry, HalfSeq, NewHalf, PhysicalOffset, Store, key_hash};

use crate::clock::Now;
use crate::coordinator::Coordinator;
use crate::dedupe::{self, WINDOW_MS};
use crate::members::{Capability, ConnectionId, Member};
use crate::policy;
use crate::schedule::Tag;

/// A half message as it was sent.
#[derive(Debug, Clone)]
pub struct HalfRequest<'a> {
    /// Real topic, resolved queue id, properties as the producer sent them with what the broker adds to
    /// every message (`UNIQ_KEY` among it). Offsets and store timestamp are filled in by the store.
    pub message: Message<'a>,
    /// The header's producer group, for producers that send no `PGROUP`.
    pub producer_group: &'a str,
    /// Where it came from.
    pub connection: ConnectionId,
    /// That connection's client id, empty if it has not given one yet.
    pub client_id: &'a str,
    /// That connection's `ip:port`.
    pub address: &'a str,
}

/// A half that is stored, or was already: what its sender is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfAck {
    /// Its place in the log, out of which its message id is made.
    pub handle: PhysicalOffset,
    /// Its half offset.
    pub seq: HalfSeq,
    /// Its real queue id.
    pub queue_id: i32,
    /// When the broker stored it.
    pub store_timestamp: i64,
    /// It is a repetition of one that was stored before.
    pub duplicate: bool,
    /// Acknowledge it when the log has met the flush policy up to here.
    pub durable_at: PhysicalOffset,
}

/// Why a half is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HalfRefused {
    /// It asks for a delay, which would have to count from a commit that may never be.
    #[error(
        "a transactional message cannot be delayed: remove the property {0}, or send it as a plain message"
    )]
    Delayed(String),
    /// It names no producer group, so nobody could be asked about it.
    #[error("a transactional message needs a producer group: set the producer's group name")]
    NoGroup,
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
}

impl HalfRefused {
    /// The response code.
    pub fn code(&self) -> i32 {
        match self {
            HalfRefused::Delayed(_) | HalfRefused::NoGroup => response::MESSAGE_ILLEGAL,
            HalfRefused::Store(error) => match error.kind() {
                ErrorKind::Request => response::MESSAGE_ILLEGAL,
                ErrorKind::Space | ErrorKind::Stop => response::SERVICE_NOT_AVAILABLE,
                ErrorKind::Damaged => response::SYSTEM_ERROR,
            },
        }
    }
}

impl Coordinator {
    /// Stores a half, unless it is a repetition.
    ///
    /// # Errors
    /// It asks for what a half cannot have, or the store refuses it. Nothing is stored then.
    pub fn half(
        &mut self,
        store: &mut Store,
        now: Now,
        half: HalfRequest<'_>,
    ) -> Result<HalfAck, HalfRefused> {
        self.observe(now);
        let wishes = Wishes::read(&half)?;
        // To have sent a half is to be someone who can be asked about it, heartbeat or not.
        self.joined(
            now,
            Member {
                group: wishes.group,
                connection: half.connection,
                client_id: half.client_id,
                address: half.address,
                capability: Capability::Shown,
            },
        );
        if let Some(ack) = self.repetition_of(store, now, &half.message, &wishes)? {
            self.counters.duplicates += 1;
            return Ok(ack);
        }
        self.store_half(store, now, &half, &wishes)
    }

    /// The half that this one repeats: same group and `UNIQ_KEY` within the window, undecided, and the same
    /// message besides. The last is our caution: an application that sends its message object a second time
    /// with another body does not mean the first.
    ///
    /// # Errors
    /// The disk does not give the bytes of the one it may repeat: to store it would perhaps be to store it twice.
    fn repetition_of(
        &self,
        store: &Store,
        now: Now,
        message: &Message<'_>,
        wishes: &Wishes<'_>,
    ) -> Result<Option<HalfAck>, escrow_store::Error> {
        let Some((seq, entry)) = self.candidate(store, now, wishes) else {
            return Ok(None);
        };
        let image = match store.half_image(seq) {
            Ok(image) => image,
            Err(error) if error.kind() == ErrorKind::Stop => return Err(error),
            Err(_) => return Ok(None),
        };
        let is_same = escrow_protocol::message::decode(&image).is_ok_and(|stored| {
            Properties(stored.properties).get(name::UNIQ_KEY) == Some(wishes.unique)
                && stored.topic == message.topic
                && stored.body == message.body
        });
        Ok(is_same.then(|| HalfAck {
            handle: entry.handle,
            seq,
            queue_id: entry.queue_id,
            store_timestamp: entry.store_timestamp,
            duplicate: true,
            durable_at: PhysicalOffset(entry.handle.0 + 1),
        }))
    }

    /// The undecided half of the same group whose key has the same hash, if it is not too old.
    fn candidate(
        &self,
        store: &Store,
        now: Now,
        wishes: &Wishes<'_>,
    ) -> Option<(HalfSeq, HalfEntry)> {
        if wishes.unique.is_empty() {
            return None;
        }
        let key = dedupe::key(store.name_id(wishes.group)?, key_hash(wishes.unique));
        let seq = self.window.find(key)?;
        let entry = store.undecided_half(seq)?;
        let is_young = self.timeline.age_ms(now, entry.store_timestamp) < WINDOW_MS;
        (is_young && store.name(entry.group) == wishes.group).then_some((seq, entry))
    }

    fn store_half(
        &mut self,
        store: &mut Store,
        now: Now,
        half: &HalfRequest<'_>,
        wishes: &Wishes<'_>,
    ) -> Result<HalfAck, HalfRefused> {
        let properties = stored_properties(&half.message, wishes);
        let sender = if half.client_id.is_empty() {
            half.address
        } else {
            half.client_id
        };
        let new = NewHalf {
            message: Message {
                properties: &properties,
                sys_flag: sysflag::with_transaction(half.message.sys_flag, 0),
                prepared_transaction_offset: 0,
                ..half.message
            },
            group: wishes.group,
            client_id: sender,
            immunity_ms: policy::immunity_ms(wishes.immunity),
        };
        let placed = store.append_half(now.wall_ms, &new, self.settings.durability)?;
        self.counters.halfs += 1;
        self.timeline.stored(now, placed.store_timestamp);
        if let Some(entry) = store.undecided_half(placed.seq) {
            self.take_up(store, now, placed.seq, &entry);
        }
        if self.members.presumed_sender(sender) != Some(half.connection) {
            self.senders.insert(placed.seq, half.connection);
        }
        Ok(HalfAck {
            handle: placed.physical,
            seq: placed.seq,
            queue_id: half.message.queue_id,
            store_timestamp: placed.store_timestamp,
            duplicate: false,
            durable_at: placed.end,
        })
    }

    fn take_up(&mut self, store: &Store, now: Now, seq: HalfSeq, entry: &HalfEntry) {
        let due = now
            .mono_ms
            .saturating_add(self.delay_ms(store, seq, entry, 0));
        self.set_timer(store, due, Tag::new(seq, 0, 0));
        self.window.insert(store, seq, entry);
    }
}

/// What the properties of a half say to us, read in one pass.
struct Wishes<'a> {
    group: &'a str,
    unique: &'a str,
    immunity: Option<&'a str>,
    /// Some of the properties that are ours to set are there already, as in a message that was received before.
    has_ours: bool,
}

impl<'a> Wishes<'a> {
    fn read(half: &HalfRequest<'a>) -> Result<Self, HalfRefused> {
        let mut wishes = Wishes {
            group: "",
            unique: "",
            immunity: None,
            has_ours: false,
        };
        for (name, value) in Properties(half.message.properties).iter() {
            match name {
                name::PGROUP => wishes.group = value,
                name::UNIQ_KEY => wishes.unique = value,
                name::CHECK_IMMUNITY_TIME_IN_SECONDS => wishes.immunity = Some(value),
                name::TRANSACTION_ID | name::REAL_TOPIC | name::REAL_QID => wishes.has_ours = true,
                name::DELAY if value.trim() == "0" => {}
                _ if name == name::DELAY || name.starts_with("TIMER_") => {
                    return Err(HalfRefused::Delayed(name.to_owned()));
                }
                _ => {}
            }
        }
        if wishes.group.trim().is_empty() {
            wishes.group = half.producer_group;
            wishes.has_ours = true;
        }
        if wishes.group.trim().is_empty() {
            return Err(HalfRefused::NoGroup);
        }
        Ok(wishes)
    }
}

/// The property string as Apache delivers it with a committed message, but for the transaction id that the store adds
/// then. Checks also name the real topic and queue, a delivered message does not.
fn stored_properties<'a>(message: &Message<'a>, wishes: &Wishes<'_>) -> Cow<'a, str> {
    if !wishes.has_ours {
        return message.properties.into();
    }
    let mut text = message.properties.to_owned();
    properties::set(&mut text, name::PGROUP, wishes.group);
    for own in [name::TRANSACTION_ID, name::REAL_TOPIC, name::REAL_QID] {
        properties::remove(&mut text, own);
    }
    text.into()
}
