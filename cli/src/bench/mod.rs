//! `escrow bench`: a load generator that speaks remoting, for EscrowMQ and Apache RocketMQ alike.
//!
//! Throughput is what consumers could see: the growth of the topic's visible max offsets. It counts only if
//! nothing is outstanding at the end, which every run checks.

mod checks;
mod generator;
mod load;
mod receipts;
mod report;
mod target;
mod usage;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

use generator::{Generator, Mode};
use load::{Control, Phase, Seen};
use receipts::{Ends, Receipts};
use report::{Latency, Refused, Report, Totals};
use target::Target;
use usage::{Usage, Used};

/// The least patience with replies to the last sends, and with other answers.
const REPLIES_WITHIN: Duration = Duration::from_secs(30);

#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// Transactional messages: half, then COMMIT as soon as it is acknowledged
    Tx(LoadArgs),
    /// Plain messages
    Send(LoadArgs),
    /// Leave a number of halfs undecided
    Pending(PendingArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TargetArgs {
    /// Name server
    #[arg(long, default_value = "127.0.0.1:9876", value_name = "ADDR")]
    namesrv: String,
    /// Broker, instead of the one that the name server gives
    #[arg(long, value_name = "ADDR")]
    broker: Option<String>,
    /// Topic; created if it does not exist
    #[arg(long, default_value = "EscrowBench")]
    topic: String,
    /// Queues of the topic if it is created
    #[arg(long, default_value_t = 16)]
    queues: i32,
    /// Producer group
    #[arg(long, default_value = "escrow-bench")]
    group: String,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Sends outstanding on each connection
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Bytes of each body
    #[arg(long, default_value_t = 1024)]
    body_bytes: usize,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Longest wait for everything to become visible, in seconds
    #[arg(long, default_value_t = 120)]
    settle: u64,
    /// Process id of the broker, if it is on this machine: its CPU time, memory and writes are reported
    #[arg(long)]
    pid: Option<u32>,
    /// Print JSON only
    #[arg(long)]
    json: bool,
    /// Append the JSON to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Length of the measured window
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Load before the window, not measured
    #[arg(long, default_value_t = 3.0)]
    warmup: f64,
    /// Offer this many messages per second (open loop) instead of as many as are acknowledged
    #[arg(long)]
    rate: Option<f64>,
    /// Transactions: consume them, too, and report how long each took from its END to a long-polling consumer
    #[arg(long)]
    receipts: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PendingArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Halfs to leave undecided
    #[arg(long)]
    count: u64,
}

pub(crate) fn run(bench: Bench) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match bench {
            Bench::Tx(args) => measure(args, Mode::Transactions).await,
            Bench::Send(args) => measure(args, Mode::Plain).await,
            Bench::Pending(args) => leave_pending(args).await,
        }
    })
}

/// The counters at one end of the measured window.
struct Mark {
    at: Instant,
    visible: u64,
    generator: Usage,
    broker: Option<Usage>,
}

impl Mark {
    async fn take(target: &Target, pid: Option<u32>) -> anyhow::Result<Self> {
        let before = Instant::now();
        let visible = target.visible().await?;
        Ok(Self {
            // The queues are asked all at once, and the middle is when they were.
            at: before + before.elapsed() / 2,
            visible,
            generator: Usage::of(None)?,
            broker: pid.map(|pid| Usage::of(Some(pid))).transpose()?,
        })
    }
}

async fn measure(args: LoadArgs, mode: Mode) -> anyhow::Result<()> {
    ensure!(
        !args.receipts || mode == Mode::Transactions,
        "--receipts is for transactions"
    );
    let target = Target::find(&args.target).await?;
    let at_start = target.visible().await?;
    let control = Arc::new(Control::new(u64::MAX));
    let ends = args.receipts.then(|| Arc::new(Ends::new()));
    let receipts = match &ends {
        Some(ends) => {
            let group = format!("{}-receipts", args.target.group);
            let (ends, control) = (Arc::clone(ends), Arc::clone(&control));
            Some(Receipts::start(&target, &group, ends, control).await?)
        }
        None => None,
    };
    let mut generator = Generator::start(
        &target,
        &args.target,
        mode,
        args.rate,
        Arc::clone(&control),
        ends,
    )?;
    generator.wait(Duration::from_secs_f64(args.warmup)).await?;
    let first = Mark::take(&target, args.target.pid).await?;
    control.enter(Phase::Measure);
    generator
        .wait(Duration::from_secs_f64(args.seconds))
        .await?;
    // To ask thousands of queues for their ends is a load of its own.
    control.enter(Phase::Unmeasured);
    let last = Mark::take(&target, args.target.pid).await?;
    let settle = Duration::from_secs(args.target.settle);
    generator.drain(settle.max(REPLIES_WITHIN)).await?;
    let settling = Instant::now();
    let visible = settled(&target, at_start, generator.acknowledged(), settle).await?;
    let settle_seconds = settling.elapsed().as_secs_f64();
    let acknowledged = generator.acknowledged();
    if let Some(receipts) = &receipts {
        receipts.all(acknowledged, settle).await?;
    }
    let seen = generator.stop()?;
    let receipt = match receipts {
        Some(receipts) => Some(Latency::of(&receipts.stop().await?)),
        None => None,
    };
    let total = totals(&seen, acknowledged, visible, settle_seconds);
    let report = Report {
        receipt,
        ..report(&args, &target, mode, (&first, &last), &seen, total)
    };
    publish(&report, &args.target)?;
    ensure!(
        report.total.outstanding == 0,
        "{} acknowledged messages are not visible",
        report.total.outstanding
    );
    Ok(())
}

fn report(
    args: &LoadArgs,
    target: &Target,
    mode: Mode,
    (first, last): (&Mark, &Mark),
    seen: &Seen,
    total: Totals,
) -> Report {
    let seconds = (last.at - first.at).as_secs_f64();
    let visible = last.visible - first.visible;
    let used = |before, after| Used::between(before, after, seconds);
    Report {
        mode: if mode == Mode::Plain { "send" } else { "tx" },
        broker: target.address.clone(),
        topic: args.target.topic.clone(),
        queues: target.queues.len(),
        connections: args.target.connections,
        depth: args.target.depth,
        threads: args.target.threads,
        body_bytes: args.target.body_bytes,
        rate: args.rate,
        seconds,
        visible,
        visible_per_second: visible as f64 / seconds,
        acknowledged_per_second: seen.latency_ns.len() as f64 / args.seconds,
        ack: Latency::of(&seen.latency_ns),
        receipt: None,
        generator_cpus: used(first.generator, last.generator).cpus,
        broker_used: first
            .broker
            .zip(last.broker)
            .map(|(before, after)| used(before, after)),
        total,
    }
}

/// Waits until as many messages are visible as were acknowledged, or until `settle` is over.
async fn settled(
    target: &Target,
    at_start: u64,
    acknowledged: u64,
    settle: Duration,
) -> anyhow::Result<u64> {
    let until = Instant::now() + settle;
    loop {
        let visible = target.visible().await? - at_start;
        if visible >= acknowledged || Instant::now() > until {
            return Ok(visible);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn totals(seen: &Seen, acknowledged: u64, visible: u64, settle_seconds: f64) -> Totals {
    let refused = seen.refused.iter().map(|(code, (count, remark))| {
        let refused = Refused {
            count: *count,
            first_remark: remark.clone(),
        };
        (*code, refused)
    });
    Totals {
        acknowledged,
        ended: seen.ended,
        checks_answered: seen.checks_answered,
        refused: refused.collect(),
        visible,
        outstanding: acknowledged.saturating_sub(visible),
        surplus: visible.saturating_sub(acknowledged),
        settle_seconds,
    }
}

fn publish(report: &Report, args: &TargetArgs) -> anyhow::Result<()> {
    let json = serde_json::to_string(report)?;
    if let Some(path) = &args.out {
        append_line(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        println!("{json}");
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

fn append_line(path: &Path, line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    writeln!(file, "{line}")
}

async fn leave_pending(args: PendingArgs) -> anyhow::Result<()> {
    let target = Target::find(&args.target).await?;
    let started = Instant::now();
    let control = Arc::new(Control::new(args.count));
    let mut generator =
        Generator::start(&target, &args.target, Mode::Undecided, None, control, None)?;
    while generator.control.budget.load(Ordering::Relaxed) > 0 {
        generator.wait(Duration::from_millis(100)).await?;
    }
    let settle = Duration::from_secs(args.target.settle);
    generator.drain(settle).await?;
    let (acknowledged, seconds) = (generator.acknowledged(), started.elapsed().as_secs_f64());
    let seen = generator.stop()?;
    let rate = acknowledged as f64 / seconds;
    if args.target.json {
        let found = serde_json::json!({"mode": "pending", "acknowledged": acknowledged, "seconds": seconds, "per_second": rate});
        println!("{found}");
    } else {
        println!("{acknowledged} halfs left undecided in {seconds:.1} s ({rate:.0}/s)");
    }
    if let Some((code, (count, remark))) = seen.refused.first_key_value() {
        bail!("{count} halfs refused with code {code}: {remark}");
    }
    ensure!(
        acknowledged == args.count,
        "{acknowledged} of {} halfs acknowledged",
        args.count
    );
    Ok(())
}
