//! The work on one queue whose messages are handled side by side.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

use super::cache::{Bounds, Cache};
use super::handler::Outcome;
use super::member::{Failures, Held, Member, Stop, stopped};
use crate::message::ReceivedMessage;

/// Pause before a message is handled again here, because no broker would take it back. As the Java client.
const AGAIN_HERE_AFTER: Duration = Duration::from_secs(5);

/// Pulls, handles and stores offsets until told to stop; then lets the handlers that run end.
pub(super) async fn work(member: Arc<Member>, held: Held, mut stop: watch::Receiver<Stop>) {
    let mut running = JoinSet::new();
    let mut moved = None;
    loop {
        let begin = async {
            match moved {
                Some(next) => next,
                None => member.first_offset(&held).await,
            }
        };
        let start = tokio::select! {
            start = begin => start,
            _ = stopped(&mut stop) => break,
        };
        let cache = Arc::new(Cache::new(start, Bounds::from(&member.settings)));
        let (sender, messages) = mpsc::unbounded_channel();
        let each = Each {
            member: Arc::clone(&member),
            held: held.clone(),
            cache: Arc::clone(&cache),
            stop: stop.clone(),
        };
        let ended = tokio::select! {
            next = member.fill(&held, &cache, sender) => Err(next),
            () = each.dispatch(messages, &mut running) => return,
            () = member.store_regularly(&held, &cache) => return,
            why = stopped(&mut stop) => Ok(why),
        };
        match ended {
            Err(next) => {
                member.write(&held, next).await;
                moved = Some(next);
            }
            Ok(why) => {
                // At once: the next owner may be asking already.
                member.store(&held, &cache).await;
                while running.join_next().await.is_some() {}
                if why == Stop::Closing {
                    member.store(&held, &cache).await;
                }
                return;
            }
        }
    }
    while running.join_next().await.is_some() {}
}

/// What the handling of each message needs.
#[derive(Clone)]
struct Each {
    member: Arc<Member>,
    held: Held,
    cache: Arc<Cache>,
    stop: watch::Receiver<Stop>,
}

impl Each {
    /// Starts a task for each message as there is room; never ends.
    async fn dispatch(
        &self,
        mut messages: UnboundedReceiver<Arc<ReceivedMessage>>,
        running: &mut JoinSet<()>,
    ) {
        loop {
            tokio::select! {
                Some(message) = messages.recv() => {
                    let Some(permit) = self.room().await else {
                        return;
                    };
                    running.spawn(self.clone().handle(message, permit));
                }
                Some(_) = running.join_next() => {}
                else => std::future::pending().await,
            }
        }
    }

    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.member.room).acquire_owned().await.ok()
    }

    async fn handle(mut self, message: Arc<ReceivedMessage>, permit: OwnedSemaphorePermit) {
        let mut permit = Some(permit);
        while permit.is_some() {
            if self.is_settled(&message).await {
                self.cache.done(message.queue_offset);
                return;
            }
            drop(permit);
            tokio::select! {
                () = tokio::time::sleep(AGAIN_HERE_AFTER) => {}
                _ = stopped(&mut self.stop) => return,
            }
            permit = self.room().await;
        }
    }

    /// Handles a message once; false if it is neither consumed nor given back.
    async fn is_settled(&self, message: &Arc<ReceivedMessage>) -> bool {
        if self.member.handler.handle(message).await == Outcome::Consumed {
            return true;
        }
        match self.member.failures {
            Failures::Logged => {
                tracing::warn!(id = message.id(), "not consumed, dropped");
                true
            }
            Failures::GivenBack => {
                let given = self.member.give_back(&self.held, message).await;
                if let Err(error) = &given {
                    tracing::warn!(id = message.id(), %error, "not given back");
                }
                given.is_ok()
            }
        }
    }
}
