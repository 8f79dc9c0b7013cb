//! One connection to one server, kept up: many requests at once, told apart by `opaque`.
//!
//! The first request dials; from then on a lost connection is dialled again with growing pauses, so that a
//! broker can reach its producers (checks come from the broker). Frames that wait are written together; some wait on purpose,
//! since what travels together costs everybody on the way less.
//! What the frames mean is the business of the callers and of the [`Inbound`] hook.

mod connector;
mod driver;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use escrow_protocol::frame::Frame;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};
pub use connector::{Connecting, Connector, Tcp, Wire};
use driver::Driver;

/// Frames that may wait for the writer; a full queue makes callers wait.
const WRITE_QUEUE: usize = 1024;
/// Limits and times of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// How long one attempt to connect may take. Default 3 s, as the Java client.
    pub connect_timeout: Duration,
    /// Pause after the first failed attempt; doubled up to [`Self::backoff_max`]. Default 50 ms.
    pub backoff_min: Duration,
    /// Longest pause between attempts. Default 5 s.
    pub backoff_max: Duration,
    /// Requests that may wait for a reply at once; more wait for room. Default 1024.
    pub in_flight_max: usize,
    /// How a byte stream to an address is made. Default [`Tcp`].
    pub connector: Arc<dyn Connector>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            in_flight_max: 1024,
            connector: Arc::new(Tcp),
        }
    }
}

/// What the owner of a connection does with what the server starts.
///
/// Both are called on the connection's own task and must not block; longer work is spawned.
pub trait Inbound: Send + Sync + 'static {
    /// A connection stands, for the first time or again.
    fn connected(&self, connection: &Connection);
    /// The server sent a request.
    fn request(&self, connection: &Connection, request: Frame);
}

/// An [`Inbound`] for connections on which the server never asks anything (name servers).
#[derive(Debug)]
pub struct IgnoreInbound;

impl Inbound for IgnoreInbound {
    fn connected(&self, _: &Connection) {}
    fn request(&self, _: &Connection, _: Frame) {}
}

/// A handle to one kept-up connection; clones share it, the last one dropped closes it.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    outgoing: mpsc::Sender<Outgoing>,
    state: watch::Receiver<State>,
    demand: Arc<Notify>,
    room: Semaphore,
    pending: Arc<Pending>,
    opaque: AtomicI32,
}

enum Outgoing {
    Frame {
        frame: Frame,
        /// Until then it waits for others to leave with; with none it leaves at once.
        leave_by: Option<Instant>,
    },
    /// Write what came before, then close for good.
    Close,
}

#[derive(Clone)]
enum State {
    /// Not (or no longer) connected; `failures` counts attempts that failed so far.
    Down {
        failures: u64,
        reason: Arc<str>,
    },
    Up,
    Closed,
}

/// Requests that wait for a reply.
#[derive(Default)]
struct Pending {
    waiters: Mutex<HashMap<i32, oneshot::Sender<Result<Frame>>>>,
}

impl Pending {
    fn complete(&self, reply: Frame) {
        let waiter = self.waiters.lock().remove(&reply.opaque);
        match waiter {
            // The caller may have given up in this very moment: then nobody wants the reply.
            Some(waiter) => drop(waiter.send(Ok(reply))),
            None => tracing::debug!(
                opaque = reply.opaque,
                code = reply.code,
                "late reply dropped"
            ),
        }
    }

    fn fail(&self, frame: &Frame, error: Error) {
        if frame.is_response() {
            return;
        }
        if let Some(waiter) = self.waiters.lock().remove(&frame.opaque) {
            drop(waiter.send(Err(error)));
        }
    }

    fn fail_all(&self, address: &str) {
        let waiters = std::mem::take(&mut *self.waiters.lock());
        for waiter in waiters.into_values() {
            let lost = Error::Lost {
                address: address.to_owned(),
            };
            drop(waiter.send(Err(lost)));
        }
    }
}

/// Takes the waiter out again when the caller gives up first.
struct Waiting<'a> {
    pending: &'a Pending,
    opaque: i32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.waiters.lock().remove(&self.opaque);
    }
}

impl Connection {
    /// A handle to `address`; dials at the first request. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(address: String, settings: ConnectionSettings, inbound: Arc<dyn Inbound>) -> Self {
        let (outgoing, frames) = mpsc::channel(WRITE_QUEUE);
        let (state_out, state) = watch::channel(State::Down {
            failures: 0,
            reason: Arc::from("not connected yet"),
        });
        let shared = Arc::new(Shared {
            address: address.clone(),
            outgoing,
            state,
            demand: Arc::new(Notify::new()),
            room: Semaphore::new(settings.in_flight_max),
            pending: Arc::new(Pending::default()),
            opaque: AtomicI32::new(1),
        });
        let driver = Driver {
            address,
            settings,
            inbound,
            frames,
            state: state_out,
            pending: Arc::clone(&shared.pending),
            handle: Arc::downgrade(&shared),
        };
        tokio::spawn(driver.run(Arc::clone(&shared.demand)));
        Self { shared }
    }

    /// The server's address as given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether the connection stands at present.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(*self.shared.state.borrow(), State::Up)
    }

    /// Sends `request` and waits for its reply, whatever its code.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Busy`] when nothing was sent, [`Error::Lost`] and [`Error::Timeout`] when the
    /// server may have acted.
    pub async fn request(&self, request: Frame, within: Duration) -> Result<Frame> {
        self.request_patiently(request, within, Duration::ZERO)
            .await
    }

    /// As [`Connection::request`], for a request that can wait: it leaves with the next that cannot, or after `patience`
    /// (which `within` includes) with all that have come meanwhile. What travels together costs one system call, one
    /// wake-up of the server and, at a broker, one sync.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub async fn request_patiently(
        &self,
        mut request: Frame,
        within: Duration,
        patience: Duration,
    ) -> Result<Frame> {
        let shared = &*self.shared;
        let now = Instant::now();
        let deadline = now + within;
        self.ready(deadline).await?;
        let _room = timeout_at(deadline, shared.room.acquire())
            .await
            .map_err(|_| self.busy(within))?
            .map_err(|_| Error::Closed)?;
        request.opaque = shared.opaque.fetch_add(1, Ordering::Relaxed);
        let (waiter, reply) = oneshot::channel();
        shared.pending.waiters.lock().insert(request.opaque, waiter);
        let _waiting = Waiting {
            pending: &shared.pending,
            opaque: request.opaque,
        };
        let leave_by = (!patience.is_zero()).then(|| now + patience);
        self.enqueue(request, leave_by, deadline, within).await?;
        match timeout_at(deadline, reply).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Timeout {
                address: shared.address.clone(),
                after: within,
            }),
        }
    }

    /// Sends `request` with the oneway bit: no reply will come, and none is waited for.
    ///
    /// # Errors
    /// [`Error::Connect`] or [`Error::Busy`] when it could not be handed to the connection. `Ok` does not mean that
    /// the server has it.
    pub async fn oneway(&self, mut request: Frame, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        self.ready(deadline).await?;
        request.opaque = self.shared.opaque.fetch_add(1, Ordering::Relaxed);
        self.enqueue(request.oneway(), None, deadline, within).await
    }

    /// Answers a request of the server. `reply` already carries the request's `opaque`.
    pub(crate) fn reply(&self, reply: Frame) {
        // A full queue means the server does not read: it cannot be waiting for this reply.
        let reply = Outgoing::Frame {
            frame: reply,
            leave_by: None,
        };
        if self.shared.outgoing.try_send(reply).is_err() {
            tracing::debug!(address = %self.shared.address, "reply dropped, connection busy or closed");
        }
    }

    /// Writes what was handed over before and closes for good; returns when that is done.
    pub async fn close(&self) {
        let mut state = self.shared.state.clone();
        if self.shared.outgoing.send(Outgoing::Close).await.is_err() {
            return;
        }
        // An error means that the driver is gone, which is as closed as can be.
        let _ = state.wait_for(|s| matches!(s, State::Closed)).await;
    }

    async fn enqueue(
        &self,
        frame: Frame,
        leave_by: Option<Instant>,
        deadline: Instant,
        within: Duration,
    ) -> Result<()> {
        let frame = Outgoing::Frame { frame, leave_by };
        timeout_at(deadline, self.shared.outgoing.send(frame))
            .await
            .map_err(|_| self.busy(within))?
            .map_err(|_| Error::Closed)
    }

    /// Waits until the connection stands, or until an attempt begun after now has failed.
    async fn ready(&self, deadline: Instant) -> Result<()> {
        let mut state = self.shared.state.clone();
        let seen = match &*state.borrow_and_update() {
            State::Up => return Ok(()),
            State::Closed => return Err(Error::Closed),
            State::Down { failures, .. } => *failures,
        };
        self.shared.demand.notify_one();
        let moved = |s: &State| !matches!(s, State::Down { failures, .. } if *failures <= seen);
        let outcome = match timeout_at(deadline, state.wait_for(moved)).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => State::Closed,
            Err(_) => self.shared.state.borrow().clone(),
        };
        match outcome {
            State::Up => Ok(()),
            State::Closed => Err(Error::Closed),
            State::Down { reason, .. } => Err(Error::Connect {
                address: self.shared.address.clone(),
                reason: reason.to_string(),
            }),
        }
    }

    fn busy(&self, after: Duration) -> Error {
        Error::Busy {
            address: self.shared.address.clone(),
            after,
        }
    }
}
