//! Sending plain messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use escrow_protocol::batch::{self, BatchMessage};
use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{SendRequest, SendResponse};
use escrow_protocol::names::AUTO_CREATE_TOPIC;
use escrow_protocol::properties::{self, name};

use crate::client::{Client, unreadable};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::{BODY_BYTES_MAX, Message};
use crate::route::DEFAULT_TOPIC_QUEUES;

/// Times a send is tried in all, as the Java client.
const TRIES: usize = 3;

/// How safe a message is that the broker has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As safe as the broker's settings promise.
    Fully,
    /// Stored, but the disk did not confirm in time.
    FlushDiskTimeout,
    /// Stored, but a replica did not confirm in time.
    FlushReplicaTimeout,
    /// Stored, but there is no replica.
    ReplicaNotAvailable,
}

/// What the broker said of a message that it stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// The unique key that we gave the message: the id by which applications know it.
    pub message_id: String,
    /// The broker's id. Of a batch: one for each message, joined by commas.
    pub offset_id: String,
    /// The queue it is in; of a half, the queue it is meant for.
    pub queue: MessageQueue,
    /// Its place there (of a batch, the first); of a half, its place in the half queue.
    pub queue_offset: i64,
    /// How safe it is.
    pub stored: Stored,
}

/// Sends messages for one producer group.
pub struct Producer {
    client: Client,
    group: String,
    turn: AtomicUsize,
}

impl Producer {
    /// A producer of `group`.
    #[must_use]
    pub fn new(client: &Client, group: impl Into<String>) -> Self {
        let group = group.into();
        client.shared.membership.add_producer(&group);
        Self {
            client: client.clone(),
            group,
            turn: AtomicUsize::new(0),
        }
    }

    /// The producer group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a message and waits until the broker has it. Tried up to three times, on other queues; all tries
    /// carry one unique key, so that a consumer can tell a repetition.
    ///
    /// # Errors
    /// That of the last try; [`Error::outcome_unknown`] tells whether the message may be there all the same.
    pub async fn send(&self, message: &Message) -> Result<SendReceipt> {
        message.validate()?;
        let key = self.client.shared.keys.next();
        let content = Content::plain(message, &key, "");
        let mut tried = 0;
        loop {
            let outcome = self.try_once(&content, &key).await;
            tried += 1;
            match outcome {
                Err(error) if error.is_transient() && tried < TRIES => {
                    tracing::debug!(%error, tried, "send tried again");
                    self.client.shared.routes.forget(&message.topic);
                }
                outcome => return outcome.map(|(receipt, _)| receipt),
            }
        }
    }

    /// Hands a message to the connection and waits for nothing: it may be lost.
    ///
    /// # Errors
    /// Only what is known at once: no route, no connection, a message that cannot be sent.
    pub async fn send_oneway(&self, message: &Message) -> Result<()> {
        message.validate()?;
        let key = self.client.shared.keys.next();
        let content = Content::plain(message, &key, "");
        let (queue, connection) = self.next_queue(&message.topic).await?;
        let frame = self.frame(&content, &queue);
        let within = self.client.shared.settings.request_timeout;
        connection.oneway(frame, within).await
    }

    /// Sends several messages of one topic in one request; they land next to each other in one queue.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`Error::Message`] for a batch that is empty, mixed or too large. Not tried
    /// again by itself.
    pub async fn send_batch(&self, messages: &[Message]) -> Result<SendReceipt> {
        let first = messages
            .first()
            .ok_or(Error::Message("the batch is empty"))?;
        let mut body = BytesMut::new();
        let mut keys = Vec::with_capacity(messages.len());
        for message in messages {
            message.validate()?;
            if message.topic != first.topic {
                return Err(Error::Message("a batch has one topic"));
            }
            let key = self.client.shared.keys.next();
            let content = Content::plain(message, &key, "");
            let one = BatchMessage {
                flag: message.flag,
                body: &message.body,
                properties: &content.properties,
            };
            batch::encode(&one, &mut body)
                .map_err(|_| Error::Message("a message of the batch is too long"))?;
            keys.push(key);
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::Message("the batch is longer than 4 MiB"));
        }
        let content = Content {
            topic: &first.topic,
            body: body.freeze(),
            flag: 0,
            sys_flag: 0,
            properties: String::new(),
            batch: true,
        };
        let (receipt, _) = self.try_once(&content, &keys.join(",")).await?;
        Ok(receipt)
    }

    /// One attempt on the next queue; also says where it went.
    pub(crate) async fn try_once(
        &self,
        content: &Content<'_>,
        key: &str,
    ) -> Result<(SendReceipt, Connection)> {
        let (queue, connection) = self.next_queue(content.topic).await?;
        let frame = self.frame(content, &queue);
        let within = self.client.shared.settings.request_timeout;
        let reply = connection.request(frame, within).await?;
        let receipt = receipt(&connection, &reply, queue, key)?;
        Ok((receipt, connection))
    }

    async fn next_queue(&self, topic: &str) -> Result<(MessageQueue, Connection)> {
        let route = self.client.shared.routes.for_sending(topic).await?;
        let no_route = || Error::NoRoute {
            topic: topic.to_owned(),
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let queues = route.writable();
        let index = turn.checked_rem(queues.len()).ok_or_else(no_route)?;
        let queue = queues.get(index).ok_or_else(no_route)?;
        let address = route.address(&queue.broker_name).ok_or_else(no_route)?;
        Ok((queue.clone(), self.client.broker(address)))
    }

    fn frame(&self, content: &Content<'_>, queue: &MessageQueue) -> Frame {
        let code = if content.batch {
            request::SEND_BATCH_MESSAGE
        } else {
            request::SEND_MESSAGE_V2
        };
        let mut frame = Frame::request(code);
        SendRequest {
            producer_group: &self.group,
            topic: content.topic,
            default_topic: AUTO_CREATE_TOPIC,
            default_topic_queues: DEFAULT_TOPIC_QUEUES,
            queue_id: queue.queue_id,
            sys_flag: content.sys_flag,
            born_timestamp: now_ms(),
            flag: content.flag,
            properties: Some(&content.properties),
            reconsume_times: Some(0),
            unit_mode: false,
            reconsume_times_max: None,
            batch: content.batch,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        frame.with_body(content.body.clone())
    }
}

/// What one send carries, whatever queue it goes to.
pub(crate) struct Content<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) properties: String,
    pub(crate) batch: bool,
}

impl<'a> Content<'a> {
    /// A message under a unique key; `half_of` is the producer group if it is to be a half, else empty.
    pub(crate) fn plain(message: &'a Message, key: &str, half_of: &str) -> Self {
        let mut text = message.properties.clone();
        properties::set(&mut text, name::UNIQ_KEY, key);
        properties::set(&mut text, name::WAIT, "true");
        if !half_of.is_empty() {
            properties::set(&mut text, name::TRAN_MSG, "true");
            properties::set(&mut text, name::PGROUP, half_of);
        }
        Self {
            topic: &message.topic,
            body: message.body.clone(),
            flag: message.flag,
            sys_flag: 0,
            properties: text,
            batch: false,
        }
    }
}

fn receipt(
    connection: &Connection,
    reply: &Frame,
    queue: MessageQueue,
    key: &str,
) -> Result<SendReceipt> {
    let stored = match reply.code {
        response::SUCCESS => Stored::Fully,
        response::FLUSH_DISK_TIMEOUT => Stored::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => Stored::FlushReplicaTimeout,
        response::SLAVE_NOT_AVAILABLE => Stored::ReplicaNotAvailable,
        code => {
            return Err(Error::Refused {
                address: connection.address().to_owned(),
                code,
                remark: reply.remark.clone().unwrap_or_default(),
            });
        }
    };
    let header = SendResponse::decode(&reply.ext).map_err(|e| unreadable(connection, e))?;
    Ok(SendReceipt {
        message_id: key.to_owned(),
        offset_id: header.message_id.to_owned(),
        queue: MessageQueue {
            queue_id: header.queue_id,
            ..queue
        },
        queue_offset: header.queue_offset,
        stored,
    })
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
