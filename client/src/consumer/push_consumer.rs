//! The push consumer: messages are pulled and handed to a handler.

use std::sync::Arc;

use escrow_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, MessageQueue,
};
use escrow_protocol::names;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::handler::{ErasedHandler, Handler};
use super::member::{Failures, Member};
use super::offsets::{LocalOffsets, Offsets};
use super::rebalance::{Rebalance, Share, Work};
use super::settings::{PushSettings, Start};
use super::subscription::Subscription;
use crate::client::Client;
use crate::error::{Error, Result};

/// A member of a consumer group whose handler is called for each message.
///
/// Queues are shared out among the members of a group whenever members or queues come or go; all members must have
/// the same subscriptions. Offsets are stored every few seconds, and when a queue is given up.
///
/// Dropping a consumer stops its handlers at their next await point and leaves the group; what was not stored comes
/// again. [`PushConsumer::close`] is the clean end.
pub struct PushConsumer {
    client: Client,
    group: String,
    assignment: watch::Receiver<Vec<MessageQueue>>,
    close: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl PushConsumer {
    /// Shares the messages with the other members of `group` and handles many at the same time, in no order.
    ///
    /// A message that shall come again is given back to the broker, which delivers it to any member, the later the
    /// more often it has failed, and after [`PushSettings::retries_max`] failures puts it to the dead letters of the
    /// group (topic `%DLQ%group`). When a queue is given to another member, handlers that run go on to their end, and
    /// their messages come again there.
    ///
    /// # Errors
    /// [`Error::Settings`] if the group has no proper name or has a consumer in this client already. A topic that does
    /// not exist yet is waited for.
    pub fn concurrent(
        client: &Client,
        group: impl Into<String>,
        subscriptions: impl IntoIterator<Item = Subscription>,
        settings: PushSettings,
        handler: impl Handler,
    ) -> Result<Self> {
        let member = in_cluster(client, group.into(), settings, handler);
        let topics = with_retries(&member.group, subscriptions);
        Self::start(member, Share::Averagely, Work::Concurrent, topics)
    }

    /// Shares the queues with the other members of `group` and handles the messages of each queue one after the other,
    /// also when the queue changes hands: its new owner waits for the lock, which its old owner keeps until its
    /// handler has ended and its offset is stored. A member that dies without a word keeps its locks for a minute.
    ///
    /// A message that shall come again holds up its queue and is handled again after [`PushSettings::suspend`]; after
    /// [`PushSettings::retries_max`] failures, if there is such a limit, it becomes a dead letter.
    ///
    /// # Errors
    /// As [`PushConsumer::concurrent`].
    pub fn orderly(
        client: &Client,
        group: impl Into<String>,
        subscriptions: impl IntoIterator<Item = Subscription>,
        settings: PushSettings,
        handler: impl Handler,
    ) -> Result<Self> {
        let member = in_cluster(client, group.into(), settings, handler);
        let topics = with_retries(&member.group, subscriptions);
        Self::start(member, Share::Averagely, Work::Orderly, topics)
    }

    /// Handles every message of every queue, as each member of `group` does. Messages that cannot be handled are
    /// logged and dropped.
    ///
    /// # Errors
    /// As [`PushConsumer::concurrent`].
    pub fn broadcasting(
        client: &Client,
        group: impl Into<String>,
        subscriptions: impl IntoIterator<Item = Subscription>,
        offsets: LocalOffsets,
        settings: PushSettings,
        handler: impl Handler,
    ) -> Result<Self> {
        let member = Member {
            offsets: Offsets::Local {
                client: client.clone(),
                table: offsets,
            },
            failures: Failures::Logged,
            ..in_cluster(client, group.into(), settings, handler)
        };
        let topics = subscriptions.into_iter().collect();
        Self::start(member, Share::Everything, Work::Concurrent, topics)
    }

    fn start(member: Member, share: Share, work: Work, topics: Vec<Subscription>) -> Result<Self> {
        names::validate_group(&member.group)
            .map_err(|_| Error::Settings("no proper group name"))?;
        let data = ConsumerData {
            group_name: member.group.clone(),
            consume_type: ConsumeType::Passively,
            message_model: match share {
                Share::Averagely => MessageModel::Clustering,
                Share::Everything => MessageModel::Broadcasting,
            },
            consume_from_where: from_where(member.settings.start),
            unit_mode: false,
            subscription_data_set: topics.iter().map(|topic| topic.data().clone()).collect(),
        };
        let client = member.client.clone();
        let group = member.group.clone();
        let changed = client.shared.membership.add_consumer(data)?;
        let (assignment_in, assignment) = watch::channel(Vec::new());
        let (close, closing) = watch::channel(false);
        let rebalance = Rebalance::new(Arc::new(member), share, work, topics, assignment_in);
        Ok(Self {
            client,
            group,
            assignment,
            close,
            task: Some(tokio::spawn(rebalance.run(changed, closing))),
        })
    }

    /// The queues that are this member's at present, in order, and their changes. Those of the group's retry topic
    /// are among them.
    #[must_use]
    pub fn assignment(&self) -> watch::Receiver<Vec<MessageQueue>> {
        self.assignment.clone()
    }

    /// Takes no more messages, waits for the handlers that run, stores the offsets, gives up the locks and leaves the
    /// group. Dropping the future ends it like dropping the consumer.
    pub async fn close(mut self) {
        self.close.send_replace(true);
        if let Some(task) = &mut self.task {
            // It fails only if the runtime ends.
            let _ = task.await;
        }
        self.task = None;
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            self.client.leave_soon(&self.group);
        }
    }
}

fn in_cluster(
    client: &Client,
    group: String,
    settings: PushSettings,
    handler: impl Handler,
) -> Member {
    Member {
        client: client.clone(),
        offsets: Offsets::Group {
            client: client.clone(),
            group: group.clone(),
        },
        group,
        room: Arc::new(Semaphore::new(settings.parallel_max.max(1))),
        settings,
        handler: ErasedHandler::new(handler),
        failures: Failures::GivenBack,
    }
}

/// What failed comes back by the group's own retry topic.
fn with_retries(
    group: &str,
    subscriptions: impl IntoIterator<Item = Subscription>,
) -> Vec<Subscription> {
    let retries = Subscription::all(names::retry_topic(group));
    subscriptions.into_iter().chain([retries]).collect()
}

/// Told to the broker for its lists; it decides nothing there.
fn from_where(start: Start) -> ConsumeFromWhere {
    match start {
        Start::First => ConsumeFromWhere::FirstOffset,
        Start::Last => ConsumeFromWhere::LastOffset,
        Start::At(_) => ConsumeFromWhere::Timestamp,
    }
}
