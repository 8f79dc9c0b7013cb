//! The store's own sources that read and write bytes, by path: a library has no door to them. What they name of the rest of the
//! store is the library's where that is public, else it stands at the end. Whoever uses this has it all in the root of the crate.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "only their reading and writing is looked at"
)]

pub(crate) use escrow_store::{Error, NameId, PhysicalOffset};

#[path = "../../../src/checkpoint/codec.rs"]
pub(crate) mod codec;
pub(crate) mod consume_queue;
pub(crate) mod half_queue;
#[path = "../../../src/hash.rs"]
pub(crate) mod hash;
#[path = "../../../src/ids.rs"]
pub(crate) mod ids;
#[path = "../../../src/le.rs"]
pub(crate) mod le;
pub(crate) mod record;

pub(crate) mod commit_log {
    /// As in the store.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Resume {
        pub(crate) end: u64,
        pub(crate) previous_crc: u32,
        pub(crate) last_timestamp: i64,
    }
}

pub(crate) mod queues {
    /// As in the store.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Lost {
        pub(crate) hash: u64,
        pub(crate) offset: u64,
        pub(crate) physical: u64,
        pub(crate) store_timestamp: i64,
    }
}

pub(crate) mod state {
    /// As in the store.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct SegmentUse {
        pub(crate) newest: i64,
        pub(crate) referred: i64,
    }
}
