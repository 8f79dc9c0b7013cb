//! As in the broker.

pub(crate) mod command {
    /// What is handed over.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Command(pub(crate) usize, pub(crate) usize);
}

#[allow(dead_code)]
#[path = "../../../broker/src/log_thread/inbox.rs"]
pub(crate) mod inbox;
