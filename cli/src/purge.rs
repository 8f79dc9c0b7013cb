//! `escrow purge`: deletes markers of which no broker can ask any more.

use anyhow::{Context as _, bail};
use clap::Args;
use escrow_broker::utc;
use escrow_client::database::purge::{KEEP_DEFAULT, Limit, Purged};

use crate::admin::{Admin, escape};
use crate::age::Age;
use crate::databases::{BrokersArgs, Database, DatabasesArgs};
use crate::table::duration;

#[derive(Args, Debug)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    databases: DatabasesArgs,
    #[command(flatten)]
    brokers: BrokersArgs,
    /// Keep markers for this long in any case [default: 7d]. An hour's margin for clocks comes on top
    #[arg(long, value_name = "TIME")]
    keep: Option<Age>,
    /// Without asking a broker: delete what is older than this, on your word that no half so old is undecided. For
    /// groups that are served by another broker than EscrowMQ
    #[arg(long, value_name = "TIME", conflicts_with_all = ["broker_admin", "keep"])]
    older_than: Option<Age>,
    /// Say what would be deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: PurgeArgs) -> anyhow::Result<()> {
    let admins = args.brokers.admins()?;
    if admins.is_empty() && args.older_than.is_none() {
        bail!(
            "no broker to ask how far its halfs are decided: give --broker-admin ADDR for each broker of the groups, or \
             --older-than TIME if they are served by another broker than EscrowMQ"
        );
    }
    let keep = args.keep.map_or(KEEP_DEFAULT, |Age(keep)| keep);
    for database in args.databases.open().await? {
        let limit = match args.older_than {
            Some(Age(age)) => Limit::OlderThan(age),
            None => Limit::Watermark {
                watermark_ms: watermark(&admins, &database).await?,
                keep,
            },
        };
        let purged = if args.dry_run {
            database.tables.would_purge(limit).await
        } else {
            database.tables.purge(limit).await
        };
        let purged = purged.with_context(|| format!("database {}", database.name))?;
        println!("{}", told(&database, limit, purged, args.dry_run));
    }
    Ok(())
}

/// The earliest time of an undecided half, of all groups of this database and all brokers.
async fn watermark(admins: &[Admin], database: &Database) -> anyhow::Result<i64> {
    let mut earliest = i64::MAX;
    for admin in admins {
        for group in &database.groups {
            let path = format!("/api/groups/{}/watermark", escape(group));
            let answer = admin.get(&path).await.with_context(|| {
                let at = admin.address();
                format!("{at} tells no watermark of group {group}; if it is not EscrowMQ, use --older-than TIME")
            })?;
            let watermark = answer["watermark"].as_i64();
            let watermark = watermark
                .with_context(|| format!("{} answered no watermark: {answer}", admin.address()))?;
            earliest = earliest.min(watermark);
        }
    }
    Ok(earliest)
}

fn told(database: &Database, limit: Limit, purged: Purged, dry_run: bool) -> String {
    let done = if dry_run { "would delete" } else { "deleted" };
    let why = match limit {
        Limit::Watermark { watermark_ms, keep } => format!(
            "undecided since {} at the earliest, kept for {}",
            utc(watermark_ms),
            duration(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX))
        ),
        Limit::OlderThan(age) => format!(
            "older than {}",
            duration(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        ),
    };
    format!(
        "{}: {done} {} markers born before {} ({why}; groups {})",
        database.name,
        purged.markers,
        utc(purged.horizon_ms),
        database.groups.join(", ")
    )
}
