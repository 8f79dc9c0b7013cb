//! The task behind a connection: dials, reads and writes, and dials again.

use std::pin::pin;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use escrow_protocol::frame::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout, timeout_at};

use super::{Connection, ConnectionSettings, Inbound, Outgoing, Pending, Shared, State, Wire};
use crate::error::Error;

/// Frames written by one system call at most.
const WRITE_BATCH: usize = 256;
/// First size of the read buffer; it grows to the frame at hand, never over the frame limit.
const READ_BUFFER: usize = 64 * 1024;

/// The task behind a [`Connection`].
pub(super) struct Driver {
    pub(super) address: String,
    pub(super) settings: ConnectionSettings,
    pub(super) inbound: Arc<dyn Inbound>,
    pub(super) frames: mpsc::Receiver<Outgoing>,
    pub(super) state: watch::Sender<State>,
    pub(super) pending: Arc<Pending>,
    /// Weak, so that dropping the last handle ends the task.
    pub(super) handle: Weak<Shared>,
}

/// Why one connection ended.
enum Ended {
    /// By the other side or an error.
    Lost(String),
    /// By our own wish.
    Closed,
}

impl Driver {
    pub(super) async fn run(mut self, demand: Arc<Notify>) {
        let mut failures = 0u64;
        let mut pause = self.settings.backoff_min;
        let mut wanted = tokio::select! {
            () = demand.notified() => true,
            // Closed, or dropped by everybody, before the first request.
            _ = self.frames.recv() => false,
        };
        while wanted {
            let reason = match self.dial().await {
                Ok(wire) => {
                    pause = self.settings.backoff_min;
                    match self.converse(wire).await {
                        Ended::Closed => break,
                        Ended::Lost(reason) => reason,
                    }
                }
                Err(reason) => {
                    failures += 1;
                    reason
                }
            };
            tracing::debug!(address = %self.address, %reason, "not connected");
            self.down(failures, &reason);
            wanted = !self.closes_within(pause).await;
            pause = (pause * 2).min(self.settings.backoff_max);
        }
        self.state.send_replace(State::Closed);
        self.pending.fail_all(&self.address);
    }

    async fn dial(&self) -> std::result::Result<Wire, String> {
        let within = self.settings.connect_timeout;
        match timeout(within, self.settings.connector.connect(&self.address)).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }

    async fn converse(&mut self, wire: Wire) -> Ended {
        let Wire {
            mut reader,
            mut writer,
        } = wire;
        self.state.send_replace(State::Up);
        if let Some(shared) = self.handle.upgrade() {
            self.inbound.connected(&Connection { shared });
        }
        let inbox = Inbox {
            pending: &self.pending,
            inbound: &*self.inbound,
            handle: &self.handle,
        };
        // Both directions at once: a peer that stops reading must not stop us from reading.
        tokio::select! {
            ended = inbox.read_all(&mut reader) => ended,
            ended = write_all(&mut self.frames, &self.pending, &mut writer) => ended,
        }
    }

    /// Fails everything that waits: what was written may have been done, what was not will not be.
    fn down(&mut self, failures: u64, reason: &str) {
        self.state.send_replace(State::Down {
            failures,
            reason: Arc::from(reason),
        });
        let mut closing = false;
        while let Ok(frame) = self.frames.try_recv() {
            closing |= matches!(frame, Outgoing::Close);
        }
        if closing {
            self.frames.close();
        }
        self.pending.fail_all(&self.address);
    }

    /// Waits between two attempts; true when the connection is no longer wanted.
    async fn closes_within(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match timeout_at(until, self.frames.recv()).await {
                Err(_) => return false,
                Ok(None | Some(Outgoing::Close)) => return true,
                // Handed over while the connection went down: its caller may have missed the news.
                Ok(Some(Outgoing::Frame { frame, .. })) => {
                    let lost = Error::Lost {
                        address: self.address.clone(),
                    };
                    self.pending.fail(&frame, lost);
                }
            }
        }
    }
}

struct Inbox<'a> {
    pending: &'a Pending,
    inbound: &'a dyn Inbound,
    handle: &'a Weak<Shared>,
}

impl Inbox<'_> {
    async fn read_all(&self, reader: &mut (impl AsyncReadExt + Unpin)) -> Ended {
        let mut buffer = BytesMut::with_capacity(READ_BUFFER);
        loop {
            buffer.reserve(READ_BUFFER / 4);
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return Ended::Lost("closed by the server".to_owned()),
                Ok(_) => {}
                Err(error) => return Ended::Lost(error.to_string()),
            }
            loop {
                match Frame::decode(&mut buffer) {
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => break,
                    Err(error) => return Ended::Lost(format!("unreadable frame: {error}")),
                }
            }
        }
    }

    fn take(&self, frame: Frame) {
        if frame.is_response() {
            self.pending.complete(frame);
        } else if let Some(shared) = self.handle.upgrade() {
            self.inbound.request(&Connection { shared }, frame);
        }
    }
}

async fn write_all(
    frames: &mut mpsc::Receiver<Outgoing>,
    pending: &Pending,
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> Ended {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    let mut bytes = BytesMut::with_capacity(READ_BUFFER);
    loop {
        let mut closing = gather(frames, &mut batch).await == 0;
        for outgoing in batch.drain(..) {
            match outgoing {
                Outgoing::Frame { frame, .. } => {
                    if let Err(error) = frame.encode(&mut bytes) {
                        pending.fail(&frame, Error::Encode(error));
                    }
                }
                Outgoing::Close => closing = true,
            }
        }
        if let Err(error) = writer.write_all(&bytes).await {
            return Ended::Lost(error.to_string());
        }
        bytes.clear();
        if closing {
            // The peer learns of the end by the closed socket in any case.
            let _ = writer.shutdown().await;
            return Ended::Closed;
        }
    }
}

/// Waits for frames, and then for more as long as all that are there can wait. Answers how many there are: none once nobody
/// can hand over any.
async fn gather(frames: &mut mpsc::Receiver<Outgoing>, batch: &mut Vec<Outgoing>) -> usize {
    frames.recv_many(batch, WRITE_BATCH).await;
    let Some(first) = leave_by(batch) else {
        return batch.len();
    };
    let mut wait = pin!(sleep_until(first));
    while batch.len() < WRITE_BATCH {
        let (known, room) = (batch.len(), WRITE_BATCH - batch.len());
        tokio::select! {
            biased;
            more = frames.recv_many(batch, room) => {
                match leave_by(&batch[known..]) {
                    Some(by) if more > 0 => {
                        if by < wait.deadline() {
                            wait.as_mut().reset(by);
                        }
                    }
                    _ => break,
                }
            }
            () = &mut wait => break,
        }
    }
    batch.len()
}

/// When the first of `batch` has to leave; none if that is at once.
fn leave_by(batch: &[Outgoing]) -> Option<Instant> {
    let times = batch.iter().map(|outgoing| match outgoing {
        Outgoing::Frame { leave_by, .. } => *leave_by,
        Outgoing::Close => None,
    });
    times.min().flatten()
}
