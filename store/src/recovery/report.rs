//! What an open found out, for the operator.

use std::fmt;

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

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.kind {
            CutKind::TornTail => "a write that was not whole",
            CutKind::UnsyncedHole => "writes that power loss had left with a hole",
        };
        let (bytes, file, at, records) = (self.bytes, &self.file, self.at, self.records);
        write!(
            f,
            "{bytes} bytes of {file} from byte {at}, {why}, {records} whole records among them"
        )?;
        if !self.saved.is_empty() {
            write!(f, ", kept in {}", self.saved.join(", "))?;
        }
        Ok(())
    }
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

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, file, at, what) = (self.bytes, &self.file, self.at, self.what);
        write!(f, "{bytes} bytes of {file} from byte {at}: {what}")?;
        match self.record {
            Some(record) => write!(f, " of a {record} record"),
            None => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_in_one_line() {
        let cut = Cut {
            kind: CutKind::TornTail,
            file: "log/0".to_owned(),
            at: 4096,
            offset: PhysicalOffset(4096),
            bytes: 100,
            records: 0,
            saved: vec!["lost+found/0".to_owned()],
        };
        assert_eq!(
            cut.to_string(),
            "100 bytes of log/0 from byte 4096, a write that was not whole, 0 whole records among them, kept in lost+found/0"
        );
        let damage = Damage {
            file: "log/0".to_owned(),
            at: 8,
            offset: PhysicalOffset(8),
            bytes: 80,
            what: "record body",
            record: Some("commit"),
        };
        assert_eq!(
            damage.to_string(),
            "80 bytes of log/0 from byte 8: record body of a commit record"
        );
    }
}
