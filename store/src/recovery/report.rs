//! What an open found out, for the operator.

use crate::{HalfSeq, PhysicalOffset};

/// Why the end of the log was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// The last write was not whole; nothing that was durable is lost.
    TornTail,
    /// Power was lost while newer pages had reached the disk before older ones; nothing that was durable is lost.
    UnsyncedHole,
}

/// What was taken from the end of the log. It was never known to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Why.
    pub kind: CutKind,
    /// The segment's file.
    pub file: String,
    /// The byte position within it.
    pub at: u64,
    /// The log offset, where the log goes on.
    pub offset: PhysicalOffset,
    /// Bytes taken.
    pub bytes: u64,
    /// Whole records among them.
    pub records: u64,
    /// The files under `lost+found/` that keep the bytes.
    pub saved: Vec<String>,
}

/// Bytes below the durable watermark that cannot be read. Nothing else is lost with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte position within it.
    pub at: u64,
    /// The log offset.
    pub offset: PhysicalOffset,
    /// Bytes that cannot be read.
    pub bytes: u64,
    /// What is wrong.
    pub what: &'static str,
    /// The kind of record that it was, if its head still tells.
    pub record: Option<&'static str>,
}

/// What an open found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The checkpoint that was used.
    pub checkpoint: Option<PhysicalOffset>,
    /// Why derived files were rebuilt from the whole log, if they were.
    pub rebuilt: Option<String>,
    /// Records replayed.
    pub records: u64,
    /// Bytes of log replayed.
    pub bytes: u64,
    /// What was cut off the end.
    pub cut: Option<Cut>,
    /// What cannot be read.
    pub damaged: Vec<Damage>,
    /// Halfs parked because damage may hide what became of them.
    pub parked: Vec<HalfSeq>,
}

impl RecoveryReport {
    /// True if there is nothing that a person must look at.
    pub fn is_clean(&self) -> bool {
        self.cut.is_none() && self.damaged.is_empty() && self.parked.is_empty()
    }
}
