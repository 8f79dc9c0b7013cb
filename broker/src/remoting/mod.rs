//! The edge for clients of the remoting protocol: sockets, frames, and one file per request.

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod dispatch;
pub(crate) mod end_transaction;
mod lookup;
pub(crate) mod outbox;
pub(crate) mod peer;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod resume;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod server;
pub(crate) mod view;

pub(crate) mod consumer_list;
pub(crate) mod heartbeat;
pub(crate) mod lock;
pub(crate) mod offset;
pub(crate) mod topic;
