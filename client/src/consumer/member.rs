//! What all tasks of one push consumer share, and the signal that ends the work on a queue.

use std::sync::Arc;

use escrow_protocol::body::MessageQueue;
use tokio::sync::{Semaphore, watch};
use tokio::time::interval;

use super::cache::Cache;
use super::handler::ErasedHandler;
use super::offsets::Offsets;
use super::pull::{Pull, RETRY_PAUSE};
use super::settings::PushSettings;
use super::subscription::Subscription;
use crate::client::Client;

/// What becomes of a message that cannot be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failures {
    /// The broker delivers it again later, and at last puts it to the dead letters.
    GivenBack,
    /// It is dropped with a line in the log: other members had it too.
    Logged,
}

/// A member of a consumer group.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) settings: PushSettings,
    pub(super) handler: ErasedHandler,
    pub(super) offsets: Offsets,
    pub(super) failures: Failures,
    /// Room for handlers that run at the same time.
    pub(super) room: Arc<Semaphore>,
}

/// A queue that is this member's for now.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) queue: MessageQueue,
    pub(super) subscription: Arc<Subscription>,
    /// It appeared after the consumer began.
    pub(super) is_new: bool,
}

/// Whether, and why, the work on a queue ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// Another member gets the queue, and may be at work already.
    Revoked,
    /// The consumer closes; nobody gets the queue before it has left the group.
    Closing,
}

/// Waits for the end; also for that of a consumer which was dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<Stop>) -> Stop {
    match stop.wait_for(|stop| *stop != Stop::No).await {
        Ok(stop) => *stop,
        Err(_) => Stop::Revoked,
    }
}

impl Member {
    pub(super) fn pull<'a>(&'a self, held: &'a Held) -> Pull<'a> {
        Pull {
            client: &self.client,
            group: &self.group,
            subscription: &held.subscription,
            queue: &held.queue,
            batch_max: self.settings.batch_max,
            poll: self.settings.poll,
        }
    }

    /// Where to begin on a queue; asked until there is an answer.
    pub(super) async fn first_offset(&self, held: &Held) -> i64 {
        loop {
            let first = self
                .offsets
                .first(&held.queue, self.settings.start, held.is_new);
            match first.await {
                Ok(first) => {
                    // Whoever takes over before the first message is done begins at the same place.
                    if first.is_stored || self.write(held, first.offset).await {
                        return first.offset;
                    }
                }
                Err(error) => {
                    tracing::debug!(queue = ?held.queue, %error, "no offset to begin at");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Stores how far the queue is done, if that changed.
    pub(super) async fn store(&self, held: &Held, cache: &Cache) {
        if let Some(offset) = cache.unstored()
            && self.write(held, offset).await
        {
            cache.stored(offset);
        }
    }

    /// Stores an offset; false if that failed.
    pub(super) async fn write(&self, held: &Held, offset: i64) -> bool {
        let written = self.offsets.write(&held.queue, offset).await;
        if let Err(error) = &written {
            tracing::warn!(queue = ?held.queue, offset, %error, "offset not stored");
        }
        written.is_ok()
    }

    /// Stores again and again; never ends.
    pub(super) async fn store_regularly(&self, held: &Held, cache: &Cache) {
        let mut due = interval(self.settings.persist_interval);
        loop {
            due.tick().await;
            self.store(held, cache).await;
        }
    }
}
