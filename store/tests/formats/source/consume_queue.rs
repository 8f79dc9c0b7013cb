//! As in the store.

#[path = "../../../src/consume_queue/page.rs"]
pub(crate) mod page;

pub(crate) use escrow_store::QueueEntry;
