//! The client over real sockets, against a fake server that does what a test tells it to.

mod connection;
mod connector;
mod consuming;
mod producing;
mod sending;
mod support;
