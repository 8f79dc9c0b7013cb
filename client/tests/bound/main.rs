//! The transactional producer, against real databases and an EscrowMQ broker in this process: whatever happens, the
//! orders in the database and the messages that consumers see are the same.

mod broker;
mod cancellation;
mod engine;
mod lingering;
mod lost_replies;
mod outcomes;
mod proxy;
mod refusals;
mod shop;
mod steps;
mod traps;
