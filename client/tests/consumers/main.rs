//! Producers and consumers against an EscrowMQ broker in this process.

mod clustering;
mod orderly;
mod pulling;
mod retries;
mod stage;
