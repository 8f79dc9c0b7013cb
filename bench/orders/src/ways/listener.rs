//! What RocketMQ's guide shows: half, transaction, END, and a listener that looks for the order when asked.
//!
//! It is not safe (a listener that looks while the transaction runs answers ROLLBACK), which is why it is cheap.

use escrow_client::{Check, Client, Resolution, TransactionProducer};
use sqlx::Pool;

use super::{TOPIC, Way, announcement};
use crate::shop::Shop;

pub(crate) struct Listener<DB: Shop> {
    pool: Pool<DB>,
    producer: TransactionProducer,
    body: usize,
}

impl<DB: Shop> Listener<DB> {
    pub(crate) async fn start(
        client: &Client,
        pool: &Pool<DB>,
        body: usize,
    ) -> anyhow::Result<Self> {
        let asked = pool.clone();
        let producer = TransactionProducer::new(client, "bench-listener", move |check: Check| {
            let pool = asked.clone();
            async move { look(&pool, &check).await.unwrap_or(Resolution::Unknown) }
        });
        producer.join(TOPIC).await?;
        Ok(Self {
            pool: pool.clone(),
            producer,
            body,
        })
    }
}

async fn look<DB: Shop>(pool: &Pool<DB>, check: &Check) -> sqlx::Result<Resolution> {
    let Some(id) = check.message.keys().next() else {
        return Ok(Resolution::Unknown);
    };
    let mut connection = pool.acquire().await?;
    Ok(match DB::has_order(&mut connection, id).await? {
        true => Resolution::Commit,
        false => Resolution::Rollback,
    })
}

impl<DB: Shop> Way for Listener<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let half = self
            .producer
            .send_half(&announcement(id, self.body)?)
            .await?;
        let mut transaction = self.pool.begin_with(DB::BEGIN).await?;
        DB::insert_order(&mut transaction, id).await?;
        transaction.commit().await?;
        self.producer.end_oneway(&half, Resolution::Commit).await?;
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
