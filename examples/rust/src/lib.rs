//! What the order service and the shipping service have in common: an order, and where things are.

use std::env;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

/// The topic on which orders are announced.
pub const TOPIC: &str = "Orders";

/// What a customer orders; also the body of the message that announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Chosen by the customer.
    pub id: String,
    /// What is ordered.
    pub item: String,
    /// How many of it.
    pub quantity: i32,
}

/// A setting from the environment.
///
/// # Errors
/// It is not set.
pub fn setting(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is not set"))
}

/// Logs to standard error, as much as `RUST_LOG` asks for.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
}

/// Waits for SIGTERM or SIGINT.
pub async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the signals end the process at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
