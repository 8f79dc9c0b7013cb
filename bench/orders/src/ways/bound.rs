//! The bound producer: half, marker, order, fence, COMMIT; END goes on in the background.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use escrow_client::Client;
use escrow_client::database::{BoundProducer, BoundSettings, Delivering};
use sqlx::Pool;
use tokio::sync::{Mutex, mpsc};

use super::{Way, announcement};
use crate::shop::Shop;

pub(crate) struct Bound<DB: Shop> {
    producer: BoundProducer<DB>,
    body: usize,
    delivering: mpsc::UnboundedSender<Delivering>,
    /// Looked at after the last order: a service that does not wait for deliveries would drop them.
    deliveries: Mutex<mpsc::UnboundedReceiver<Delivering>>,
}

impl<DB: Shop> Bound<DB> {
    pub(crate) async fn start(
        client: &Client,
        pool: &Pool<DB>,
        body: usize,
        linger: Duration,
    ) -> anyhow::Result<Self> {
        let settings = BoundSettings {
            linger,
            ..BoundSettings::default()
        };
        let producer = BoundProducer::start(client, "bench-bound", pool, settings).await?;
        let (delivering, deliveries) = mpsc::unbounded_channel();
        Ok(Self {
            producer,
            body,
            delivering,
            deliveries: Mutex::new(deliveries),
        })
    }
}

impl<DB: Shop> Way for Bound<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let work = async |connection: &mut DB::Connection| DB::insert_order(connection, id).await;
        let ((), committed) = self
            .producer
            .run(announcement(id, self.body)?, work)
            .await?;
        self.delivering.send(committed.delivery)?;
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        let mut deliveries = self.deliveries.lock().await;
        for _ in 0..deliveries.len() {
            let delivery = deliveries.recv().await.context("its sender lives")?;
            ensure!(delivery.await.is_resolved(), "END got lost");
        }
        Ok(())
    }
}
