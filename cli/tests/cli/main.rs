//! The `escrow` binary as a user meets it: real processes, exit codes, what they print.

mod bench;
mod demo;
mod pending;
mod serve;
mod support;
