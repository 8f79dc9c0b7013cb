//! Bytes <-> types: RocketMQ remoting frames, request headers, JSON bodies and the message record.
//!
//! Pure: no I/O, no async, no clock, no randomness. Whatever comes from a peer or from a disk is read
//! through bounds-checked readers: bad bytes give an error that says what and where, never a panic, and
//! never size an allocation unchecked.
//!
//! Odd wire spellings (`tranStateTableOffset`, `UNKNOW`) stay inside this crate.
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod batch;
pub mod body;
pub mod code;
pub mod frame;
pub mod header;
pub mod ids;
pub mod message;
pub mod names;
pub mod properties;
pub mod read;
pub mod sysflag;
pub mod transaction;
pub mod version;
