//! The generator's threads: started, watched, stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytes::BytesMut;
use escrow_protocol::body::{self, HeartbeatData, ProducerData};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;

use super::TargetArgs;
use super::load::{self, Control, Pace, Phase, Plan, Seen};
use super::receipts::Ends;
use super::target::Target;
use super::wire::{EndTemplate, KEY_PREFIX_LEN, SendTemplate, Shape};

/// What the links do to each message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Transactions,
    Plain,
    /// Halfs, left undecided.
    Undecided,
}

/// The threads that drive the links.
pub(super) struct Generator {
    pub(super) control: Arc<Control>,
    threads: Vec<thread::JoinHandle<anyhow::Result<Seen>>>,
}

impl Generator {
    pub(super) fn start(
        target: &Target,
        args: &TargetArgs,
        mode: Mode,
        rate: Option<f64>,
        control: Arc<Control>,
        ends: Option<Arc<Ends>>,
    ) -> anyhow::Result<Self> {
        ensure!(
            args.connections > 0 && args.depth > 0 && args.threads > 0,
            "connections, depth and threads must be at least 1"
        );
        ensure!(
            rate.is_none_or(|rate| rate > 0.0),
            "the rate must be above 0"
        );
        let seed = fresh_seed();
        let body = filler(args.body_bytes, seed);
        let links = Links {
            target,
            args,
            mode,
            rate,
            ends,
            queues: target.queue_ids(),
            body: &body,
            seed,
        };
        let mut plans: Vec<Vec<Plan>> = (0..args.threads).map(|_| Vec::new()).collect();
        for link in 0..args.connections {
            plans[link % args.threads].push(links.plan(link)?);
        }
        let threads = plans
            .into_iter()
            .map(|plans| {
                let control = Arc::clone(&control);
                thread::spawn(move || drive(plans, &control))
            })
            .collect();
        Ok(Self { control, threads })
    }

    /// Fails as soon as a thread has ended, which none does by itself.
    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(index) = self
            .threads
            .iter()
            .position(thread::JoinHandle::is_finished)
        {
            let ended = self.threads.swap_remove(index).join();
            self.control.enter(Phase::Stop);
            return match ended {
                Ok(Err(error)) => Err(error),
                _ => bail!("a generator thread ended early"),
            };
        }
        Ok(())
    }

    pub(super) async fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(Duration::from_millis(200))).await;
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.control.acknowledged.load(Ordering::Acquire)
    }

    /// Sends nothing more, and waits until every send has its reply.
    pub(super) async fn drain(&mut self, settle: Duration) -> anyhow::Result<()> {
        self.control.enter(Phase::Drain);
        // Until the last link has noticed.
        tokio::time::sleep(10 * load::PHASE_POLL).await;
        let until = Instant::now() + settle;
        while self.control.outstanding.load(Ordering::Acquire) > 0 {
            self.check()?;
            ensure!(
                Instant::now() < until,
                "{} sends without a reply",
                self.control.outstanding.load(Ordering::Acquire)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) fn stop(self) -> anyhow::Result<Seen> {
        self.control.enter(Phase::Stop);
        let mut all = Seen::new()?;
        for thread in self.threads {
            let seen = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a generator thread panicked"))??;
            all.add(&seen)?;
        }
        Ok(all)
    }
}

fn drive(plans: Vec<Plan>, control: &Arc<Control>) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut links = tokio::task::JoinSet::new();
        for plan in plans {
            links.spawn_local(load::run(plan, Arc::clone(control)));
        }
        let mut all = Seen::new()?;
        while let Some(link) = links.join_next().await {
            all.add(&link??)?;
        }
        Ok(all)
    })
}

/// What the plans of all links are made from.
struct Links<'a> {
    target: &'a Target,
    args: &'a TargetArgs,
    mode: Mode,
    /// Messages a second over all links.
    rate: Option<f64>,
    ends: Option<Arc<Ends>>,
    queues: Arc<[u32]>,
    body: &'a [u8],
    seed: u64,
}

impl Links<'_> {
    fn plan(&self, link: usize) -> anyhow::Result<Plan> {
        let Links { target, args, .. } = self;
        let key_prefix = format!("{:0width$X}", self.seed, width = KEY_PREFIX_LEN);
        let shape = Shape {
            group: &args.group,
            topic: &args.topic,
            broker_name: &target.broker_name,
            transactional: self.mode != Mode::Plain,
            key_prefix: &key_prefix,
            body: self.body,
        };
        let client_id = format!("{}@bench-{:x}-{link}", target.client.id(), self.seed);
        Ok(Plan {
            address: target.address.clone(),
            send: SendTemplate::new(&shape),
            queues: Arc::clone(&self.queues),
            // Each link begins with another queue, so that all of them grow evenly.
            turn: link,
            end: (self.mode == Mode::Transactions).then(|| EndTemplate::new(&shape)),
            ends: self.ends.clone(),
            heartbeat: heartbeat(&args.group, client_id)?,
            group: args.group.clone(),
            depth: args.depth,
            pace: self.rate.map(|rate| self.pace(link, rate)),
        })
    }

    fn pace(&self, link: usize, rate: f64) -> Pace {
        Pace {
            first: Duration::from_secs_f64(link as f64 / rate),
            every: Duration::from_secs_f64(self.args.connections as f64 / rate),
        }
    }
}

fn heartbeat(group: &str, client_id: String) -> anyhow::Result<Vec<u8>> {
    let data = HeartbeatData {
        client_id,
        producer_data_set: vec![ProducerData {
            group_name: group.to_owned(),
        }],
        ..HeartbeatData::default()
    };
    let mut bytes = BytesMut::new();
    let frame = Frame::request(request::HEART_BEAT).with_body(body::encode(&data)?);
    frame.encode(&mut bytes)?;
    Ok(bytes.to_vec())
}

/// Differs from run to run, so that no message looks like a repetition of an earlier run's.
fn fresh_seed() -> u64 {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that do not compress (xorshift).
fn filler(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push((state >> 32) as u8);
    }
    bytes
}
