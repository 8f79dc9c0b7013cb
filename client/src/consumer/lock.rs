//! The broker's lock on a queue, by which one member of a group owns it.

use std::time::Duration;

use escrow_protocol::body::{self, LockBatchRequest, LockBatchResponse, MessageQueue};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Client, unreadable};
use crate::error::Result;

/// Pause between two confirmations; brokers forget a lock after 60 s without one.
const CONFIRM_EVERY: Duration = Duration::from_secs(20);
/// A lock that was not confirmed for so long counts as lost, long before the broker gives it to another.
const TRUSTED_FOR: Duration = Duration::from_secs(30);
/// Pause before the next attempt to get or confirm a lock.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A queue's lock, held or not.
pub(super) struct QueueLock<'a> {
    pub(super) client: &'a Client,
    pub(super) group: &'a str,
    pub(super) queue: &'a MessageQueue,
    pub(super) confirmed: &'a Confirmed,
}

/// When a lock was confirmed last.
#[derive(Debug, Default)]
pub(super) struct Confirmed(Mutex<Option<Instant>>);

impl Confirmed {
    /// Whether nobody else can have the lock now.
    pub(super) fn is_fresh(&self) -> bool {
        self.0.lock().is_some_and(|at| at.elapsed() < TRUSTED_FOR)
    }
}

impl QueueLock<'_> {
    /// Asks until the lock is ours. Dropped between asking and answer, it may leave a lock behind:
    /// [`QueueLock::release`] it.
    pub(super) async fn acquire(&self) {
        while !self.confirm().await.unwrap_or(false) {
            sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Confirms the lock regularly; ends when it is lost.
    pub(super) async fn keep(&self) {
        loop {
            let confirmed = *self.confirmed.0.lock();
            sleep_until(confirmed.unwrap_or_else(Instant::now) + CONFIRM_EVERY).await;
            while let Err(error) = self.confirm().await {
                tracing::debug!(queue = ?self.queue, %error, "lock not confirmed");
                if !self.confirmed.is_fresh() {
                    break;
                }
                sleep(TRY_AGAIN_AFTER).await;
            }
            if !self.confirmed.is_fresh() {
                tracing::warn!(queue = ?self.queue, "lock lost");
                return;
            }
        }
    }

    /// Gives the lock to whoever wants it.
    pub(super) async fn release(&self) {
        *self.confirmed.0.lock() = None;
        if let Err(error) = self.ask(request::UNLOCK_BATCH_MQ).await {
            tracing::debug!(queue = ?self.queue, %error, "not unlocked, the lock will expire");
        }
    }

    /// One attempt; whether the lock is ours.
    async fn confirm(&self) -> Result<bool> {
        // Counted from before the broker counts.
        let asked = Instant::now();
        let (broker, reply) = self.ask(request::LOCK_BATCH_MQ).await?;
        let answer: LockBatchResponse =
            body::decode(&reply.body).map_err(|error| unreadable(&broker, error))?;
        let ours = answer.locked.contains(self.queue);
        *self.confirmed.0.lock() = ours.then_some(asked);
        Ok(ours)
    }

    async fn ask(&self, code: i32) -> Result<(crate::connection::Connection, Frame)> {
        let broker = self.client.broker_of(self.queue).await?;
        let question = LockBatchRequest {
            client_id: self.client.id().to_owned(),
            consumer_group: self.group.to_owned(),
            mq_set: vec![self.queue.clone()],
            only_this_broker: false,
        };
        let text = body::encode(&question).map_err(|error| unreadable(&broker, error))?;
        let frame = Frame::request(code).with_body(text);
        let reply = self.client.call(&broker, frame).await?;
        Ok((broker, reply))
    }
}
