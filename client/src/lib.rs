//! A client of EscrowMQ and of Apache RocketMQ, over the remoting protocol.

pub mod connection;
pub mod error;
pub mod unique_key;

pub use error::{Error, Result};
