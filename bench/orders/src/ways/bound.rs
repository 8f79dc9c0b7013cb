//! The bound producer: half, marker, order, fence, COMMIT, END.

use anyhow::ensure;
use escrow_client::Client;
use escrow_client::database::{BoundProducer, BoundSettings};
use sqlx::Pool;

use super::{Way, announcement};
use crate::shop::Shop;

pub(crate) struct Bound<DB: Shop> {
    producer: BoundProducer<DB>,
    body: usize,
}

impl<DB: Shop> Bound<DB> {
    pub(crate) async fn start(
        client: &Client,
        pool: &Pool<DB>,
        body: usize,
    ) -> anyhow::Result<Self> {
        let settings = BoundSettings::default();
        let producer = BoundProducer::start(client, "bench-bound", pool, settings).await?;
        Ok(Self { producer, body })
    }
}

impl<DB: Shop> Way for Bound<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let work = async |connection: &mut DB::Connection| DB::insert_order(connection, id).await;
        let ((), committed) = self
            .producer
            .run(announcement(id, self.body)?, work)
            .await?;
        ensure!(committed.delivery.is_resolved(), "END got lost");
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
