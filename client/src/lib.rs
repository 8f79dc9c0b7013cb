//! A client of EscrowMQ and of Apache RocketMQ: connections, producers, transactional producers and
//! consumers, over the remoting protocol.
//!
//! | module | what |
//! |---|---|
//! | [`connection`] | one kept-up connection: many requests at once, reconnecting |
//! | `client` ([`Client`]) | connections by address, group membership, heartbeats |
//! | [`route`] | where a topic's queues are |
//! | [`producer`], [`transaction`], [`check`] | sending; halfs and their decisions; answering checks |
//! | `check_server` | answering checks from marker tables, for services that do not |
//! | [`consumer`] | push consumers (concurrent, orderly, broadcasting) and the pull consumer |
//! | [`unique_key`], [`message`], [`error`] | ids, messages, failures |
//!
//! # Dropping a future
//!
//! A future that is dropped stops waiting and takes nothing back: what was handed to a connection may still be done by
//! the server, as after [`Error::outcome_unknown`]. So a message may arrive whose send was dropped, an offset may be
//! stored, a group left. Futures that only ask ([`Client::route`], [`Client::max_offset`], [`PullConsumer::next`], …)
//! lose nothing. Where a future does more than that, it says so.
//!
//! It knows nothing of how a broker works inside, and depends on `escrow-protocol` alone.

mod brokers;
pub mod check;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub mod check_server;
mod client;
mod compression;
pub mod connection;
pub mod consumer;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub mod database;
pub mod error;
mod heartbeat;
pub mod message;
mod offsets;
pub mod producer;
pub mod route;
mod topics;
pub mod transaction;
pub mod unique_key;

pub use brokers::Broker;
pub use check::{Answer, Check, Checker};
pub use client::{Client, Settings};
pub use consumer::{
    Batch, Handler, LocalOffsets, Outcome, PullConsumer, PullSettings, PushConsumer, PushSettings,
    Start, Subscription,
};
pub use error::{Error, Result};
pub use escrow_protocol::body::MessageQueue;
pub use escrow_protocol::transaction::Resolution;
pub use message::{Message, ReceivedMessage};
pub use producer::{Producer, SendReceipt, Stored};
pub use transaction::{Delivery, Half, TransactionProducer};
