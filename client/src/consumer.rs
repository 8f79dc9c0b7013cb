//! A simple consumer: all queues of one topic, pulled with long polls, offsets committed for a group.
//!
//! It shares the queues with nobody: one live consumer per group and topic.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use escrow_protocol::body::{MessageQueue, SubscriptionData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{PullRequest, PullResponse};
use escrow_protocol::ids;
use escrow_protocol::message;
use escrow_protocol::sysflag::pull;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::{Client, unreadable};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::ReceivedMessage;

/// A broker may be this much later than the long poll that we asked for.
const POLL_GRACE: Duration = Duration::from_secs(15);
/// Pause after a refusal or a lost connection.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Where a group begins that has no offset yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message.
    First,
    /// At the end: only what comes from now on.
    Last,
}

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Tags wanted: `*` for all, or `A || B`. Default `*`.
    pub tags: String,
    /// Where a new group begins. Default: at the oldest message.
    pub start: Start,
    /// Messages in one batch at most. Default 32, as the Java client.
    pub batch_max: i32,
    /// How long a broker may hold a pull while there is nothing. Default 15 s.
    pub poll: Duration,
    /// Batches pulled ahead of the application at most. Default 8.
    pub ahead_max: usize,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            tags: "*".to_owned(),
            start: Start::First,
            batch_max: 32,
            poll: Duration::from_secs(15),
            ahead_max: 8,
        }
    }
}

/// Messages of one queue, in order.
#[derive(Debug, Clone)]
pub struct Batch {
    queue: MessageQueue,
    messages: Vec<ReceivedMessage>,
    next_offset: i64,
}

impl Batch {
    /// The queue they come from.
    #[must_use]
    pub fn queue(&self) -> &MessageQueue {
        &self.queue
    }

    /// The messages; never none.
    #[must_use]
    pub fn messages(&self) -> &[ReceivedMessage] {
        &self.messages
    }
}

/// Consumes one topic for one group.
pub struct Consumer {
    client: Client,
    group: String,
    batches: mpsc::Receiver<Result<Batch>>,
    /// Pulls; ends with the consumer.
    tasks: JoinSet<()>,
}

impl Consumer {
    /// Starts consuming. A topic that does not exist yet is waited for.
    #[must_use]
    pub fn subscribe(
        client: &Client,
        group: impl Into<String>,
        topic: impl Into<String>,
        settings: ConsumerSettings,
    ) -> Self {
        let (group, topic) = (group.into(), topic.into());
        let subscription = Subscription::new(&topic, &settings.tags);
        client
            .shared
            .membership
            .add_consumer(&group, subscription.data.clone());
        let (sender, batches) = mpsc::channel(settings.ahead_max);
        let puller = Arc::new(Puller {
            client: client.clone(),
            group: group.clone(),
            topic,
            subscription,
            settings,
            batches: sender,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(puller.follow_route());
        Self {
            client: client.clone(),
            group,
            batches,
            tasks,
        }
    }

    /// The next batch of any queue. Messages come again after a restart unless committed.
    ///
    /// # Errors
    /// A message that this client cannot read; the queue is tried again, so it stays at that message.
    pub async fn next(&mut self) -> Result<Batch> {
        self.batches.recv().await.unwrap_or(Err(Error::Closed))
    }

    /// Stores that the group is done with everything up to the end of this batch.
    ///
    /// # Errors
    /// The broker could not be told; the messages may come again after a restart.
    pub async fn commit(&self, batch: &Batch) -> Result<()> {
        self.client
            .commit_offset(&self.group, &batch.queue, batch.next_offset)
            .await
    }

    /// Stops pulling and leaves the group.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
        self.client.leave(&self.group, true).await;
    }
}

/// What is wanted of the topic.
struct Subscription {
    data: SubscriptionData,
}

impl Subscription {
    fn new(topic: &str, expression: &str) -> Self {
        let wanted = expression.trim();
        let tags: Vec<String> = if wanted.is_empty() || wanted == "*" {
            Vec::new()
        } else {
            wanted
                .split("||")
                .map(str::trim)
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let hash = |tag: &String| i32::try_from(ids::tags_hash(tag)).ok();
        Self {
            data: SubscriptionData {
                topic: topic.to_owned(),
                sub_string: if tags.is_empty() {
                    "*".to_owned()
                } else {
                    tags.join(" || ")
                },
                code_set: tags.iter().filter_map(hash).collect(),
                tags_set: tags,
                sub_version: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
                expression_type: "TAG".to_owned(),
                ..SubscriptionData::default()
            },
        }
    }

    /// The broker compares hashes only; the tag itself decides.
    fn wants(&self, message: &ReceivedMessage) -> bool {
        let tags = &self.data.tags_set;
        tags.is_empty()
            || message
                .tag()
                .is_some_and(|tag| tags.iter().any(|t| t == tag))
    }
}

struct Puller {
    client: Client,
    group: String,
    topic: String,
    subscription: Subscription,
    settings: ConsumerSettings,
    batches: mpsc::Sender<Result<Batch>>,
}

/// What one pull brought.
enum Pulled {
    /// Go on from here, with these messages (perhaps none).
    Messages(Vec<ReceivedMessage>, i64),
    /// The queue has moved; go on from here.
    Moved(i64),
}

impl Puller {
    /// Pulls every queue that the topic has, and those that it gets later.
    async fn follow_route(self: Arc<Self>) {
        let mut followed: HashSet<MessageQueue> = HashSet::new();
        let mut pulls = JoinSet::new();
        loop {
            let pause = match self.client.route(&self.topic).await {
                Ok(route) => {
                    for queue in route.readable() {
                        if followed.insert(queue.clone()) {
                            pulls.spawn(Arc::clone(&self).follow_queue(queue.clone()));
                        }
                    }
                    self.client.shared.settings.route_interval
                }
                Err(error) => {
                    tracing::debug!(topic = %self.topic, %error, "no route to consume from");
                    RETRY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn follow_queue(self: Arc<Self>, queue: MessageQueue) {
        let mut offset = loop {
            match self.first_offset(&queue).await {
                Ok(offset) => break offset,
                Err(error) => self.pause_after(&queue, &error).await,
            }
        };
        loop {
            match self.pull(&queue, offset).await {
                Ok(Pulled::Moved(next)) => offset = next,
                Ok(Pulled::Messages(messages, next)) => {
                    offset = next;
                    if messages.is_empty() {
                        continue;
                    }
                    let batch = Batch {
                        queue: queue.clone(),
                        messages,
                        next_offset: next,
                    };
                    if self.batches.send(Ok(batch)).await.is_err() {
                        return;
                    }
                }
                Err(error @ Error::Answer { .. }) => {
                    // The application must hear of what it will not get.
                    if self.batches.send(Err(error)).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => self.pause_after(&queue, &error).await,
            }
        }
    }

    async fn pause_after(&self, queue: &MessageQueue, error: &Error) {
        tracing::debug!(?queue, %error, "pull failed");
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    async fn first_offset(&self, queue: &MessageQueue) -> Result<i64> {
        if let Some(offset) = self.client.group_offset(&self.group, queue).await? {
            return Ok(offset);
        }
        match self.settings.start {
            Start::First => self.client.min_offset(queue).await,
            Start::Last => self.client.max_offset(queue).await,
        }
    }

    async fn pull(&self, queue: &MessageQueue, offset: i64) -> Result<Pulled> {
        let connection = self.client.broker_of(queue).await?;
        let mut frame = Frame::request(request::PULL_MESSAGE);
        PullRequest {
            consumer_group: &self.group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            queue_offset: offset,
            messages_max: self.settings.batch_max,
            sys_flag: pull::SUSPEND | pull::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: i64::try_from(self.settings.poll.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(&self.subscription.data.sub_string),
            subscription_version: self.subscription.data.sub_version,
            expression_type: Some("TAG"),
            bytes_max: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        let reply = connection
            .request(frame, self.settings.poll + POLL_GRACE)
            .await?;
        self.pulled(&connection, &reply)
    }

    fn pulled(&self, connection: &Connection, reply: &Frame) -> Result<Pulled> {
        let next = || {
            PullResponse::decode(&reply.ext)
                .map(|header| header.next_begin_offset)
                .map_err(|error| unreadable(connection, error))
        };
        match reply.code {
            response::SUCCESS => Ok(Pulled::Messages(self.read(connection, reply)?, next()?)),
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => {
                Ok(Pulled::Messages(Vec::new(), next()?))
            }
            response::PULL_OFFSET_MOVED => Ok(Pulled::Moved(next()?)),
            code => Err(Error::Refused {
                address: connection.address().to_owned(),
                code,
                remark: reply.remark.clone().unwrap_or_default(),
            }),
        }
    }

    fn read(&self, connection: &Connection, reply: &Frame) -> Result<Vec<ReceivedMessage>> {
        let mut messages = Vec::new();
        for record in message::decode_all(&reply.body) {
            let record = record.map_err(|error| unreadable(connection, error))?;
            let message = ReceivedMessage::from_record(&record.message)
                .map_err(|reason| unreadable(connection, reason))?;
            if self.subscription.wants(&message) {
                messages.push(message);
            }
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_names_tags_with_their_hashes() {
        let all = Subscription::new("T", " * ");
        assert!(all.data.tags_set.is_empty());
        assert_eq!(all.data.sub_string, "*");
        let some = Subscription::new("T", "TagA||  B ");
        assert_eq!(some.data.tags_set, ["TagA", "B"]);
        assert_eq!(some.data.code_set, [2_598_919, 66]);
        assert_eq!(some.data.sub_string, "TagA || B");
    }
}
