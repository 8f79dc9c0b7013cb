//! The pull consumer: batches of chosen queues, taken when the application is ready for them.

use std::sync::Arc;

use escrow_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, MessageQueue,
};
use tokio::sync::mpsc;

use super::offsets::Offsets;
use super::puller::{Puller, Pulling};
use super::settings::PullSettings;
use super::subscription::Subscription;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::message::ReceivedMessage;

/// Messages of one queue, in order.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) queue: MessageQueue,
    pub(super) messages: Vec<ReceivedMessage>,
    pub(super) next_offset: i64,
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

/// Pulls queues for one group, in order, and stores offsets when the application says so.
///
/// It shares the queues with nobody: one live pull consumer per group and queue. Dropping it stops the pulls and
/// leaves the group.
pub struct PullConsumer {
    client: Client,
    group: String,
    batches: mpsc::Receiver<Pulling>,
    puller: Arc<Puller>,
    closed: bool,
}

impl PullConsumer {
    /// Pulls all queues of a topic, and those that it gets later. A topic that does not exist yet is waited for.
    ///
    /// # Errors
    /// [`Error::Settings`] if the group has a consumer in this client already.
    pub fn subscribe(
        client: &Client,
        group: impl Into<String>,
        subscription: Subscription,
        settings: PullSettings,
    ) -> Result<Self> {
        let consumer = Self::start(client, group.into(), subscription, settings)?;
        let puller = Arc::clone(&consumer.puller);
        consumer.puller.spawn(puller.follow_route());
        Ok(consumer)
    }

    /// Pulls these queues of a topic, and no others.
    ///
    /// # Errors
    /// As [`PullConsumer::subscribe`].
    pub fn assign(
        client: &Client,
        group: impl Into<String>,
        subscription: Subscription,
        queues: impl IntoIterator<Item = MessageQueue>,
        settings: PullSettings,
    ) -> Result<Self> {
        let consumer = Self::start(client, group.into(), subscription, settings)?;
        for queue in queues {
            consumer.puller.follow(queue, None);
        }
        Ok(consumer)
    }

    fn start(
        client: &Client,
        group: String,
        subscription: Subscription,
        settings: PullSettings,
    ) -> Result<Self> {
        client.shared.membership.add_consumer(ConsumerData {
            group_name: group.clone(),
            consume_type: ConsumeType::Actively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::FirstOffset,
            unit_mode: false,
            subscription_data_set: vec![subscription.data().clone()],
        })?;
        let (sender, batches) = mpsc::channel(settings.ahead_max.max(1));
        let offsets = Offsets::Group {
            client: client.clone(),
            group: group.clone(),
        };
        Ok(Self {
            client: client.clone(),
            group: group.clone(),
            batches,
            puller: Arc::new(Puller {
                client: client.clone(),
                group,
                subscription,
                settings,
                offsets,
                batches: sender,
                followed: Default::default(),
                tasks: Default::default(),
            }),
            closed: false,
        })
    }

    /// The next batch of any queue. Messages come again after a restart unless committed. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// A message that this client cannot read; the queue is tried again, so it stays at that message until the
    /// application seeks past it.
    pub async fn next(&mut self) -> Result<Batch> {
        loop {
            let Some(pulling) = self.batches.recv().await else {
                return Err(Error::Closed);
            };
            // What was pulled before a seek is no longer wanted.
            if self.puller.is_current(&pulling) {
                return pulling.outcome;
            }
        }
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

    /// Goes on at `offset` of a queue: batches that [`PullConsumer::next`] returns from now on begin there. Nothing is
    /// stored for the group. [`Client::min_offset`], [`Client::max_offset`] and [`Client::offset_at`] say which offsets
    /// there are.
    ///
    /// # Errors
    /// [`Error::Settings`] if the queue is none of this consumer's.
    pub fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<()> {
        if !self.puller.follows(queue) {
            return Err(Error::Settings("the queue is not assigned"));
        }
        self.puller.follow(queue.clone(), Some(offset));
        Ok(())
    }

    /// Stops pulling and leaves the group. Dropping the future leaves the group as dropping the consumer does.
    pub async fn close(mut self) {
        self.puller.stop();
        self.client.leave(&self.group, true).await;
        self.closed = true;
    }
}

impl Drop for PullConsumer {
    fn drop(&mut self) {
        // The tasks hold the puller that holds them.
        self.puller.stop();
        if !self.closed {
            self.client.leave_soon(&self.group);
        }
    }
}
