//! The client over real sockets, against a fake server that does what a test tells it to.

mod connection;
mod connector;
mod producing;
mod pulling;
mod sending;
mod support;
