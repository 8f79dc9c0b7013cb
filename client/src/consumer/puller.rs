//! The tasks behind a pull consumer: one for each queue, restarted by a seek.

use std::collections::HashMap;
use std::sync::Arc;

use escrow_protocol::body::MessageQueue;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::offsets::Offsets;
use super::pull::{Pull, Pulled, RETRY_PAUSE, Record};
use super::pull_consumer::Batch;
use super::settings::PullSettings;
use super::subscription::Subscription;
use crate::client::Client;
use crate::error::{Error, Result};

/// What the pulls of all queues share.
pub(super) struct Puller {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) subscription: Subscription,
    pub(super) settings: PullSettings,
    pub(super) offsets: Offsets,
    pub(super) batches: mpsc::Sender<Pulling>,
    pub(super) followed: Mutex<HashMap<MessageQueue, Followed>>,
    pub(super) tasks: Mutex<JoinSet<()>>,
}

/// A queue that is pulled.
pub(super) struct Followed {
    /// Grows with each seek.
    generation: u64,
    task: AbortHandle,
}

/// What came of a queue, and since which seek.
pub(super) struct Pulling {
    queue: MessageQueue,
    generation: u64,
    pub(super) outcome: Result<Batch>,
}

impl Puller {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock();
        // Seeks leave ended tasks behind.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    pub(super) fn stop(&self) {
        self.tasks.lock().abort_all();
    }

    pub(super) fn follows(&self, queue: &MessageQueue) -> bool {
        self.followed.lock().contains_key(queue)
    }

    pub(super) fn is_current(&self, pulling: &Pulling) -> bool {
        let followed = self.followed.lock();
        let known = followed.get(&pulling.queue);
        known.is_some_and(|followed| followed.generation == pulling.generation)
    }

    /// Pulls every queue that the topic has, and those that it gets later.
    pub(super) async fn follow_route(self: Arc<Self>) {
        let topic = self.subscription.topic();
        loop {
            let pause = match self.client.route(topic).await {
                Ok(route) => {
                    for queue in route.readable() {
                        if !self.follows(queue) {
                            self.follow(queue.clone(), None);
                        }
                    }
                    self.client.shared.settings.route_interval
                }
                Err(error) => {
                    tracing::debug!(topic, %error, "no route to consume from");
                    RETRY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Begins to pull a queue, or begins again: at `offset`, or where the group is.
    pub(super) fn follow(self: &Arc<Self>, queue: MessageQueue, offset: Option<i64>) {
        let mut followed = self.followed.lock();
        let before = followed.get(&queue);
        let generation = before.map_or(0, |before| before.generation + 1);
        if let Some(before) = before {
            before.task.abort();
        }
        let pulls = Arc::clone(self).pull_all(queue.clone(), generation, offset);
        let task = self.spawn(pulls);
        followed.insert(queue, Followed { generation, task });
    }

    async fn pull_all(self: Arc<Self>, queue: MessageQueue, generation: u64, from: Option<i64>) {
        let mut offset = match from {
            Some(offset) => offset,
            None => self.first_offset(&queue).await,
        };
        loop {
            let outcome = self.pull_once(&queue, &mut offset).await;
            let failed = outcome.is_err();
            let told = match outcome {
                Ok(None) => continue,
                Ok(Some(batch)) => Ok(batch),
                // The application must hear of what it will not get.
                Err(error @ Error::Answer { .. }) => Err(error),
                Err(error) => {
                    tracing::debug!(?queue, %error, "pull failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let pulling = Pulling {
                queue: queue.clone(),
                generation,
                outcome: told,
            };
            if self.batches.send(pulling).await.is_err() {
                return;
            }
            if failed {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn pull_once(&self, queue: &MessageQueue, offset: &mut i64) -> Result<Option<Batch>> {
        let pull = Pull {
            client: &self.client,
            group: &self.group,
            subscription: &self.subscription,
            queue,
            batch_max: self.settings.batch_max,
            poll: self.settings.poll,
        };
        let (records, mut next) = match pull.from(*offset).await? {
            Pulled::Moved(next) => {
                *offset = next;
                return Ok(None);
            }
            Pulled::Messages(records, next) => (records, next),
        };
        let mut messages = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Message(message) => messages.push(message),
                Record::Unreadable(_, error) if messages.is_empty() => return Err(error),
                // First what is before it; then it is met again.
                Record::Unreadable(message, _) => {
                    next = message.queue_offset;
                    break;
                }
            }
        }
        *offset = next;
        Ok((!messages.is_empty()).then(|| Batch {
            queue: queue.clone(),
            messages,
            next_offset: next,
        }))
    }

    async fn first_offset(&self, queue: &MessageQueue) -> i64 {
        loop {
            match self.offsets.first(queue, self.settings.start, false).await {
                Ok(first) => return first.offset,
                Err(error) => {
                    tracing::debug!(?queue, %error, "no offset to begin at");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}
