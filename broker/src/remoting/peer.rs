//! One connected client, as everybody but its connection's own tasks sees it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use escrow_coordinator::ConnectionId;
use escrow_protocol::frame::Frame;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::answer::ReplyTo;
use super::outbox::{Outbox, Outgoing};
use crate::clock::Clock;
use crate::log_thread::CREDIT;
use crate::rpc_latency::{Asked, Fate, RpcLatency};

/// Pulls of one connection that read at the same time.
const READING_MAX: usize = 16;

/// Requests of one connection that are worked on at the same time, those that only wait for a
/// message included; beyond it the connection is not read.
const WORK_MAX: usize = 32 * 1024;

/// Counts the requests of a connection that have become tasks.
#[derive(Default)]
pub(crate) struct Work {
    tasks: AtomicUsize,
    less: Notify,
}

impl Work {
    pub(crate) fn begin(&self) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        if self.tasks.fetch_sub(1, Ordering::Relaxed) >= WORK_MAX {
            self.less.notify_waiters();
        }
    }

    /// Waits until a further request may be taken up.
    pub(crate) async fn room(&self) {
        loop {
            let less = self.less.notified();
            if self.tasks.load(Ordering::Relaxed) < WORK_MAX {
                return;
            }
            less.await;
        }
    }
}

/// One connected client.
pub(crate) struct Peer {
    /// Never reused in one run of the broker.
    pub(crate) connection: ConnectionId,
    pub(crate) address: SocketAddr,
    /// The same as text.
    pub(crate) address_text: Arc<str>,
    pub(crate) outbox: Outbox,
    /// Numbers the requests that the server itself sends on this connection.
    opaque: AtomicI32,
    /// The room in the log thread's queue that this connection may hold.
    pub(crate) credit: Arc<Semaphore>,
    /// Pulls of this connection that read at the same time; each can make a large answer.
    pub(crate) reading: Semaphore,
    pub(crate) work: Work,
    /// Of all connections.
    pub(crate) latency: Arc<RpcLatency>,
    /// Pulls of this connection that wait for a message.
    pub(crate) held: AtomicUsize,
    /// Milliseconds of this connection at which something was written to it last.
    written_ms: AtomicU64,
    opened: Instant,
    client_id: Mutex<Arc<str>>,
}

impl Peer {
    pub(crate) fn new(
        connection: ConnectionId,
        address: SocketAddr,
        latency: Arc<RpcLatency>,
    ) -> Peer {
        Peer {
            connection,
            address,
            address_text: address.to_string().into(),
            outbox: Outbox::default(),
            opaque: AtomicI32::new(0),
            credit: Arc::new(Semaphore::new(CREDIT as usize)),
            reading: Semaphore::new(READING_MAX),
            work: Work::default(),
            latency,
            held: AtomicUsize::new(0),
            written_ms: AtomicU64::new(0),
            opened: Instant::now(),
            client_id: Mutex::new(Arc::from("")),
        }
    }

    /// The client id of the peer's heartbeats; empty before the first.
    pub(crate) fn client_id(&self) -> Arc<str> {
        Arc::clone(&self.client_id.lock())
    }

    /// Remembers the client id of a heartbeat.
    pub(crate) fn identify(&self, client_id: &str) {
        let mut known = self.client_id.lock();
        if &**known != client_id {
            *known = client_id.into();
        }
    }

    pub(crate) fn wrote(&self) {
        let ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.written_ms.store(ms, Ordering::Relaxed);
    }

    /// When something was written to this peer last; when it came, if nothing was yet.
    pub(crate) fn last_written(&self) -> Instant {
        self.opened + Duration::from_millis(self.written_ms.load(Ordering::Relaxed))
    }

    /// Queues the answer to a request, unless none is wanted.
    pub(crate) fn answer(&self, reply: ReplyTo, answer: Frame) {
        if reply.head.oneway {
            self.unanswered(reply.asked, answer.code);
        } else {
            self.outbox.push([Outgoing::Reply(answer, reply.asked)]);
        }
    }

    /// A request is done that wants no answer; it would have been this one.
    pub(crate) fn unanswered(&self, asked: Asked, code: i32) {
        let now_ms = self.latency.now_ms();
        self.latency.record(asked, code, Fate::Oneway, now_ms);
    }

    /// Queues a request of the server's own (39, 40), numbered and marked as oneway.
    /// False if the connection is closed.
    pub(crate) fn notify(&self, mut frame: Frame) -> bool {
        frame.opaque = self.opaque.fetch_add(1, Ordering::Relaxed);
        self.outbox.push([Outgoing::Frame(frame.oneway())])
    }
}

/// All connections of the broker listener.
pub(crate) struct Connections {
    pub(crate) latency: Arc<RpcLatency>,
    next: AtomicU64,
    open: Mutex<HashMap<ConnectionId, Arc<Peer>>>,
}

impl Connections {
    pub(crate) fn new(clock: Clock) -> Connections {
        Connections {
            latency: Arc::new(RpcLatency::new(clock)),
            next: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn open(&self, address: SocketAddr) -> Arc<Peer> {
        // An IPv4 client of a socket for both is an IPv4 client: its address goes into records.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let connection = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let peer = Arc::new(Peer::new(connection, address, Arc::clone(&self.latency)));
        self.open.lock().insert(connection, Arc::clone(&peer));
        peer
    }

    pub(crate) fn get(&self, connection: ConnectionId) -> Option<Arc<Peer>> {
        self.open.lock().get(&connection).cloned()
    }

    pub(crate) fn close(&self, connection: ConnectionId) {
        if let Some(peer) = self.open.lock().remove(&connection) {
            peer.outbox.close();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_is_one_whatever_socket_it_came_by() {
        let connections = Connections::new(Clock::new());
        let mapped = "[::ffff:10.0.0.7]:4711".parse().expect("an address");
        let peer = connections.open(mapped);
        assert_eq!(&*peer.address_text, "10.0.0.7:4711");
        assert!(connections.get(peer.connection).is_some());
        connections.close(peer.connection);
        assert!(peer.outbox.is_closed() && connections.count() == 0);
    }

    #[tokio::test]
    async fn too_much_work_keeps_the_connection_from_being_read() {
        use futures_util::FutureExt;
        let work = Work::default();
        (0..WORK_MAX).for_each(|_| work.begin());
        assert!(work.room().now_or_never().is_none());
        work.end();
        assert!(work.room().now_or_never().is_some());
    }
}
