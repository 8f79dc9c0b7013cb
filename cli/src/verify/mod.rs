//! `escrow verify`: compares markers with what the brokers decided.
//!
//! The two cannot be read at one moment, so the order matters: first the clock, then what is undecided, then the
//! decisions, then the markers that are older than that clock by a little. The half of each such marker was stored
//! before, so it was either undecided when we looked or decided by the time we asked for decisions.

mod compare;
mod staging;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Admin, escape};
use crate::age::Age;
use crate::databases::{BrokersArgs, Database, DatabasesArgs};
use compare::{Comparison, Finding};
use staging::{Decision, Staging};

/// Rows asked of a broker at once.
const PAGE_ROWS: usize = 500;
/// How much more of the decisions than of the markers is read: a decision comes at another time, by another clock.
const DECISIONS_BEFORE: Duration = Duration::from_secs(3600);

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    databases: DatabasesArgs,
    #[command(flatten)]
    brokers: BrokersArgs,
    /// How far back to look: 24h, 7d
    #[arg(long, value_name = "TIME")]
    since: Age,
    /// Leave out what lies within this time of either end: halfs may be on the way, and clocks apart
    #[arg(long, default_value = "1m", value_name = "TIME")]
    leave_out: Age,
    /// Print one JSON object a line: each difference, each transaction that is still pending, and the sum
    #[arg(long)]
    json: bool,
}

/// Exit code 0 without differences, 1 with, 2 if the comparison could not be made.
pub(crate) fn run(args: VerifyArgs) -> ExitCode {
    match crate::block_on(verify(args)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("escrow: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Answers how many differences there are.
async fn verify(args: VerifyArgs) -> anyhow::Result<u64> {
    let admins = args.brokers.admins()?;
    if admins.is_empty() {
        bail!("no broker to compare with: give --broker-admin ADDR for each broker of the groups");
    }
    let databases = args.databases.open().await?;
    let mut clocks = Vec::new();
    for database in &databases {
        let now = database.tables.now_ms().await;
        clocks.push(now.with_context(|| format!("database {}", database.name))?);
    }
    let first = clocks.iter().min().copied().unwrap_or_default();
    let decided_since = first - ms(args.since.0) - ms(DECISIONS_BEFORE);
    let mut staging = Staging::new().await?;
    for admin in &admins {
        undecided(admin, &mut staging).await?;
    }
    let mut brokers = Brokers::default();
    for admin in &admins {
        brokers
            .decisions(admin, decided_since, &databases, &mut staging)
            .await?;
    }
    let mut sum = Sum::default();
    let print = |finding: &Finding, sum: &mut Sum| {
        sum.count(finding);
        if args.json {
            println!("{}", finding.json());
        } else if finding.is_difference() {
            println!("{finding}");
        }
    };
    for (database, now) in databases.iter().zip(&clocks) {
        let mut comparison = Comparison {
            database,
            staging: &mut staging,
            from_ms: now - ms(args.since.0),
            before_ms: now - ms(args.leave_out.0),
            judged_from_ms: brokers.judged_from_ms.saturating_add(ms(args.leave_out.0)),
            markers: 0,
            unjudged: 0,
        };
        comparison
            .run(&mut |finding| print(finding, &mut sum))
            .await?;
        sum.markers += comparison.markers;
        sum.unjudged += comparison.unjudged;
    }
    sum.decisions = brokers.decisions;
    sum.unreadable_bytes = brokers.unreadable_bytes;
    println!("{}", if args.json { sum.json() } else { sum.text() });
    Ok(sum.differences)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Stages what is undecided at one broker.
async fn undecided(admin: &Admin, staging: &mut Staging) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    loop {
        let mut path = format!("/api/pending?limit={PAGE_ROWS}");
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", escape(cursor)));
        }
        let page = admin.get(&path).await?;
        let rows = page["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let keys = rows.iter().filter_map(|row| row["unique_key"].as_str());
        staging.add_undecided(keys).await?;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// What the brokers said of their decisions as a whole.
#[derive(Default)]
struct Brokers {
    decisions: u64,
    unreadable_bytes: u64,
    /// Of what was stored before, a decision may have left the log or lost its name.
    judged_from_ms: i64,
}

impl Brokers {
    /// Stages the decisions of one broker that name one of `databases` or none.
    async fn decisions(
        &mut self,
        admin: &Admin,
        since_ms: i64,
        databases: &[Database],
        staging: &mut Staging,
    ) -> anyhow::Result<()> {
        let domains: Vec<String> = databases.iter().map(|d| d.domain.to_string()).collect();
        let mut cursor: Option<String> = None;
        loop {
            let mut path = format!("/api/decisions?since={}&limit={PAGE_ROWS}", since_ms.max(0));
            if let Some(cursor) = &cursor {
                path.push_str(&format!("&cursor={}", escape(cursor)));
            }
            let page = admin.get(&path).await?;
            let kept_since = page["kept_since"].as_i64().unwrap_or(0);
            self.judged_from_ms = self.judged_from_ms.max(kept_since);
            self.unreadable_bytes += page["unreadable_bytes"].as_u64().unwrap_or(0);
            let rows = page["decisions"].as_array().with_context(|| {
                format!("{} lists no decisions: is it EscrowMQ?", admin.address())
            })?;
            let mut staged = Vec::new();
            for row in rows {
                self.decisions += 1;
                match Decision::of(row, admin.address()) {
                    Some(decision) => {
                        let ours = decision.domain.as_ref();
                        if ours.is_none_or(|domain| domains.contains(domain)) {
                            staged.push(decision);
                        }
                    }
                    None => {
                        let decided_at = row["decided_at"].as_i64().unwrap_or(i64::MAX);
                        self.judged_from_ms = self.judged_from_ms.max(decided_at);
                    }
                }
            }
            staging.add_decisions(&staged).await?;
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }
}

#[derive(Default)]
struct Sum {
    markers: u64,
    decisions: u64,
    differences: u64,
    pending: u64,
    unjudged: u64,
    unreadable_bytes: u64,
}

impl Sum {
    fn count(&mut self, finding: &Finding) {
        if finding.is_difference() {
            self.differences += 1;
        } else {
            self.pending += 1;
        }
    }

    fn json(&self) -> String {
        let sum: Value = json!({
            "markers": self.markers, "decisions": self.decisions, "differences": self.differences,
            "pending": self.pending, "unjudged": self.unjudged, "unreadable_bytes": self.unreadable_bytes,
        });
        sum.to_string()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} markers, {} decisions: {} differences, {} still pending",
            self.markers, self.decisions, self.differences, self.pending
        );
        if self.unjudged > 0 {
            text.push_str(&format!(
                "; {} older than what brokers or databases still know",
                self.unjudged
            ));
        }
        if self.unreadable_bytes > 0 {
            text.push_str(&format!(
                "; {} bytes of the brokers' logs are damaged and may hide decisions",
                self.unreadable_bytes
            ));
        }
        text
    }
}
