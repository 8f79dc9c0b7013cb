//! What the log thread can be asked to do.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use escrow_coordinator::{
    Capability, CheckNow, ConnectionId, Coordinator, DecideRefused, Decided, Decision, Now,
    ResumeRefused, Resumed, Watermark,
};
use escrow_protocol::message::Message;
use escrow_protocol::transaction::Resolution;
use escrow_store::{CheckpointDone, Durability, HalfSeq, PhysicalOffset, Placed, Store};
use tokio::sync::oneshot;

use super::LogError;
use crate::remoting::answer::ReplyTo;
use crate::remoting::peer::Peer;

/// A message with everything checked and resolved, ready to be appended.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) store_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    pub(crate) properties: String,
    pub(crate) body: Bytes,
    /// Repeated from the properties for the answer.
    pub(crate) unique_key: String,
}

impl NewMessage {
    /// The record to append; offsets and the store timestamp are the store's to fill in.
    pub(crate) fn as_message(&self) -> Message<'_> {
        Message {
            queue_id: self.queue_id,
            flag: self.flag,
            queue_offset: 0,
            physical_offset: 0,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_timestamp: 0,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: 0,
            body: &self.body,
            topic: &self.topic,
            properties: &self.properties,
        }
    }

    /// Its share of the queue's room.
    pub(crate) fn cost(&self) -> u32 {
        kibibytes(self.body.len() + self.properties.len())
    }
}

/// A half; the peer that is to be answered sent it.
#[derive(Clone, Debug)]
pub(crate) struct NewHalf {
    pub(crate) message: NewMessage,
    /// Of the send's header, for producers that set no `PGROUP`.
    pub(crate) producer_group: String,
}

/// END_TRANSACTION with its header taken apart.
#[derive(Clone, Debug)]
pub(crate) struct EndTransaction {
    pub(crate) group: String,
    pub(crate) commit_log_offset: i64,
    pub(crate) half_offset: i64,
    pub(crate) resolution: Resolution,
    pub(crate) from_check: bool,
    pub(crate) message_id: String,
    /// Empty if absent.
    pub(crate) transaction_id: String,
    /// What the client's listener threw, if anything.
    pub(crate) remark: String,
}

/// A connection that speaks for a producer group.
#[derive(Clone, Debug)]
pub(crate) struct NewMember {
    pub(crate) group: Arc<str>,
    pub(crate) connection: ConnectionId,
    /// Empty before the connection's first heartbeat.
    pub(crate) client_id: Arc<str>,
    pub(crate) address: Arc<str>,
    pub(crate) capability: Capability,
}

/// A person who acts on a half, and why.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) name: String,
    /// The `ip:port` of the request.
    pub(crate) address: String,
    pub(crate) reason: String,
}

/// A due delayed message and where it waited.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) level_queue: u32,
    pub(crate) queue_offset: u64,
    pub(crate) message: NewMessage,
}

/// Where an answer goes that is no reply to a peer.
pub(crate) type Done<T> = oneshot::Sender<Result<T, LogError>>;

/// A look at what the log thread owns.
pub(crate) type Look = Box<dyn FnOnce(&Store, &Coordinator, Now) + Send>;

/// What a peer asked for, and how it is answered.
pub(crate) struct Request {
    pub(crate) what: Asking,
    pub(crate) reply: ReplyTo,
}

pub(crate) enum Asking {
    /// Plain messages of one topic and queue, answered together.
    Send {
        messages: Vec<NewMessage>,
        /// What the answer says: of the target, where a delayed message waits elsewhere.
        queue_id: i32,
        need: Durability,
    },
    Half(Box<NewHalf>),
    End(Box<EndTransaction>),
}

/// The room in the queue that requests take, as [`Command::cost`].
pub(crate) fn cost(requests: &[Request]) -> u32 {
    let costs = requests.iter().map(|request| match &request.what {
        Asking::Send { messages, .. } => messages.iter().map(NewMessage::cost).sum(),
        Asking::Half(half) => half.message.cost(),
        Asking::End(_) => 1,
    });
    costs.fold(0, u32::saturating_add)
}

pub(crate) enum Command {
    /// What one peer asked for at a time. It is named once: a count of who holds it that two threads change for every
    /// request costs more than what else is done to hand the request over.
    Requests {
        peer: Arc<Peer>,
        requests: Vec<Request>,
    },
    Append {
        message: Box<NewMessage>,
        need: Durability,
        done: Done<Placed>,
    },
    /// Answers false if this place of the level's queue was delivered before.
    Deliver {
        delivery: Box<Delivery>,
        done: Done<bool>,
    },
    SetMeta {
        key: String,
        /// `None` deletes the key.
        value: Option<Vec<u8>>,
        done: Done<()>,
    },
    DropTopic {
        topic: String,
        /// The META key of the topic's settings, deleted with it.
        key: String,
        done: Done<()>,
    },
    Decide {
        seq: HalfSeq,
        decision: Decision,
        operator: Operator,
        done: Done<Result<Decided, DecideRefused>>,
    },
    CheckNow {
        seq: HalfSeq,
        done: Done<CheckNow>,
    },
    Resume {
        handle: PhysicalOffset,
        operator: Operator,
        done: Done<Result<Resumed, ResumeRefused>>,
    },
    /// Answered when all that it says is durable; with nothing if it must be asked again.
    Watermark {
        group: String,
        done: Done<Option<Watermark>>,
    },
    Joined(NewMember),
    LeftGroup {
        group: Arc<str>,
        connection: ConnectionId,
    },
    Left(ConnectionId),
    NotSent(HalfSeq),
    Checkpointed(CheckpointDone),
    Look(Look),
    /// Answered after everything that was handed over before it.
    Barrier {
        done: Done<()>,
    },
}

impl Command {
    /// Kibibytes, at least one: what bounds the queue.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Command::Requests { requests, .. } => cost(requests),
            Command::Append { message, .. } => message.cost(),
            Command::Deliver { delivery, .. } => delivery.message.cost(),
            _ => 1,
        }
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX - 1) + 1
}
