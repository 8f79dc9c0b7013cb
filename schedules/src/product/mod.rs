//! The product's sources, and stand-ins for what they carry.

pub(crate) mod log_thread;
pub(crate) mod remoting;

#[allow(dead_code)]
#[path = "../../../broker/src/long_polls.rs"]
pub(crate) mod long_polls;

#[path = "../../../broker/src/tasks.rs"]
pub(crate) mod tasks;
