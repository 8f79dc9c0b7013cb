//! The operator's API: what is pending, deciding it, metrics, and who is kept out.

mod access;
mod api;
mod decided;
mod deciding;
mod metrics;
#[path = "../support/mod.rs"]
mod support;
mod views;
