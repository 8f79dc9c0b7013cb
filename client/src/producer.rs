//! Sending plain messages.

mod content;
mod receipt;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use escrow_protocol::batch::{self, BatchMessage};
use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::SendRequest;
use escrow_protocol::ids;
use escrow_protocol::names::AUTO_CREATE_TOPIC;
use escrow_protocol::properties::{Properties, name};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::{BODY_BYTES_MAX, Message};
use crate::route::DEFAULT_TOPIC_QUEUES;

use content::keyed_properties;
pub(crate) use content::{Content, Reconsumed};
pub use receipt::{SendReceipt, Stored};

/// Times a send is tried in all, as the Java client.
const TRIES: usize = 3;
/// What the Java client calls itself when it sends failed messages back.
const INTERNAL_GROUP: &str = "CLIENT_INNER_PRODUCER";

/// Sends messages for one producer group. Clones share the group and the round of queues.
///
/// Bodies of 4 KiB and more travel compressed (zlib) if that makes them smaller, as those of the Java client.
/// Dropping the future of a send does not take back what was handed to the connection: the message may arrive.
#[derive(Clone)]
pub struct Producer {
    client: Client,
    group: Arc<str>,
    turn: Arc<AtomicUsize>,
    within: Duration,
}

impl Producer {
    /// A producer that is no member of a group: for what the client sends on its own account.
    pub(crate) fn internal(client: &Client) -> Self {
        Self {
            client: client.clone(),
            group: INTERNAL_GROUP.into(),
            turn: Arc::default(),
            within: client.shared.settings.request_timeout,
        }
    }

    /// A producer of `group`, whose sends take [`Settings::request_timeout`](crate::Settings::request_timeout) at most.
    #[must_use]
    pub fn new(client: &Client, group: impl Into<String>) -> Self {
        let group = group.into();
        client.shared.membership.add_producer(&group);
        Self {
            group: group.into(),
            ..Self::internal(client)
        }
    }

    /// The same producer with another limit: how long one send may take with all its tries.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            within: limit,
            ..self.clone()
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

    /// Sends a message and waits until a broker has it. Tried up to three times within the limit, on another broker
    /// where there is one; all tries carry one unique key, so that a consumer can tell a repetition.
    ///
    /// # Errors
    /// That of the last try; [`Error::outcome_unknown`] tells whether the message may be there all the same.
    pub async fn send(&self, message: &Message) -> Result<SendReceipt> {
        message.validate()?;
        let key = self.client.shared.keys.next();
        self.try_often(&Content::plain(message, &key, ""), &key)
            .await
    }

    /// Sends a message to this very queue, in one try.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_to(&self, message: &Message, queue: &MessageQueue) -> Result<SendReceipt> {
        message.validate()?;
        let key = self.client.shared.keys.next();
        let content = Content::plain(message, &key, "");
        let deadline = Instant::now() + self.within;
        let broker = self.before(deadline, self.client.broker_of(queue)).await?;
        self.try_on(&content, &key, queue.clone(), &broker, deadline)
            .await
    }

    /// Sends a message to the queue that `sharding_key` stands for, in one try: messages of one key, sent one after
    /// the other, keep their order. The Java client's `SelectMessageQueueByHash` picks the same queue. A topic that
    /// gets more queues gives keys other queues.
    ///
    /// # Errors
    /// As [`Producer::send`], and as [`Message::property`] for the key.
    pub async fn send_by_key(&self, message: &Message, sharding_key: &str) -> Result<SendReceipt> {
        let message = message.clone().sharding_key(sharding_key)?;
        let route = self.client.shared.routes.for_sending(message.topic());
        let route = self.before(Instant::now() + self.within, route).await?;
        let queues = route.writable();
        let queue = i64::try_from(queues.len())
            .ok()
            .and_then(|count| ids::tags_hash(sharding_key).checked_rem(count))
            .and_then(|index| queues.get(usize::try_from(index.unsigned_abs()).ok()?))
            .ok_or_else(|| no_route(message.topic()))?;
        self.send_to(&message, queue).await
    }

    /// Hands a message to the connection and waits for nothing: it may be lost.
    ///
    /// # Errors
    /// Only what is known at once: no route, no connection, a message that cannot be sent.
    pub async fn send_oneway(&self, message: &Message) -> Result<()> {
        message.validate()?;
        let key = self.client.shared.keys.next();
        let content = Content::plain(message, &key, "");
        let deadline = Instant::now() + self.within;
        let (queue, broker) = self
            .before(deadline, self.next_queue(&message.topic, None))
            .await?;
        let frame = self.frame(&content, &queue);
        broker.oneway(frame, left(deadline)).await
    }

    /// Sends several messages of one topic in one request; they land next to each other in one queue. Tried again as
    /// a single message is.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`Error::Message`] for a batch that is empty, mixed, delayed or too large.
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
            if Properties(&message.properties).get(name::DELAY).is_some() {
                return Err(Error::Message("a batch cannot be delayed"));
            }
            let key = self.client.shared.keys.next();
            let one = BatchMessage {
                flag: message.flag,
                body: &message.body,
                properties: &keyed_properties(message, &key),
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
            reconsumed: None,
        };
        self.try_often(&content, &keys.join(",")).await
    }

    /// Leaves the group. Clones of this producer can still send.
    pub async fn close(self) {
        self.client.leave(&self.group, false).await;
    }

    pub(crate) async fn try_often(&self, content: &Content<'_>, key: &str) -> Result<SendReceipt> {
        let deadline = Instant::now() + self.within;
        let mut failed_at: Option<String> = None;
        let mut tried = 0;
        loop {
            let next = self.next_queue(content.topic, failed_at.as_deref());
            let (queue, broker) = self.before(deadline, next).await?;
            let name = queue.broker_name.clone();
            let outcome = self.try_on(content, key, queue, &broker, deadline).await;
            tried += 1;
            match outcome {
                Err(error)
                    if error.is_transient() && tried < TRIES && Instant::now() < deadline =>
                {
                    tracing::debug!(%error, tried, "send tried again");
                    self.client.shared.routes.forget(content.topic);
                    failed_at = Some(name);
                }
                outcome => return outcome,
            }
        }
    }

    /// One attempt on the next queue, which may wait so long for others to leave with; also says where it went.
    pub(crate) async fn try_once(
        &self,
        content: &Content<'_>,
        key: &str,
        patience: Duration,
    ) -> Result<(SendReceipt, Connection)> {
        let deadline = Instant::now() + self.within;
        let next = self.next_queue(content.topic, None);
        let (queue, broker) = self.before(deadline, next).await?;
        let frame = self.frame(content, &queue);
        let reply = broker.request_patiently(frame, left(deadline), patience);
        let receipt = receipt::read(&broker, &reply.await?, queue, key)?;
        Ok((receipt, broker))
    }

    async fn try_on(
        &self,
        content: &Content<'_>,
        key: &str,
        queue: MessageQueue,
        broker: &Connection,
        deadline: Instant,
    ) -> Result<SendReceipt> {
        let frame = self.frame(content, &queue);
        let reply = broker.request(frame, left(deadline)).await?;
        receipt::read(broker, &reply, queue, key)
    }

    /// The next queue in turn, of another broker than `avoid` if there is one.
    async fn next_queue(
        &self,
        topic: &str,
        avoid: Option<&str>,
    ) -> Result<(MessageQueue, Connection)> {
        let route = self.client.shared.routes.for_sending(topic).await?;
        let queues = route.writable();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn
            .checked_rem(queues.len())
            .ok_or_else(|| no_route(topic))?;
        let (before, from) = queues.split_at(start);
        let in_turn = || from.iter().chain(before);
        let elsewhere = in_turn().find(|queue| Some(queue.broker_name.as_str()) != avoid);
        let queue = elsewhere.or_else(|| in_turn().next());
        let queue = queue.ok_or_else(|| no_route(topic))?;
        let address = route.address(&queue.broker_name);
        let address = address.ok_or_else(|| no_route(topic))?;
        Ok((queue.clone(), self.client.broker(address)))
    }

    /// Looks up where to send to, while there is time: nothing was sent when it is over.
    async fn before<T>(
        &self,
        deadline: Instant,
        look_up: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        timeout_at(deadline, look_up).await.unwrap_or_else(|_| {
            Err(Error::Connect {
                address: self.client.shared.routes.names().current_address(),
                reason: format!("no route within {:?}", self.within),
            })
        })
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
            reconsume_times: Some(content.reconsumed.map_or(0, |r| r.times)),
            unit_mode: false,
            reconsume_times_max: content.reconsumed.map(|r| r.times_max),
            batch: content.batch,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        frame.with_body(content.body.clone())
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn no_route(topic: &str) -> Error {
    Error::NoRoute {
        topic: topic.to_owned(),
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
