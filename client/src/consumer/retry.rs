//! Messages that could not be handled: again later, and at last to the dead letters.

use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::ConsumerSendBack;
use escrow_protocol::names;
use escrow_protocol::properties::{self, name};

use super::member::{Held, Member};
use crate::error::Result;
use crate::message::ReceivedMessage;
use crate::producer::{Content, Producer, Reconsumed};

/// Puts a message to the dead letters, whatever its failures so far.
const TO_DEAD_LETTERS: i32 = -1;
/// The broker waits the longer the more often a message has failed.
const BROKER_CHOOSES: i32 = 0;
/// What the broker adds to the failures so far when it chooses the delay level.
const FIRST_RETRY_LEVEL: i32 = 3;
/// Failures until a message becomes a dead letter, unless told otherwise.
const RETRIES_MAX: i32 = 16;

impl Member {
    /// Has the broker deliver a message again later. By reference, or if it cannot be found any more, as a copy.
    pub(super) async fn give_back(&self, held: &Held, message: &ReceivedMessage) -> Result<()> {
        let by_reference = self.send_back(&held.queue, message, BROKER_CHOOSES).await;
        let Err(error) = by_reference else {
            return Ok(());
        };
        tracing::debug!(id = message.id(), %error, "given back as a copy");
        self.send_copy(message).await
    }

    /// Puts a message to the dead letters of the group.
    pub(super) async fn dead_letter(&self, held: &Held, message: &ReceivedMessage) -> Result<()> {
        self.send_back(&held.queue, message, TO_DEAD_LETTERS).await
    }

    async fn send_back(
        &self,
        queue: &MessageQueue,
        message: &ReceivedMessage,
        delay_level: i32,
    ) -> Result<()> {
        let broker = self.client.broker_of(queue).await?;
        let mut frame = Frame::request(request::CONSUMER_SEND_MSG_BACK);
        ConsumerSendBack {
            offset: message.physical_offset,
            group: &self.group,
            delay_level,
            origin_message_id: Some(message.id()),
            // Apache's broker fails on a request without it.
            origin_topic: Some(&message.topic),
            unit_mode: false,
            reconsume_times_max: self.settings.retries_max,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        self.client.call(&broker, frame).await?;
        Ok(())
    }

    /// What the broker would do itself with a message that it still had.
    async fn send_copy(&self, message: &ReceivedMessage) -> Result<()> {
        let mut properties = message.properties_text().to_owned();
        let set = |text: &mut String, name, value: &str| properties::set(text, name, value);
        set(&mut properties, name::RETRY_TOPIC, &message.topic);
        if message.get(name::ORIGIN_MESSAGE_ID).is_none() {
            set(&mut properties, name::ORIGIN_MESSAGE_ID, message.id());
        }
        let level = FIRST_RETRY_LEVEL + message.reconsume_times;
        set(&mut properties, name::DELAY, &level.to_string());
        // It was delivered: whatever it once was, it must not become a half again.
        properties::remove(&mut properties, name::TRAN_MSG);
        let reconsumed = Reconsumed {
            times: message.reconsume_times + 1,
            times_max: self.settings.retries_max.unwrap_or(RETRIES_MAX),
        };
        let topic = names::retry_topic(&self.group);
        let content = Content::again(&topic, message, properties, reconsumed);
        let producer = Producer::internal(&self.client);
        producer.try_often(&content, message.id()).await?;
        Ok(())
    }
}
