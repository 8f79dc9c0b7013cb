//! The work on one queue whose messages are handled one after the other, by one member of the group at a time.

use std::sync::Arc;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cache::{Bounds, Cache};
use super::handler::Outcome;
use super::lock::{Confirmed, QueueLock};
use super::member::{Held, Member, Stop, stopped};
use crate::message::ReceivedMessage;

/// Why handling in order was interrupted.
enum Ended {
    /// The queue begins elsewhere now.
    Moved(i64),
    /// Another member may have the queue.
    LockLost,
    Stopped,
}

/// Locks the queue, then pulls, handles and stores offsets until told to stop. The lock is given up only when the
/// handler has ended and its offset is stored: the next owner goes on exactly there.
pub(super) async fn work(member: Arc<Member>, held: Held, mut stop: watch::Receiver<Stop>) {
    let confirmed = Arc::new(Confirmed::default());
    let lock = QueueLock {
        client: &member.client,
        group: &member.group,
        queue: &held.queue,
        confirmed: &confirmed,
    };
    let mut moved = None;
    loop {
        let begin = async {
            if !confirmed.is_fresh() {
                lock.acquire().await;
            }
            // Only now: the last owner stored its offset before it let go.
            match moved.take() {
                Some(next) => next,
                None => member.first_offset(&held).await,
            }
        };
        let start = tokio::select! {
            start = begin => start,
            _ = stopped(&mut stop) => return lock.release().await,
        };
        let cache = Arc::new(Cache::new(start, Bounds::from(&member.settings)));
        match life(&member, &held, &lock, &confirmed, &cache, &mut stop).await {
            Ended::Moved(next) => {
                member.write(&held, next).await;
                moved = Some(next);
            }
            // What this member has done may be behind what another one has stored meanwhile.
            Ended::LockLost if !confirmed.is_fresh() => {}
            Ended::LockLost => member.store(&held, &cache).await,
            Ended::Stopped => {
                member.store(&held, &cache).await;
                return lock.release().await;
            }
        }
    }
}

/// From the first message of a cache to an interruption; no handler runs afterwards.
async fn life(
    member: &Arc<Member>,
    held: &Held,
    lock: &QueueLock<'_>,
    confirmed: &Arc<Confirmed>,
    cache: &Arc<Cache>,
    stop: &mut watch::Receiver<Stop>,
) -> Ended {
    let (sender, messages) = mpsc::unbounded_channel();
    // Dropped at the end, which a handler that waits for its next try sees.
    let (alive, over) = watch::channel(());
    let one = OneByOne {
        member: Arc::clone(member),
        held: held.clone(),
        cache: Arc::clone(cache),
        confirmed: Arc::clone(confirmed),
        over,
    };
    let mut running = JoinSet::new();
    let ended = tokio::select! {
        next = member.fill(held, cache, sender) => Ended::Moved(next),
        () = one.dispatch(messages, &mut running) => Ended::LockLost,
        () = member.store_regularly(held, cache) => Ended::Stopped,
        () = lock.keep() => Ended::LockLost,
        _ = stopped(stop) => Ended::Stopped,
    };
    drop(alive);
    let drained = async { while running.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => ended,
        // Still handling, and no longer alone: the offset is the other's business now.
        () = lock.keep() => Ended::LockLost,
    }
}

/// What the handling of a message in its turn needs.
#[derive(Clone)]
struct OneByOne {
    member: Arc<Member>,
    held: Held,
    cache: Arc<Cache>,
    confirmed: Arc<Confirmed>,
    over: watch::Receiver<()>,
}

impl OneByOne {
    /// Handles each message when the one before is done; ends when the queue may no longer be ours.
    async fn dispatch(
        &self,
        mut messages: UnboundedReceiver<Arc<ReceivedMessage>>,
        running: &mut JoinSet<bool>,
    ) {
        while let Some(message) = messages.recv().await {
            // A task of its own: an interruption must not cut a handler short.
            running.spawn(self.clone().handle(message));
            if !matches!(running.join_next().await, Some(Ok(true))) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Handles one message until it is done; false if that is no longer ours to do.
    async fn handle(mut self, mut message: Arc<ReceivedMessage>) -> bool {
        loop {
            let Ok(permit) = self.member.room.acquire().await else {
                return false;
            };
            if !self.confirmed.is_fresh() {
                return false;
            }
            let outcome = self.member.handler.handle(&message).await;
            if outcome == Outcome::Consumed || self.is_dead_letter(&message).await {
                self.cache.done(message.queue_offset);
                return true;
            }
            drop(permit);
            Arc::make_mut(&mut message).reconsume_times += 1;
            tokio::select! {
                () = tokio::time::sleep(self.member.settings.suspend) => {}
                _ = self.over.changed() => return false,
            }
        }
    }

    /// After too many failures a message makes way for the others.
    async fn is_dead_letter(&self, message: &ReceivedMessage) -> bool {
        let limit = self.member.settings.retries_max;
        if limit.is_none_or(|limit| message.reconsume_times < limit) {
            return false;
        }
        let dead = self.member.dead_letter(&self.held, message).await;
        if let Err(error) = &dead {
            tracing::warn!(id = message.id(), %error, "not put to the dead letters");
        }
        dead.is_ok()
    }
}
