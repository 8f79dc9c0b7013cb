//! Every decision about half messages: whether a half is taken, who is asked about it and when, and what becomes
//! of it.
//!
//! Time comes in as an argument ([`Now`]), effects go out as values ([`CheckRequest`]) or into the store. There is no
//! socket, thread, clock or chance in here, so the same calls give the same answers.
//!
//! A [`Coordinator`] and its [`escrow_store::Store`] belong to one owner, which calls [`Coordinator::half`] and
//! [`Coordinator::end`] as requests come, [`Coordinator::joined`] and [`Coordinator::left`] as connections do, and
//! [`Coordinator::due`] when [`Coordinator::next_due`] says so. What is appended must be written and synced before it
//! is acknowledged; each answer says how far (`durable_at`).
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

mod asked;
mod check;
mod clock;
mod coordinator;
mod counters;
mod decide;
mod dedupe;
mod end_transaction;
mod flight;
mod half;
mod members;
mod pace;
pub mod policy;
mod ready;
mod schedule;
mod sweep;
mod view;
mod watermark;

pub use asked::Asked;
pub use check::CheckRequest;
pub use clock::Now;
pub use coordinator::{Coordinator, Settings};
pub use counters::{Counters, LATENCY_BOUNDS_MS, Latencies, Notice, TopicTotals};
pub use decide::{
    Actor, CheckNow, DecideRefused, Decided, Decision, FirstDecision, Published, ResumeRefused,
    Resumed, WriteQueues, source_name,
};
pub use end_transaction::{EndOutcome, EndRefusal, EndRequest, Noted};
pub use half::{HalfAck, HalfRefused, HalfRequest};
pub use members::{Capability, ConnectionId, Member};
pub use policy::{Interval, Level, Policies, Policy, Rules};
pub use ready::WaitingGroup;
pub use view::{Budget, Filter, HalfView, Page, Waits};
pub use watermark::Watermark;
