//! A closed loop: so many workers, each placing one order after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::ways::Way;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    /// Orders placed, and their messages on their way for good, per second; the time until the last message was out counts.
    orders_per_second: f64,
    /// From the call to its return, in µs.
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// How long messages were still waiting to be sent after the last order, in ms.
    drain_ms: u128,
    /// What all processes of the machine and its kernel have used an order, in µs: database, broker and this program.
    cpu_us: u64,
}

/// Runs the load.
pub(crate) async fn run(
    way: impl Way,
    workers: u32,
    warmup: Duration,
    measured: Duration,
) -> anyhow::Result<Found> {
    let way = Arc::new(way);
    let next = Arc::new(AtomicU64::new(0));
    // Several runs share one table.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let (counting, over) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (way, next) = (Arc::clone(&way), Arc::clone(&next));
        let (counting, over) = (Arc::clone(&counting), Arc::clone(&over));
        tasks.spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            while !over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                way.place(&format!("{run}-{number:09}")).await?;
                if counting.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
                    latencies.record(u64::try_from(began.elapsed().as_micros())?)?;
                }
            }
            anyhow::Ok(latencies)
        });
    }
    tokio::time::sleep(warmup).await;
    let (began, used) = (Instant::now(), cpu_used()?);
    counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(measured).await;
    over.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(latencies) = tasks.join_next().await {
        all.add(latencies??)?;
    }
    way.drain().await?;
    let drain = ended.elapsed();
    let used = cpu_used()? - used;
    Ok(Found {
        orders_per_second: all.len() as f64 / began.elapsed().as_secs_f64(),
        cpu_us: u64::try_from(used.as_micros())? / all.len().max(1),
        p50_us: all.value_at_quantile(0.5),
        p99_us: all.value_at_quantile(0.99),
        max_us: all.max(),
        drain_ms: drain.as_millis(),
    })
}

/// CPU time that the machine has used since it was started.
fn cpu_used() -> anyhow::Result<Duration> {
    // In hundredths of a second.
    let stat = std::fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = all
        .skip(1)
        .take(7)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [user, nice, system, _idle, _waiting, irq, softirq] = ticks[..] else {
        anyhow::bail!("cannot read /proc/stat");
    };
    Ok(Duration::from_millis(
        10 * (user + nice + system + irq + softirq),
    ))
}
