//! What can go wrong between a caller and a broker, sorted by what the caller may conclude.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use escrow_protocol::frame::FrameError;

/// Result of everything in this crate that talks to a server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
///
/// The one question that matters for money is whether the server may have done the work all the same;
/// [`Error::outcome_unknown`] answers it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: nothing was sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// The connection closed after the request may have left: the server may have done the work.
    #[error("the connection to {address} closed before the reply")]
    Lost {
        /// The server that did not reply.
        address: String,
    },
    /// No reply in time: the server may have done the work.
    #[error("no reply from {address} within {after:?}")]
    Timeout {
        /// The server that did not reply.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// Nothing was sent: the bound on requests in flight left no room for this one in time.
    #[error("too many requests in flight to {address}: none ended within {after:?}")]
    Busy {
        /// The server concerned.
        address: String,
        /// How long we waited.
        after: Duration,
    },
    /// The server understood the request and refused it.
    #[error("{address} answered code {code}: {remark}")]
    Refused {
        /// The server that refused.
        address: String,
        /// RocketMQ response code.
        code: i32,
        /// The server's reason.
        remark: String,
    },
    /// The server answered success with something we cannot read.
    #[error("unreadable answer from {address}: {reason}")]
    Answer {
        /// The server concerned.
        address: String,
        /// What could not be read.
        reason: String,
    },
    /// A frame could not be encoded (too large, for instance): nothing was sent.
    #[error("the request cannot be encoded: {0}")]
    Encode(#[from] FrameError),
    /// No name server knows a broker for this topic.
    #[error("no route for topic {topic}")]
    NoRoute {
        /// The topic asked for.
        topic: String,
    },
    /// The message can never be sent as it is.
    #[error("message refused before sending: {0}")]
    Message(&'static str),
    /// The client was not given what it needs to start.
    #[error("client settings: {0}")]
    Settings(&'static str),
    /// A local socket operation failed.
    #[error("local address: {0}")]
    Local(#[source] io::Error),
    /// The file with a broadcasting consumer's offsets cannot be read or written.
    #[error("offsets in {}: {source}", path.display())]
    OffsetsFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said, or what is wrong with the content.
        source: io::Error,
    },
    /// This client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the server may have done the work although the call failed.
    ///
    /// Trying again after such a failure can do the work twice.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(
            self,
            Error::Lost { .. } | Error::Timeout { .. } | Error::Answer { .. }
        )
    }

    /// The response code, if the server refused.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether a send may succeed when tried again, perhaps on another broker: no connection, or one of the
    /// codes on which the Java client tries again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use escrow_protocol::code::response;
        match self {
            Error::Connect { .. } | Error::Lost { .. } | Error::Timeout { .. } => true,
            Error::Refused { code, .. } => matches!(
                *code,
                response::SYSTEM_ERROR
                    | response::SYSTEM_BUSY
                    | response::SERVICE_NOT_AVAILABLE
                    | response::NO_PERMISSION
                    | response::TOPIC_NOT_EXIST
                    | response::NO_BUYER_ID
                    | response::NOT_IN_CURRENT_UNIT
                    | response::GO_AWAY
            ),
            _ => false,
        }
    }
}
