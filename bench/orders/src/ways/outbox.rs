//! An outbox: the message is a row of the same transaction, and a relay sends and deletes it.

use std::time::Duration;

use escrow_client::{Client, Message, Producer};
use sqlx::Pool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{TOPIC, Way};
use crate::shop::Shop;

/// Pause of the relay when there was nothing.
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Outbox<DB: Shop> {
    pool: Pool<DB>,
    body: Vec<u8>,
    /// How often the relay has found nothing.
    idle: watch::Receiver<u64>,
    /// Ends with the way.
    _relay: JoinSet<anyhow::Result<()>>,
}

impl<DB: Shop> Outbox<DB> {
    pub(crate) fn start(client: &Client, pool: &Pool<DB>, body: usize) -> Self {
        let (found_nothing, idle) = watch::channel(0);
        let mut relay = JoinSet::new();
        relay.spawn(run_relay(
            pool.clone(),
            Producer::new(client, "bench-outbox"),
            found_nothing,
        ));
        Self {
            pool: pool.clone(),
            body: vec![b'x'; body],
            idle,
            _relay: relay,
        }
    }
}

async fn run_relay<DB: Shop>(
    pool: Pool<DB>,
    producer: Producer,
    found_nothing: watch::Sender<u64>,
) -> anyhow::Result<()> {
    loop {
        let mut transaction = pool.begin_with(DB::BEGIN).await?;
        let waiting = DB::oldest_outbox(&mut transaction).await?;
        if waiting.is_empty() {
            transaction.rollback().await?;
            found_nothing.send_modify(|times| *times += 1);
            tokio::time::sleep(POLL).await;
            continue;
        }
        let (ids, messages): (Vec<i64>, Vec<Message>) = waiting
            .into_iter()
            .map(|(id, body)| (id, Message::new(TOPIC, body)))
            .unzip();
        producer.send_batch(&messages).await?;
        DB::delete_outbox(&mut transaction, &ids).await?;
        transaction.commit().await?;
    }
}

impl<DB: Shop> Way for Outbox<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin_with(DB::BEGIN).await?;
        DB::insert_order(&mut transaction, id).await?;
        DB::insert_outbox(&mut transaction, &self.body).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        // Twice: the first may have looked before the last order was in.
        let mut idle = self.idle.clone();
        let enough = *idle.borrow() + 2;
        idle.wait_for(|times| *times >= enough).await?;
        Ok(())
    }
}
