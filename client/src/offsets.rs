//! Positions in queues: where they begin and end, and how far a group has come.

use std::time::{SystemTime, UNIX_EPOCH};

use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{
    Boundary, GetMaxOffset, GetMinOffset, OffsetResponse, QueryConsumerOffset, SearchOffset,
    UpdateConsumerOffset,
};

use crate::client::{Client, unreadable};
use crate::error::{Error, Result};

impl Client {
    /// The end of a queue as consumers see it: the offset that the next message will get.
    ///
    /// # Errors
    /// No route, no reply, or a refusal.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let mut frame = Frame::request(request::GET_MAX_OFFSET);
        GetMaxOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            committed: true,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        self.ask_offset(queue, frame).await
    }

    /// The first offset that a queue still has.
    ///
    /// # Errors
    /// As [`Client::max_offset`].
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64> {
        let mut frame = Frame::request(request::GET_MIN_OFFSET);
        GetMinOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        self.ask_offset(queue, frame).await
    }

    /// The offset of the first message stored at `time` or later; the queue's end if there is none.
    ///
    /// # Errors
    /// As [`Client::max_offset`].
    pub async fn offset_at(&self, queue: &MessageQueue, time: SystemTime) -> Result<i64> {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut frame = Frame::request(request::SEARCH_OFFSET_BY_TIMESTAMP);
        SearchOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            timestamp: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            boundary: Boundary::Lower,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        self.ask_offset(queue, frame).await
    }

    /// The next offset that a group wants of a queue; `None` if it never said.
    ///
    /// # Errors
    /// As [`Client::max_offset`].
    pub async fn group_offset(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>> {
        let mut frame = Frame::request(request::QUERY_CONSUMER_OFFSET);
        QueryConsumerOffset {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            set_zero_if_not_found: Some(false),
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        match self.ask_offset(queue, frame).await {
            Ok(offset) => Ok(Some(offset)),
            Err(Error::Refused { code, .. }) if code == response::QUERY_NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores how far a group has come: the next offset that it wants.
    ///
    /// # Errors
    /// As [`Client::max_offset`].
    pub async fn commit_offset(&self, group: &str, queue: &MessageQueue, next: i64) -> Result<()> {
        let mut frame = Frame::request(request::UPDATE_CONSUMER_OFFSET);
        UpdateConsumerOffset {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            commit_offset: next,
            broker_name: Some(&queue.broker_name),
        }
        .encode(&mut frame.ext);
        let connection = self.broker_of(queue).await?;
        self.call(&connection, frame).await?;
        Ok(())
    }

    async fn ask_offset(&self, queue: &MessageQueue, frame: Frame) -> Result<i64> {
        let connection = self.broker_of(queue).await?;
        let reply = self.call(&connection, frame).await?;
        let header =
            OffsetResponse::decode(&reply.ext).map_err(|error| unreadable(&connection, error))?;
        Ok(header.offset)
    }
}
