//! As in the store.

#[path = "../../../src/half_queue/entry.rs"]
pub(crate) mod entry;
#[path = "../../../src/half_queue/page.rs"]
pub(crate) mod page;

pub(crate) use page::ENTRIES_PER_PAGE;
