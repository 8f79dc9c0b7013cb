//! Keeping the cache of a queue filled.

use std::sync::Arc;

use escrow_protocol::names;
use escrow_protocol::properties::name;
use tokio::sync::mpsc::UnboundedSender;

use super::cache::Cache;
use super::member::{Failures, Held, Member};
use super::pull::{Pulled, RETRY_PAUSE, Record};
use crate::error::{Error, Result};
use crate::message::ReceivedMessage;

impl Member {
    /// Pulls whenever the cache has room, and passes messages on. Ends when the queue has moved: with its new
    /// beginning.
    pub(super) async fn fill(
        &self,
        held: &Held,
        cache: &Cache,
        // The cache bounds it.
        messages: UnboundedSender<Arc<ReceivedMessage>>,
    ) -> i64 {
        let pull = self.pull(held);
        loop {
            let from = cache.room().await;
            let outcome = match pull.from(from).await {
                Ok(Pulled::Moved(next)) => {
                    tracing::warn!(queue = ?held.queue, from, next, "the queue has moved");
                    return next;
                }
                Ok(Pulled::Messages(records, next)) => {
                    self.take(held, cache, records, next, &messages).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(queue = ?held.queue, %error, "pull failed");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn take(
        &self,
        held: &Held,
        cache: &Cache,
        records: Vec<Record>,
        next: i64,
        messages: &UnboundedSender<Arc<ReceivedMessage>>,
    ) -> Result<()> {
        for record in records {
            match record {
                Record::Message(mut message) => {
                    under_its_own_topic(&mut message);
                    cache.add(message.queue_offset, message.body.len());
                    cache.advance(message.queue_offset + 1);
                    // Without a receiver the work on this queue is over.
                    let _ = messages.send(Arc::new(message));
                }
                Record::Unreadable(mut message, error) => {
                    under_its_own_topic(&mut message);
                    self.set_aside(held, &message, &error).await?;
                    cache.advance(message.queue_offset + 1);
                }
            }
        }
        cache.advance(next);
        Ok(())
    }

    /// A message that can never be handled must neither hold up its queue nor get lost.
    async fn set_aside(&self, held: &Held, message: &ReceivedMessage, why: &Error) -> Result<()> {
        tracing::error!(queue = ?held.queue, id = message.id(), error = %why, "message set aside");
        match self.failures {
            Failures::GivenBack => self.dead_letter(held, message).await,
            Failures::Logged => Ok(()),
        }
    }
}

/// A retry is delivered under the topic that the message was sent to.
fn under_its_own_topic(message: &mut ReceivedMessage) {
    if names::retry_group(&message.topic).is_some()
        && let Some(topic) = message.get(name::RETRY_TOPIC)
    {
        message.topic = topic.to_owned();
    }
}
