//! The log and everything that derives from it. Blocking, one writer, no sockets, no threads of its own.
//!
//! One append-only commit log holds plain messages, half messages, what happened to them, and metadata, in one total order;
//! consume queues, half queue and key index derive from it and can always be rebuilt. [`Store`] is the one writer, [`Reader`]
//! what request tasks read. All files are behind [`Disk`].
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

mod checkpoint;
mod commit_log;
mod consume_queue;
mod decisions;
mod disk;
mod error;
mod file_disk;
mod half_queue;
mod hash;
mod history;
mod ids;
mod key_index;
mod le;
mod log_view;
pub mod memory_disk;
mod names;
mod queues;
mod reader;
mod recent_words;
mod record;
mod recovery;
mod retention;
mod round;
mod segment;
mod settings;
mod space;
mod spare;
mod state;
mod store;
mod sync;
mod tail;
mod upkeep;

pub use checkpoint::{CheckpointDone, CheckpointJob};
pub use consume_queue::{Boundary, QueueEntry};
pub use decisions::{DecisionPage, DecisionQuery, DecisionRecord};
pub use disk::{Disk, DiskFile, DiskLock};
pub use error::{Error, ErrorKind};
pub use file_disk::{FileDisk, make_folder};
pub use half_queue::{HalfEntry, HalfState, Oldest};
pub use hash::key_hash;
pub use history::{OpRecord, OpRecordKind};
pub use ids::{HalfSeq, NameId, PhysicalOffset, QueueOffset};
pub use memory_disk::MemoryDisk;
pub use queues::{Arrival, Durability};
pub use reader::{Lookup, Reader};
pub use record::op::{REASON_BYTES_MAX, Source};
pub use recovery::report::{Cut, CutKind, Damage, RecoveryReport};
pub use retention::RetentionReport;
pub use round::{Settling, Waiting};
pub use settings::Settings;
pub use space::SpaceState;
pub use spare::Preallocator;
pub use store::{
    HalfLookup, HalfPlaced, NewHalf, Op, OpKind, OpPlaced, Placed, ScheduleSource, Store,
};
pub use sync::{SyncDone, SyncJob};
pub use upkeep::{Upkeep, Upkept};
