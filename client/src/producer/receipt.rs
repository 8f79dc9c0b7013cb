//! What a broker says of a message that it stored.

use escrow_protocol::body::MessageQueue;
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::SendResponse;

use crate::client::unreadable;
use crate::connection::Connection;
use crate::error::{Error, Result};

/// How safe a message is that the broker has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As safe as the broker's settings promise.
    Fully,
    /// Stored, but the disk did not confirm in time.
    FlushDiskTimeout,
    /// Stored, but a replica did not confirm in time.
    FlushReplicaTimeout,
    /// Stored, but there is no replica.
    ReplicaNotAvailable,
}

/// What the broker said of a message that it stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// The unique key that we gave the message: the id by which applications know it.
    pub message_id: String,
    /// The broker's id. Of a batch: one for each message, joined by commas.
    pub offset_id: String,
    /// The queue it is in; of a half, the queue it is meant for.
    pub queue: MessageQueue,
    /// Its place there (of a batch, the first); of a half, its place in the half queue.
    pub queue_offset: i64,
    /// How safe it is.
    pub stored: Stored,
}

/// Reads the answer to a send.
pub(super) fn read(
    connection: &Connection,
    reply: &Frame,
    queue: MessageQueue,
    key: &str,
) -> Result<SendReceipt> {
    let stored = match reply.code {
        response::SUCCESS => Stored::Fully,
        response::FLUSH_DISK_TIMEOUT => Stored::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => Stored::FlushReplicaTimeout,
        response::SLAVE_NOT_AVAILABLE => Stored::ReplicaNotAvailable,
        code => {
            return Err(Error::Refused {
                address: connection.address().to_owned(),
                code,
                remark: reply.remark.clone().unwrap_or_default(),
            });
        }
    };
    let header = SendResponse::decode(&reply.ext).map_err(|e| unreadable(connection, e))?;
    Ok(SendReceipt {
        message_id: key.to_owned(),
        offset_id: header.message_id.to_owned(),
        queue: MessageQueue {
            queue_id: header.queue_id,
            ..queue
        },
        queue_offset: header.queue_offset,
        stored,
    })
}
