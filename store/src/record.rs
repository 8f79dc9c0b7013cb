//! The records of the commit log: one head for all, one file per family of bodies.

#[cfg(test)]
mod golden;
pub(crate) mod half;
pub(crate) mod header;
pub(crate) mod image;
pub(crate) mod meta;
pub(crate) mod op;

pub(crate) use half::{HalfBody, RelocateBody};
pub(crate) use header::{HEADER_BYTES, Header, HeaderError, Kind};
pub(crate) use meta::{CutBody, MetaBody};
pub(crate) use op::{CommitBody, OpBody};
