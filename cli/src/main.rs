//! The `escrow` binary: composes broker and client.

fn main() {}
