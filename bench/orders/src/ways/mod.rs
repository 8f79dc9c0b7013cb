//! The ways to place an order and tell others of it.

pub(crate) mod bound;
pub(crate) mod listener;
pub(crate) mod outbox;
pub(crate) mod plain;

use std::future::Future;

use escrow_client::Message;

/// Where orders are announced.
pub(crate) const TOPIC: &str = "BenchOrders";

/// One way.
pub(crate) trait Way: Send + Sync + 'static {
    /// Places an order; when it returns, the order is in the database.
    fn place(&self, id: &str) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Waits until the messages of all orders are on their way for good.
    fn drain(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

fn announcement(id: &str, body: usize) -> anyhow::Result<Message> {
    Ok(Message::new(TOPIC, vec![b'x'; body]).keys(id)?)
}
