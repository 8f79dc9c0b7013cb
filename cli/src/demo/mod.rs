//! `escrow demo`: the whole story in under a minute, on a broker of its own.
//!
//! An order service writes orders to its database and tells the shipping service by transactional messages.
//! It is a child process, and it aborts for some orders between its database commit and END_TRANSACTION. In
//! the end every order in the database has been shipped, and nothing else has.

mod database;
mod fate;
mod play;
mod shop;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

pub(crate) use shop::{ShopArgs, run as run_shop};

const TOPIC: &str = "Orders";
const GROUP: &str = "order-service";
const SHIPPING: &str = "shipping";

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Orders to place
    #[arg(long, default_value_t = 200)]
    orders: u64,
    /// Give up when the story has not ended after this many seconds
    #[arg(long, default_value_t = 55)]
    within: u64,
    /// Keep broker data and order database in this folder (default: a temporary one, removed at the end)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo; an error if the books do not balance.
pub(crate) fn run(args: DemoArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let temporary;
    let folder = match &args.keep {
        Some(folder) => {
            fresh(folder)?;
            folder.clone()
        }
        None => {
            temporary = tempfile::Builder::new().prefix("escrow-demo-").tempdir()?;
            temporary.path().to_owned()
        }
    };
    let played = runtime.block_on(play::play(
        &folder,
        args.orders,
        Duration::from_secs(args.within),
    ));
    runtime.shutdown_timeout(Duration::from_secs(1));
    played
}

/// Creates the folder; an older play's orders would spoil the books.
fn fresh(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let mut entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    ensure!(
        entries.next().is_none(),
        "{} is not empty",
        folder.display()
    );
    Ok(())
}
