//! Transactional messages: a half message now, the decision once the local transaction has one.

use std::time::Duration;

use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::EndTransaction;
use escrow_protocol::ids;
use escrow_protocol::properties::name;
use escrow_protocol::sysflag;
use escrow_protocol::transaction::Resolution;

use crate::check::Checker;
use crate::client::{Client, succeeded, unreadable};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::producer::{Content, Producer, SendReceipt, Stored};

/// A half message that the broker holds: everything needed to decide it.
#[derive(Clone)]
pub struct Half {
    receipt: SendReceipt,
    commit_log_offset: i64,
    connection: Connection,
}

impl Half {
    /// The transaction id: what the local transaction records so that a check can be answered later.
    #[must_use]
    pub fn transaction_id(&self) -> &str {
        &self.receipt.message_id
    }

    /// What the broker said of it. Its queue offset is that in the half queue.
    #[must_use]
    pub fn receipt(&self) -> &SendReceipt {
        &self.receipt
    }
}

/// How far a decision got.
#[derive(Debug)]
pub enum Delivery {
    /// The broker has made it durable: a committed message is on its way to consumers.
    Resolved,
    /// It did not get through, or nobody knows; the broker will ask, and the answer to that settles it.
    Deferred(Error),
    /// The broker does not know the half any more, or somebody decided it otherwise before (an operator, a policy, a
    /// checker that does not keep to the rules): a person must look. Apache's broker also answers so when a half
    /// with an immunity time of its own is decided late, and asks afterwards.
    Refused(Error),
}

impl Delivery {
    /// Whether the broker has made the decision durable.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        matches!(self, Delivery::Resolved)
    }
}

/// Sends half messages for one producer group, and answers the broker's checks for it.
pub struct TransactionProducer {
    producer: Producer,
}

impl TransactionProducer {
    /// A producer of `group` whose checks `checker` answers, for every half of the group, whoever sent it.
    #[must_use]
    pub fn new(client: &Client, group: impl Into<String>, checker: impl Checker) -> Self {
        let producer = Producer::new(client, group);
        client.shared.checkers.insert(producer.group(), checker);
        Self { producer }
    }

    /// As [`TransactionProducer::new`], which takes the group over; here a group whose checks another checker of this
    /// client answers is left to it.
    #[must_use]
    pub fn claim(client: &Client, group: &str, checker: impl Checker) -> Option<Self> {
        let claimed = client.shared.checkers.claim(group, checker);
        claimed.then(|| Self {
            producer: Producer::new(client, group),
        })
    }

    /// The producer group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.producer.group()
    }

    /// Makes this client known to the brokers of `topic`, so that they can ask it before it has sent anything.
    ///
    /// # Errors
    /// No route, or a broker that could not be told.
    pub async fn join(&self, topic: &str) -> Result<()> {
        let client = self.producer.client();
        let route = client.shared.routes.for_sending(topic).await?;
        for (_, address) in route.brokers() {
            client.introduce(&client.broker(address)).await?;
        }
        Ok(())
    }

    /// Sends `message` as a half: no consumer sees it until it is committed.
    ///
    /// Every call draws a fresh transaction id and makes one attempt: after a failure whose outcome is unknown
    /// the broker may hold a half under that id, which a check will find undecided; a repetition under the
    /// same id could be delivered twice by a broker that does not recognise it.
    ///
    /// # Errors
    /// The local transaction must not run under this attempt. Also when the broker stored the half but could
    /// not make it safe: it is then rolled back.
    pub async fn send_half(&self, message: &Message) -> Result<Half> {
        let key = self.fresh_id();
        self.send_half_as(message, &key, Duration::ZERO).await
    }

    /// A transaction id that no half has had.
    pub(crate) fn fresh_id(&self) -> String {
        self.producer.client().shared.keys.next()
    }

    /// As [`TransactionProducer::send_half`], under an id from [`TransactionProducer::fresh_id`] that no half was sent
    /// under yet. It may wait for `patience` for others to leave with.
    pub(crate) async fn send_half_as(
        &self,
        message: &Message,
        id: &str,
        patience: Duration,
    ) -> Result<Half> {
        message.validate()?;
        if properties_delay(message) {
            return Err(Error::Message("a half message cannot be delayed"));
        }
        let mut content = Content::plain(message, id, self.group());
        content.sys_flag |= sysflag::TRANSACTION_PREPARED;
        let (receipt, connection) = self.producer.try_once(&content, id, patience).await?;
        let (_, commit_log_offset) = ids::decode_offset_message_id(&receipt.offset_id)
            .map_err(|error| unreadable(&connection, error))?;
        let half = Half {
            receipt,
            commit_log_offset,
            connection,
        };
        if half.receipt.stored != Stored::Fully {
            return Err(self.give_up(&half).await);
        }
        Ok(half)
    }

    /// Sends the decision as stock clients do, without waiting: if it gets lost, the broker will ask.
    ///
    /// # Errors
    /// The decision could not be handed to the connection.
    pub async fn end_oneway(&self, half: &Half, resolution: Resolution) -> Result<()> {
        let within = self.producer.client().shared.settings.request_timeout;
        let frame = self.end_frame(half, resolution);
        half.connection.oneway(frame, within).await
    }

    /// Sends the decision and waits until the broker has made it durable.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`response::ILLEGAL_OPERATION`] if the opposite was decided before. If the outcome
    /// is unknown, the broker's check settles it.
    pub async fn end(&self, half: &Half, resolution: Resolution) -> Result<()> {
        self.end_patiently(half, resolution, Duration::ZERO).await
    }

    async fn end_patiently(
        &self,
        half: &Half,
        resolution: Resolution,
        patience: Duration,
    ) -> Result<()> {
        if resolution == Resolution::Unknown {
            // Apache's broker never answers this one.
            return self.end_oneway(half, resolution).await;
        }
        let within = self.producer.client().shared.settings.request_timeout;
        let frame = self.end_frame(half, resolution);
        let reply = half.connection.request_patiently(frame, within, patience);
        succeeded(&half.connection, reply.await?)?;
        Ok(())
    }

    /// Sends the decision and says how far it got. A request that surely did not arrive is repeated once, at once; so
    /// is one whose reply got lost, unless the broker is Apache's, which delivers again for each repetition.
    pub async fn settle(&self, half: &Half, resolution: Resolution) -> Delivery {
        self.settle_patiently(half, resolution, Duration::ZERO)
            .await
    }

    /// As [`TransactionProducer::settle`]; the decision may wait for `patience` for others to leave with.
    pub(crate) async fn settle_patiently(
        &self,
        half: &Half,
        resolution: Resolution,
        patience: Duration,
    ) -> Delivery {
        let client = self.producer.client();
        let mut outcome = self.end_patiently(half, resolution, patience).await;
        let again = match &outcome {
            Err(Error::Connect { .. } | Error::Busy { .. }) => true,
            Err(Error::Lost { address }) => client.keeps_first_decision(address),
            _ => false,
        };
        if again {
            outcome = self.end(half, resolution).await;
        }
        match outcome {
            Ok(()) => Delivery::Resolved,
            // Anything else that a broker answers means "not now": it will ask.
            Err(
                refusal @ Error::Refused {
                    code: response::SYSTEM_ERROR | response::ILLEGAL_OPERATION,
                    ..
                },
            ) => Delivery::Refused(refusal),
            Err(error) => Delivery::Deferred(error),
        }
    }

    /// Leaves the group: this client is no longer asked.
    pub async fn leave(&self) {
        self.producer.client().leave(self.group(), false).await;
    }

    async fn give_up(&self, half: &Half) -> Error {
        // Best effort: a check would find no local transaction and roll back just so.
        let _ = self.end_oneway(half, Resolution::Rollback).await;
        let code = match half.receipt.stored {
            Stored::FlushReplicaTimeout => response::FLUSH_SLAVE_TIMEOUT,
            Stored::ReplicaNotAvailable => response::SLAVE_NOT_AVAILABLE,
            Stored::Fully | Stored::FlushDiskTimeout => response::FLUSH_DISK_TIMEOUT,
        };
        Error::Refused {
            address: half.connection.address().to_owned(),
            code,
            remark: "the half was stored but is not safe; rolled back".to_owned(),
        }
    }

    fn end_frame(&self, half: &Half, resolution: Resolution) -> Frame {
        let mut frame = Frame::request(request::END_TRANSACTION);
        EndTransaction {
            topic: Some(&half.receipt.queue.topic),
            producer_group: self.group(),
            half_queue_offset: half.receipt.queue_offset,
            commit_log_offset: half.commit_log_offset,
            commit_or_rollback: resolution.to_wire(),
            from_check: false,
            message_id: half.transaction_id(),
            transaction_id: Some(half.transaction_id()),
            broker_name: Some(&half.receipt.queue.broker_name),
        }
        .encode(&mut frame.ext);
        frame
    }
}

fn properties_delay(message: &Message) -> bool {
    let properties = escrow_protocol::properties::Properties(&message.properties);
    let timers = [
        name::DELAY,
        name::TIMER_DELAY_SEC,
        name::TIMER_DELAY_MS,
        name::TIMER_DELIVER_MS,
    ];
    timers.iter().any(|timer| properties.get(timer).is_some())
}
