//! What can go wrong in the store, sorted by what the caller can do about it.

use std::io;
use std::sync::Arc;

use crate::PhysicalOffset;

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk refused an operation on a file.
    #[error("{action} {file}: {source}")]
    Disk {
        /// What was tried: `write`, `sync`, `open`, ...
        action: &'static str,
        /// The file, relative to the store folder.
        file: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync of the log failed: nothing more is acknowledged until the store is opened again.
    #[error("the store stopped after a failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Stored bytes do not match their checksum. What they held cannot be served.
    #[error("damaged: {what} in {file} at byte {at} (log offset {offset})")]
    Damaged {
        /// The file, relative to the store folder.
        file: String,
        /// The byte position within that file.
        at: u64,
        /// The log offset of the damaged record, or of the position in a derived file.
        offset: PhysicalOffset,
        /// What was found to be wrong.
        what: &'static str,
    },
    /// Nothing with this offset, sequence or name is kept.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// A record would be larger than the store takes.
    #[error("a record of {bytes} bytes is larger than the {bytes_max} allowed")]
    RecordTooLarge {
        /// Size asked for.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A name or value is longer than its field.
    #[error("{what} has {bytes} bytes, at most {bytes_max} are allowed")]
    FieldTooLong {
        /// Which one.
        what: &'static str,
        /// Size asked for.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The half message was decided before, so this op cannot apply.
    #[error("the half message is already decided")]
    AlreadyDecided,
    /// The disk is too full for this append.
    #[error("only {free} bytes are free on the disk")]
    NoSpace {
        /// Free bytes at the last look.
        free: u64,
    },
    /// The folder was written by another version.
    #[error("{file} has format {found}, this version reads {known}")]
    OtherFormat {
        /// The file that says so.
        file: String,
        /// Its format.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// Another process holds the store folder.
    #[error("the store folder is in use by another process")]
    Locked,
    /// Settings that cannot work.
    #[error("store settings: {0}")]
    Settings(&'static str),
    /// The folder holds something that is not this store's.
    #[error("{file}: {what}")]
    Foreign {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Change the request.
    Request,
    /// Try again later, or elsewhere: the disk is full.
    Space,
    /// These bytes are lost; everything else is served.
    Damaged,
    /// Stop writing: reopen the store, or call the operator.
    Stop,
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. }
            | Error::RecordTooLarge { .. }
            | Error::FieldTooLong { .. }
            | Error::AlreadyDecided => ErrorKind::Request,
            Error::NoSpace { .. } => ErrorKind::Space,
            Error::Damaged { .. } => ErrorKind::Damaged,
            Error::Disk { .. }
            | Error::Poisoned { .. }
            | Error::OtherFormat { .. }
            | Error::Locked
            | Error::Settings(_)
            | Error::Foreign { .. } => ErrorKind::Stop,
        }
    }

    pub(crate) fn disk(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Disk {
            action,
            file: file.to_owned(),
            source: Arc::new(source),
        }
    }
}

/// True if a file is not there: it has left, or was lost. Whatever else a disk says may be otherwise the next time.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
