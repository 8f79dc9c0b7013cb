//! The order service: a process of its own, which really dies now and then.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use escrow_client::{Check, Client, Message, Resolution, Settings, TransactionProducer};
use serde::{Deserialize, Serialize};

use super::database::Database;
use super::fate::Fate;
use super::{GROUP, TOPIC};

#[derive(Args, Debug)]
pub(crate) struct ShopArgs {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    database: PathBuf,
    /// First order to place
    #[arg(long)]
    from: u64,
    /// Last order to place
    #[arg(long)]
    to: u64,
}

/// What the order service tells its parent, one JSON line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// It is known to the broker and answers checks.
    Ready,
    /// An order has met its fate, or is about to.
    Placed { order: u64, fate: Fate },
    /// The broker asked, and this was the answer.
    Checked { order: u64, answer: Told },
    /// All orders are placed; checks are still answered.
    AllPlaced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    Commit,
    Rollback,
    Unknown,
}

/// What the message says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) order: u64,
    pub(super) item: String,
}

/// Places orders, then answers checks until its standard input ends.
pub(crate) async fn run(args: ShopArgs) -> anyhow::Result<()> {
    let database = Database::open(&args.database)
        .await
        .context("cannot open the order database")?;
    let client = Client::start(Settings::new(&args.namesrv)).await?;
    let answering = database.clone();
    let producer = TransactionProducer::new(&client, GROUP, move |check: Check| {
        let database = answering.clone();
        async move { answer(&database, &check).await }
    });
    producer
        .join(TOPIC)
        .await
        .context("cannot join the broker")?;
    tell(&Event::Ready)?;
    for order in args.from..=args.to {
        place(&producer, &database, order)
            .await
            .with_context(|| format!("order {order}"))?;
    }
    tell(&Event::AllPlaced)?;
    // The parent closes our standard input when it has seen enough.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    client.close().await;
    database.close().await;
    Ok(())
}

async fn place(
    producer: &TransactionProducer,
    database: &Database,
    order: u64,
) -> anyhow::Result<()> {
    let body = serde_json::to_vec(&Order {
        order,
        item: format!("item {order}"),
    })?;
    let half = producer
        .send_half(&Message::new(TOPIC, body).keys(&format!("order-{order}"))?)
        .await?;
    let transaction = database.write_order(order, half.transaction_id()).await?;
    let fate = Fate::of(order);
    if fate == Fate::CrashedBeforeCommit {
        die(order, fate)?;
    }
    if fate == Fate::RolledBack {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    match fate {
        Fate::Committed => producer.end_oneway(&half, Resolution::Commit).await?,
        Fate::RolledBack => producer.end_oneway(&half, Resolution::Rollback).await?,
        Fate::CrashedAfterCommit => die(order, fate)?,
        Fate::EndLost | Fate::CrashedBeforeCommit => {}
    }
    tell(&Event::Placed { order, fate })
}

async fn answer(database: &Database, check: &Check) -> escrow_client::Answer {
    let answer = database.outcome(&check.transaction_id).await;
    if let Ok(Order { order, .. }) = serde_json::from_slice(&check.message.body) {
        let answer = match answer.resolution() {
            Resolution::Commit => Told::Commit,
            Resolution::Rollback => Told::Rollback,
            Resolution::Unknown => Told::Unknown,
        };
        // A parent that is gone needs no news.
        let _ = tell(&Event::Checked { order, answer });
    }
    answer
}

/// Ends this process as a power cut would: nothing is flushed, closed or said to the broker.
fn die(order: u64, fate: Fate) -> anyhow::Result<()> {
    tell(&Event::Placed { order, fate })?;
    std::process::abort();
}

fn tell(event: &Event) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, event)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}
