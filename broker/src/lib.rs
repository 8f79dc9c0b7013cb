//! The server: sockets, log thread, maintenance, topics, consumers, name server, admin.

mod admin;
mod broker;
mod catalog;
mod check_sender;
mod chores;
mod clock;
pub mod config;
mod consumers;
mod counters;
mod delay;
mod groups;
mod histogram;
mod identity;
mod locks;
mod log_thread;
mod long_polls;
mod maintenance;
mod name_locks;
mod namesrv;
mod offsets;
mod producers;
mod remoting;
mod rpc_latency;
mod shared;
mod tasks;
mod topics;
mod unique_key;

pub use admin::{Bounded, names_this_machine, utc};
pub use broker::{Addresses, Broker, StartError};
pub(crate) use escrow_coordinator::ConnectionId;
