//! The server: sockets, log thread, maintenance, topics, consumers, name server, admin.

pub mod config;
mod groups;
mod identity;
mod locks;
mod topics;
