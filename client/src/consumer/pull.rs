//! One pull: the request, and what an answer means.

use std::time::Duration;

use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{PullRequest, PullResponse};
use escrow_protocol::message;
use escrow_protocol::sysflag::pull;

use super::subscription::Subscription;
use crate::client::{Client, unreadable};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::ReceivedMessage;

/// A broker may be this much later than the long poll that we asked for.
const POLL_GRACE: Duration = Duration::from_secs(15);
/// Pause after a refusal or a lost connection.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Who pulls what, and how.
pub(super) struct Pull<'a> {
    pub(super) client: &'a Client,
    pub(super) group: &'a str,
    pub(super) subscription: &'a Subscription,
    pub(super) queue: &'a MessageQueue,
    pub(super) batch_max: i32,
    pub(super) poll: Duration,
}

/// What one pull brought.
pub(super) enum Pulled {
    /// Messages, perhaps none, and where to go on.
    Messages(Vec<Record>, i64),
    /// The queue has moved: what was pulled before counts no more. Go on from here.
    Moved(i64),
}

/// A message of a pull, or that one is there.
pub(super) enum Record {
    Message(ReceivedMessage),
    /// Its body, here still compressed, cannot be inflated.
    Unreadable(ReceivedMessage, Error),
}

impl Pull<'_> {
    /// Pulls from `offset` on. Nothing changes at the broker, so the future can be dropped at any time.
    pub(super) async fn from(&self, offset: i64) -> Result<Pulled> {
        let connection = self.client.broker_of(self.queue).await?;
        let mut frame = Frame::request(request::PULL_MESSAGE);
        PullRequest {
            consumer_group: self.group,
            topic: &self.queue.topic,
            queue_id: self.queue.queue_id,
            queue_offset: offset,
            messages_max: self.batch_max,
            sys_flag: pull::SUSPEND | pull::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: i64::try_from(self.poll.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(&self.subscription.data().sub_string),
            subscription_version: self.subscription.data().sub_version,
            expression_type: Some("TAG"),
            bytes_max: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(&self.queue.broker_name),
        }
        .encode(&mut frame.ext);
        let reply = connection.request(frame, self.poll + POLL_GRACE).await?;
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

    fn read(&self, connection: &Connection, reply: &Frame) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for record in message::decode_all(&reply.body) {
            let record = record.map_err(|error| unreadable(connection, error))?;
            let mut message = ReceivedMessage::as_stored(&record.message);
            if !self.subscription.wants(&message) {
                continue;
            }
            records.push(match message.inflate() {
                Ok(()) => Record::Message(message),
                Err(reason) => Record::Unreadable(message, unreadable(connection, reason)),
            });
        }
        Ok(records)
    }
}
