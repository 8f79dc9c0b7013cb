//! Plays the scenarios with the Rust client: one JSON line for each on stdout.

mod consumers;
mod inbox;
mod report;
mod retries;
mod scene;
mod sends;
mod starts;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use report::Report;
use scene::Scene;

const SCENARIO_SECONDS_MAX: u64 = 90;

/// What `conformance/run` says.
#[derive(Parser)]
struct Options {
    /// Name server.
    #[arg(long)]
    namesrv: String,
    /// Prefix of all names.
    #[arg(long)]
    run: String,
    /// Comma-separated names; all if absent.
    #[arg(long)]
    scenario: Option<String>,
    /// Scenarios at one time.
    #[arg(long, default_value_t = 8)]
    parallel: usize,
}

type Playing = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
type Scenario = (&'static str, fn(Arc<Scene>) -> Playing);

/// A scenario under its name.
macro_rules! scenario {
    ($name:literal, $play:expr) => {
        ($name, |scene| Box::pin($play(scene)) as crate::Playing)
    };
}
use scenario;

const BOUND: &str = "transactions of this client are tested with its databases";
const WIRE: &str = "requests that no client sends are made with the Java clients' remoting layer";
const NO_CALL: &str = "the client has no query call";

/// What is not played, and why.
const MISSING: &[(&str, &str)] = &[
    ("tx-commit", BOUND),
    ("tx-rollback", BOUND),
    ("tx-unknown-then-commit", BOUND),
    ("tx-unknown-then-rollback", BOUND),
    ("tx-unknown-three-times", BOUND),
    ("tx-immunity", BOUND),
    ("tx-listener-throws", BOUND),
    ("killed-other-is-asked", BOUND),
    ("killed-restarted-sends", BOUND),
    ("killed-restarted-sends-rollback", BOUND),
    ("killed-restarted-topics", BOUND),
    ("query-plain", NO_CALL),
    ("query-transactional", NO_CALL),
    ("query-undecided", NO_CALL),
    ("end-twice", WIRE),
    ("end-commit-then-rollback", WIRE),
    ("end-rollback-then-commit", WIRE),
    ("end-rollback-twice", WIRE),
    ("end-mistaken", WIRE),
    ("end-topic-deleted", WIRE),
    ("half-sent-twice", WIRE),
    ("half-hidden", WIRE),
    ("half-rolled-back-hidden", WIRE),
    ("half-committed-shown", WIRE),
    ("half-delayed", WIRE),
    ("resume-check", WIRE),
    ("doors-plain", WIRE),
];

#[tokio::main]
async fn main() {
    let options = Arc::new(Options::parse());
    let chosen = options.scenario.as_deref();
    let is_chosen = |name: &str| chosen.is_none_or(|names| names.split(',').any(|one| one == name));
    let stage = Arc::new(Semaphore::new(options.parallel));
    let mut running = JoinSet::new();
    let all = [
        sends::all(),
        consumers::all(),
        retries::all(),
        starts::all(),
    ]
    .concat();
    for (name, scenario) in all.into_iter().filter(|(name, _)| is_chosen(name)) {
        let (stage, options) = (Arc::clone(&stage), Arc::clone(&options));
        running.spawn(async move {
            let _room = stage.acquire().await;
            play(name, scenario, &options).await
        });
    }
    while let Some(line) = running.join_next().await {
        match line {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{error}"),
        }
    }
    for (name, reason) in MISSING.iter().filter(|(name, _)| is_chosen(name)) {
        println!("{}", Report::not_applicable(name, reason));
    }
}

async fn play(name: &str, scenario: fn(Arc<Scene>) -> Playing, options: &Options) -> String {
    let report = Arc::new(Report::new(name));
    let scene = Scene::new(&options.namesrv, &options.run, name, Arc::clone(&report));
    // A task of its own, so that a panic is a line of the report too.
    let mut task = JoinSet::new();
    task.spawn(scenario(Arc::new(scene)));
    let limit = Duration::from_secs(SCENARIO_SECONDS_MAX);
    match tokio::time::timeout(limit, task.join_next()).await {
        Ok(Some(Ok(Ok(())))) => {}
        Ok(Some(Ok(Err(error)))) => report.fail(format!("{error:#}")),
        Ok(Some(Err(error))) => report.fail(error.to_string()),
        Ok(None) | Err(_) => report.fail(format!("not over after {SCENARIO_SECONDS_MAX} s")),
    }
    report.line()
}
