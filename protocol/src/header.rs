//! Request and response headers: typed views of a frame's [`ExtFields`].
//!
//! Each header borrows its text from the fields it was read from. `decode` fails on a missing or malformed
//! field and says which; fields that a header does not name are ignored, as RocketMQ does, and so are the
//! common extras `ns`, `nsd`, `oway` and `lo`. In the lists below a `required` field must be there, an
//! `optional` one is an `Option`, and `default(x)` stands for `x` where the field is absent.

mod consumer;
mod field;
mod offset;
mod pull;
mod query;
mod route;
mod send;
mod topic;
mod transaction;

pub use consumer::{
    ConsumerSendBack, GetConsumerList, HEARTBEAT_CHECKS, NotifyConsumerIdsChanged,
    UnregisterClient, heartbeat_extras,
};
pub use field::{HeaderError, Problem};
pub use offset::{
    Boundary, GetEarliestStoreTime, GetMaxOffset, GetMinOffset, OffsetResponse,
    QueryConsumerOffset, SearchOffset, TimestampResponse, UpdateConsumerOffset,
};
pub use pull::{PullRequest, PullResponse};
pub use query::{QueryMessage, QueryMessageResponse, ViewMessage};
pub use route::{GetRouteInfo, GetTopicsByCluster};
pub use send::{SendRequest, SendResponse};
pub use topic::{CreateTopic, DeleteTopic, DeleteTopicInNameServer, TopicName};
pub use transaction::{CheckTransactionState, EndTransaction, ResumeCheck};

#[cfg(doc)]
use crate::frame::ExtFields;

#[cfg(test)]
mod tests;
