//! An outbox: the message is a row of the same transaction, and a relay sends and deletes it.
//!
//! There is one relay, so it need not lock what it reads; it holds no connection while it waits for the broker.

use std::time::Duration;

use escrow_client::{Client, Message, Producer};
use sqlx::Pool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{TOPIC, Way};
use crate::shop::{BATCH, Shop, Waiting};

/// Pause of the relay, unless there is more to send at once. Rows that come meanwhile share a batch.
const POLL: Duration = Duration::from_millis(5);

/// Bytes of the bodies that leave in one batch, or a single one: the broker takes 4 MiB at a time.
const BATCH_BYTES: usize = 1 << 20;

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
        let mut connection = pool.acquire().await?;
        let waiting = DB::oldest_outbox(&mut connection).await?;
        drop(connection);
        let more = waiting.len() >= BATCH;
        if waiting.is_empty() {
            found_nothing.send_modify(|times| *times += 1);
        } else {
            send(&pool, &producer, waiting).await?;
        }
        if !more {
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn send<DB: Shop>(
    pool: &Pool<DB>,
    producer: &Producer,
    waiting: Vec<Waiting>,
) -> anyhow::Result<()> {
    let ids: Vec<i64> = waiting.iter().map(|(id, ..)| *id).collect();
    let (mut messages, mut bytes) = (Vec::with_capacity(waiting.len()), 0);
    for (_, key, body) in waiting {
        if bytes + body.len() > BATCH_BYTES && !messages.is_empty() {
            producer.send_batch(&messages).await?;
            messages.clear();
            bytes = 0;
        }
        bytes += body.len();
        messages.push(Message::new(TOPIC, body).keys(&key)?);
    }
    producer.send_batch(&messages).await?;
    let mut connection = pool.acquire().await?;
    DB::delete_outbox(&mut connection, &ids).await?;
    Ok(())
}

impl<DB: Shop> Way for Outbox<DB> {
    async fn place(&self, id: &str) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin_with(DB::BEGIN).await?;
        DB::insert_order(&mut transaction, id).await?;
        DB::insert_outbox(&mut transaction, id, &self.body).await?;
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
