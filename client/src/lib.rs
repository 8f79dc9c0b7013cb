//! A client of EscrowMQ and of Apache RocketMQ: connections, producers, transactional producers and a simple
//! consumer, over the remoting protocol.
//!
//! | module | what |
//! |---|---|
//! | [`connection`] | one kept-up connection: many requests at once, reconnecting |
//! | `client` ([`Client`]) | connections by address, group membership, heartbeats |
//! | [`route`] | where a topic's queues are |
//! | [`producer`], [`transaction`], [`check`] | sending; halfs and their decisions; answering checks |
//! | [`consumer`] | pulling with long polls |
//! | [`unique_key`], [`message`], [`error`] | ids, messages, failures |
//!
//! A transactional message, from the sender's side:
//!
//! ```no_run
//! use escrow_client::{Check, Client, Message, Resolution, Settings, TransactionProducer};
//!
//! # async fn order_is_committed(_transaction_id: &str) -> bool { true }
//! # async fn run() -> escrow_client::Result<()> {
//! let client = Client::start(Settings::new("127.0.0.1:9876")).await?;
//! let producer = TransactionProducer::new(&client, "order-service", |check: Check| async move {
//!     if order_is_committed(&check.transaction_id).await {
//!         Resolution::Commit
//!     } else {
//!         Resolution::Unknown
//!     }
//! });
//! let half = producer.send_half(&Message::new("Orders", "order 42")).await?;
//! // Here the database transaction records half.transaction_id() and commits.
//! producer.end(&half, Resolution::Commit).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It knows nothing of how a broker works inside, and depends on `escrow-protocol` alone.

pub mod check;
mod client;
pub mod connection;
pub mod consumer;
pub mod error;
mod heartbeat;
pub mod message;
mod offsets;
pub mod producer;
pub mod route;
mod topics;
pub mod transaction;
pub mod unique_key;

pub use check::{Answer, Check, Checker};
pub use client::{Client, Settings};
pub use consumer::{Batch, Consumer, ConsumerSettings, Start};
pub use error::{Error, Result};
pub use escrow_protocol::body::MessageQueue;
pub use escrow_protocol::transaction::Resolution;
pub use message::{Message, ReceivedMessage};
pub use producer::{Producer, SendReceipt, Stored};
pub use transaction::{Half, TransactionProducer};
