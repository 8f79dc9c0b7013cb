//! The `escrow` binary as a user meets it: real processes, exit codes, what they print.

mod bench;
mod check_server;
mod demo;
mod grants;
mod migrate;
mod orders;
mod pending;
mod purge;
mod serve;
mod support;
mod verify;
