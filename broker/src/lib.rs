//! The server: sockets, log thread, maintenance, topics, consumers, name server, admin.

pub mod config;
mod identity;
mod locks;
