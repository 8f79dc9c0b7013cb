//! What a consumer sees meanwhile: how long a message takes from its END to a long-polling consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use escrow_client::ReceivedMessage;
use escrow_client::consumer::{PullConsumer, PullSettings, Subscription};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use super::load::{Control, LATENCY_MAX_NS, Phase};
use super::target::Target;
use super::wire::KEY_PREFIX_LEN;

/// Messages on their way at most; a power of two.
const ON_THE_WAY: usize = 1 << 20;

/// When the END of each message was written, by the message's number.
pub(super) struct Ends {
    start: Instant,
    after_ns: Vec<AtomicU64>,
}

impl Ends {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            after_ns: (0..ON_THE_WAY).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn note(&self, key: u64, now: Instant) {
        let after = now.duration_since(self.start).as_nanos();
        let after = u64::try_from(after).unwrap_or(u64::MAX);
        self.place(key).store(after, Ordering::Release);
    }

    fn of(&self, key: u64) -> Instant {
        self.start + Duration::from_nanos(self.place(key).load(Ordering::Acquire))
    }

    fn place(&self, key: u64) -> &AtomicU64 {
        &self.after_ns[key as usize % ON_THE_WAY]
    }
}

/// The consumer: every queue of the topic from its present end on.
pub(super) struct Receipts {
    received: Arc<AtomicU64>,
    task: JoinHandle<anyhow::Result<Histogram<u64>>>,
}

impl Receipts {
    /// Receives `Phase::Stop` as the sign to end.
    pub(super) async fn start(
        target: &Target,
        group: &str,
        ends: Arc<Ends>,
        control: Arc<Control>,
    ) -> anyhow::Result<Self> {
        let queues = &target.queues;
        let topic = Subscription::all(&queues[0].topic);
        let mut consumer = PullConsumer::assign(
            &target.client,
            group,
            topic,
            queues.iter().cloned(),
            PullSettings::default(),
        )?;
        for queue in queues {
            let end = target.client.max_offset(queue).await?;
            consumer.seek(queue, end)?;
        }
        let received = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut latency_ns = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?;
            while control.phase() < Phase::Stop {
                let batch = tokio::select! {
                    batch = consumer.next() => batch?,
                    () = tokio::time::sleep(Duration::from_millis(100)) => continue,
                };
                let now = Instant::now();
                for message in batch.messages() {
                    if control.phase() == Phase::Measure {
                        let took = now.saturating_duration_since(ends.of(number(message)?));
                        let took = u64::try_from(took.as_nanos()).unwrap_or(LATENCY_MAX_NS);
                        latency_ns.saturating_record(took);
                    }
                }
                count.fetch_add(batch.messages().len() as u64, Ordering::AcqRel);
            }
            Ok(latency_ns)
        });
        Ok(Self { received, task })
    }

    /// Waits until at least `sent` messages have come.
    pub(super) async fn all(&self, sent: u64, settle: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + settle;
        while self.received.load(Ordering::Acquire) < sent {
            ensure!(
                Instant::now() < until && !self.task.is_finished(),
                "the consumer received {} of {sent} messages",
                self.received.load(Ordering::Acquire)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// After `Phase::Stop`: what was measured.
    pub(super) async fn stop(self) -> anyhow::Result<Histogram<u64>> {
        self.task.await?
    }
}

/// The message's number within the run, out of its unique key.
fn number(message: &ReceivedMessage) -> anyhow::Result<u64> {
    let counter = message.id().get(KEY_PREFIX_LEN..);
    let number = counter.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    number.with_context(|| format!("message {} is none of ours", message.id()))
}
