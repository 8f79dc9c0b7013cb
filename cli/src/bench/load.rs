//! One connection of the load generator: keeps a number of sends outstanding, ends each half as soon as its
//! acknowledgement is read, and writes everything that one read brought about with one system call.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::BytesMut;
use hdrhistogram::Histogram;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::checks;
use super::receipts::Ends;
use super::wire::{Arrived, Each, EndTemplate, Reply, Scanner, SendTemplate, is_check};

const READ_BYTES: usize = 256 * 1024;
/// Latencies over a minute count as a minute.
pub(super) const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// An arrival later than this after its time counts from its time (open loop): see [`Link::start_of`].
const TICK: Duration = Duration::from_millis(2);
/// Longest wait before a link looks at the phase again.
pub(super) const PHASE_POLL: Duration = Duration::from_millis(5);
/// Well under the 120 s after which a broker forgets a producer.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(25);

/// What all links are to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Send, measure nothing: to warm up, and while counters are read.
    Unmeasured,
    /// Send and measure.
    Measure,
    /// Send nothing new, end what is acknowledged, answer checks.
    Drain,
    /// Close.
    Stop,
}

/// Shared between the links and whoever directs them.
#[derive(Default)]
pub(super) struct Control {
    phase: AtomicU8,
    /// Sends acknowledged since the start.
    pub(super) acknowledged: AtomicU64,
    /// Sends written and neither acknowledged nor refused yet.
    pub(super) outstanding: AtomicU64,
    /// Sends that may still be made; `u64::MAX` for no limit.
    pub(super) budget: AtomicU64,
    /// The next message's number, which makes its unique key.
    next_key: AtomicU64,
}

impl Control {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget: AtomicU64::new(budget),
            ..Self::default()
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Unmeasured,
            1 => Phase::Measure,
            2 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    /// Takes up to `wanted` sends out of the budget.
    fn take(&self, wanted: u64) -> u64 {
        let budget = &self.budget;
        let before = budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(if left == u64::MAX {
                    left
                } else {
                    left.saturating_sub(wanted)
                })
            })
            .unwrap_or(0);
        before.min(wanted)
    }
}

/// When the sends of a link are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From the start to the first one, so that the links do not all send at the same moment.
    pub(super) first: Duration,
    /// Between two.
    pub(super) every: Duration,
}

/// What one link is to send.
pub(super) struct Plan {
    pub(super) address: String,
    pub(super) send: SendTemplate,
    /// Queue ids, used in turn.
    pub(super) queues: Arc<[u32]>,
    /// Where in `queues` this link begins.
    pub(super) turn: usize,
    /// How to end halfs; `None` to leave them (or the messages are plain).
    pub(super) end: Option<EndTemplate>,
    /// Where the time of each END is noted, if anybody wants to know.
    pub(super) ends: Option<Arc<Ends>>,
    /// Frame that makes this connection a member of the producer group.
    pub(super) heartbeat: Vec<u8>,
    pub(super) group: String,
    /// Sends outstanding at most.
    pub(super) depth: usize,
    /// When sends are due (open loop), or none: as fast as replies come (closed loop).
    pub(super) pace: Option<Pace>,
}

/// What one link saw.
pub(super) struct Seen {
    pub(super) latency_ns: Histogram<u64>,
    pub(super) ended: u64,
    pub(super) checks_answered: u64,
    /// Refusals by code, with the first remark of each.
    pub(super) refused: BTreeMap<i32, (u64, String)>,
}

impl Seen {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency_ns: Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?,
            ended: 0,
            checks_answered: 0,
            refused: BTreeMap::new(),
        })
    }

    pub(super) fn add(&mut self, other: &Seen) -> anyhow::Result<()> {
        self.latency_ns.add(&other.latency_ns)?;
        self.ended += other.ended;
        self.checks_answered += other.checks_answered;
        for (code, (count, remark)) in &other.refused {
            let entry = self
                .refused
                .entry(*code)
                .or_insert_with(|| (0, remark.clone()));
            entry.0 += count;
        }
        Ok(())
    }
}

struct Slot {
    start: Instant,
    key: u64,
    busy: bool,
}

struct Link {
    plan: Plan,
    control: Arc<Control>,
    scanner: Scanner,
    slots: Vec<Slot>,
    free: Vec<u32>,
    turn: usize,
    outgoing: Vec<u8>,
    written: usize,
    incoming: Vec<u8>,
    /// When the next arrival is due (open loop).
    due: Instant,
    seen: Seen,
}

/// Drives one connection until [`Phase::Stop`].
pub(super) async fn run(plan: Plan, control: Arc<Control>) -> anyhow::Result<Seen> {
    let stream = TcpStream::connect(&plan.address)
        .await
        .with_context(|| format!("cannot connect to {}", plan.address))?;
    stream.set_nodelay(true)?;
    let now = Instant::now();
    let depth = u32::try_from(plan.depth).context("depth")?;
    let mut link = Link {
        slots: (0..depth)
            .map(|_| Slot {
                start: now,
                key: 0,
                busy: false,
            })
            .collect(),
        free: (0..depth).rev().collect(),
        turn: plan.turn,
        outgoing: plan.heartbeat.clone(),
        written: 0,
        incoming: Vec::with_capacity(READ_BYTES),
        due: now + plan.pace.map_or(Duration::ZERO, |pace| pace.first),
        scanner: Scanner::new(),
        seen: Seen::new()?,
        control,
        plan,
    };
    link.drive(&stream).await?;
    Ok(link.seen)
}

impl Link {
    async fn drive(&mut self, stream: &TcpStream) -> anyhow::Result<()> {
        let mut heartbeat = Instant::now() + HEARTBEAT_EVERY;
        loop {
            let phase = self.control.phase();
            if phase == Phase::Stop {
                return Ok(());
            }
            let now = Instant::now();
            if now >= heartbeat {
                self.outgoing.extend_from_slice(&self.plan.heartbeat);
                heartbeat = now + HEARTBEAT_EVERY;
            }
            if phase < Phase::Drain {
                self.fill(now);
            }
            let progress = self.write(stream)? | self.read(stream, phase)?;
            if !progress {
                self.wait(stream, phase).await?;
            }
        }
    }

    /// Queues as many sends as depth, pace and budget allow.
    fn fill(&mut self, now: Instant) {
        let room = self.free.len() as u64;
        let wanted = match self.plan.pace {
            None => room,
            Some(pace) if self.due <= now => {
                let late = now.duration_since(self.due).as_nanos();
                let due = late / pace.every.as_nanos().max(1) + 1;
                room.min(u64::try_from(due).unwrap_or(u64::MAX))
            }
            Some(_) => 0,
        };
        if wanted == 0 {
            return;
        }
        // Counted before they are taken: nobody may find the budget used up and nothing outstanding.
        let outstanding = &self.control.outstanding;
        outstanding.fetch_add(wanted, Ordering::AcqRel);
        let count = self.control.take(wanted);
        outstanding.fetch_sub(wanted - count, Ordering::AcqRel);
        if count == 0 {
            return;
        }
        let born_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64;
        let first_key = self.control.next_key.fetch_add(count, Ordering::Relaxed);
        for key in first_key..first_key + count {
            let Some(index) = self.free.pop() else { break };
            let start = self.start_of(now);
            self.slots[index as usize] = Slot {
                start,
                key,
                busy: true,
            };
            let each = Each {
                queue_id: self.plan.queues[self.turn % self.plan.queues.len()],
                slot: index,
                born_ms,
                key,
            };
            self.plan.send.write(&mut self.outgoing, each);
            self.turn += 1;
        }
    }

    /// From when a send's latency counts. In an open loop: from when it was due, so that a broker that stalls
    /// is charged for all that could not be sent meanwhile, but for the coarseness of our own timer.
    fn start_of(&mut self, now: Instant) -> Instant {
        let Some(pace) = self.plan.pace else {
            return now;
        };
        let due = self.due;
        self.due += pace.every;
        if now.duration_since(due) < TICK {
            now
        } else {
            due
        }
    }

    fn write(&mut self, stream: &TcpStream) -> anyhow::Result<bool> {
        if self.outgoing.is_empty() {
            return Ok(false);
        }
        match stream.try_write(&self.outgoing[self.written..]) {
            Ok(count) => self.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("writing to the broker"),
        }
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
        }
        Ok(true)
    }

    fn read(&mut self, stream: &TcpStream, phase: Phase) -> anyhow::Result<bool> {
        self.incoming.reserve(READ_BYTES);
        match stream.try_read_buf(&mut self.incoming) {
            Ok(0) => anyhow::bail!("the broker closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("reading from the broker"),
        }
        let now = Instant::now();
        let incoming = std::mem::take(&mut self.incoming);
        let (mut at, mut replies, mut acknowledged) = (0, 0, 0);
        while let Some((arrived, length)) = self.scanner.take(&incoming[at..])? {
            at += length;
            match arrived {
                Arrived::Reply(reply) => {
                    if let Some(stored) = self.settle(&reply, now, phase) {
                        replies += 1;
                        acknowledged += u64::from(stored);
                    }
                }
                Arrived::Request(frame) if is_check(&frame) => self.answer(&frame)?,
                Arrived::Request(_) => {}
            }
        }
        // In this order: when nothing is outstanding, everything acknowledged has been counted.
        let control = &self.control;
        control
            .acknowledged
            .fetch_add(acknowledged, Ordering::AcqRel);
        control.outstanding.fetch_sub(replies, Ordering::AcqRel);
        self.incoming = incoming;
        self.incoming.drain(..at);
        Ok(true)
    }

    /// Takes one reply; says whether the message was stored, or `None` if it is no reply to a send.
    fn settle(&mut self, reply: &Reply, now: Instant, phase: Phase) -> Option<bool> {
        // Replies to heartbeats carry no slot.
        let slot = self.slots.get_mut(reply.slot as usize).filter(|s| s.busy)?;
        slot.busy = false;
        self.free.push(reply.slot);
        if reply.code != 0 {
            let remark = reply.remark.clone().unwrap_or_default();
            self.seen.refused.entry(reply.code).or_insert((0, remark)).0 += 1;
            return Some(false);
        }
        if phase == Phase::Measure {
            let latency = now.duration_since(slot.start).as_nanos();
            let latency = u64::try_from(latency).unwrap_or(LATENCY_MAX_NS);
            self.seen.latency_ns.saturating_record(latency);
        }
        if let Some(end) = &self.plan.end {
            end.write(&mut self.outgoing, reply.slot, slot.key, reply);
            if let Some(ends) = &self.plan.ends {
                ends.note(slot.key, now);
            }
            self.seen.ended += 1;
        }
        Some(true)
    }

    fn answer(&mut self, check: &escrow_protocol::frame::Frame) -> anyhow::Result<()> {
        if self.plan.end.is_none() {
            return Ok(());
        }
        let mut bytes = BytesMut::new();
        checks::answer(check, &self.plan.group)?.encode(&mut bytes)?;
        self.outgoing.extend_from_slice(&bytes);
        self.seen.checks_answered += 1;
        Ok(())
    }

    /// Sleeps until the socket moves, an arrival is due, or the phase is to be looked at.
    async fn wait(&self, stream: &TcpStream, phase: Phase) -> anyhow::Result<()> {
        let interest = if self.outgoing.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let until_due = match self.plan.pace {
            Some(_) if phase < Phase::Drain && !self.free.is_empty() => {
                self.due.saturating_duration_since(Instant::now())
            }
            _ => PHASE_POLL,
        };
        // Elapsed is as good as ready: the loop looks at everything again.
        if let Ok(ready) = timeout(until_due.min(PHASE_POLL), stream.ready(interest)).await {
            ready.context("waiting for the broker")?;
        }
        Ok(())
    }
}
