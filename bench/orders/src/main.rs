//! What it costs to bind an order to its message: one way of placing orders, measured in a closed loop.
//!
//! `bench/compare-orders` runs the ways against each other; this program runs one of them and prints one line of JSON.

mod load;
mod shop;
mod ways;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use escrow_client::{Client, Settings};
use sqlx::{Postgres, Sqlite};

use crate::shop::Shop;
use crate::ways::{Way, bound::Bound, listener::Listener, outbox::Outbox, plain::Plain};

#[derive(Parser)]
#[command(about = "Places orders in one way and prints what that cost as JSON")]
struct Args {
    /// postgres://… or sqlite:…
    #[arg(long)]
    database_url: String,
    /// Name server of the broker
    #[arg(long)]
    namesrv: String,
    #[arg(long, value_enum)]
    way: Name,
    /// Orders placed at the same time
    #[arg(long, default_value_t = 16)]
    workers: u32,
    /// Seconds that are not measured
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Seconds that are
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 1024)]
    body: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// INSERT and COMMIT, no message: what the others are measured against
    Plain,
    /// The same through the bound producer
    Bound,
    /// As bound, with connections that stay with the producer for 5 ms
    Lingering,
    /// The message in an outbox table of the same transaction, sent by a relay
    Outbox,
    /// A half message, then the transaction, then END, with a listener that looks for the order
    Listener,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.database_url.starts_with("sqlite:") {
        measure::<Sqlite>(&args).await
    } else {
        measure::<Postgres>(&args).await
    }
}

async fn measure<DB: Shop>(args: &Args) -> anyhow::Result<()> {
    let pool = DB::open(&args.database_url, args.workers).await?;
    let client = Client::start(Settings::new(&args.namesrv)).await?;
    client.create_topic(ways::TOPIC, 8).await?;
    match args.way {
        Name::Plain => load(Plain::new(&pool), args).await?,
        Name::Bound | Name::Lingering => {
            let linger = match args.way {
                Name::Lingering => Duration::from_millis(5),
                _ => Duration::ZERO,
            };
            let bound = Bound::start(&client, &pool, args.body, linger).await?;
            load(bound, args).await?;
        }
        Name::Outbox => load(Outbox::start(&client, &pool, args.body), args).await?,
        Name::Listener => load(Listener::start(&client, &pool, args.body).await?, args).await?,
    }
    client.close().await;
    pool.close().await;
    Ok(())
}

async fn load(way: impl Way, args: &Args) -> anyhow::Result<()> {
    let warmup = Duration::from_secs(args.warmup);
    let seconds = Duration::from_secs(args.seconds);
    let found = load::run(way, args.workers, warmup, seconds).await?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}
