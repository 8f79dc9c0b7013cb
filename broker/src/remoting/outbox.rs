//! What waits to be written to one peer.
//!
//! Whoever has answers pushes them in one go and goes on; the connection's writer task takes all
//! that is there, encodes it and writes it at once. Nobody but that task waits for the peer: a
//! peer that does not read is dropped once `LIMIT` bytes wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::answer::{Answer, Refusal, RequestHead};
use crate::rpc_latency::Asked;

/// Above this many waiting bytes the connection's own requests are not read.
pub(crate) const PAUSE: usize = 4 * 1024 * 1024;

/// Above this many waiting bytes the connection is given up.
pub(crate) const LIMIT: usize = 64 * 1024 * 1024;

/// A frame, or an answer of the log thread whose frame the writer task makes: the log thread is
/// one for all, the writers are many.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A request of the server's own.
    Frame(Frame),
    Reply(Frame, Asked),
    Answer(Answer),
}

impl Outgoing {
    /// About the bytes on the wire.
    fn size(&self) -> usize {
        match self {
            Outgoing::Frame(frame) | Outgoing::Reply(frame, _) => 256 + frame.body.len(),
            Outgoing::Answer(_) => 256,
        }
    }

    /// Tells what it answers, and with which code.
    fn encode(self, into: &mut BytesMut) -> Option<(Asked, i32)> {
        let (frame, asked) = match self {
            Outgoing::Frame(frame) => (frame, None),
            Outgoing::Reply(frame, asked) => (frame, Some(asked)),
            Outgoing::Answer(answer) => {
                let asked = answer.asked;
                (answer.into_frame(), Some(asked))
            }
        };
        if let Err(error) = frame.encode(into) {
            // Whoever asked must not wait for ever for what cannot be sent.
            let short = RequestHead::of(&frame)
                .refuse(Refusal::new(response::SYSTEM_ERROR, error.to_string()));
            if let Err(error) = short.encode(into) {
                tracing::error!(%error, "answer cannot be sent");
            }
        }
        asked.map(|asked| (asked, frame.code))
    }
}

#[derive(Default)]
struct Waiting {
    queue: Vec<Outgoing>,
    closed: bool,
    overflowed: bool,
}

#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    bytes: AtomicUsize,
    filled: Notify,
    drained: Notify,
    overflowed: Notify,
}

impl Outbox {
    /// Queues what is given, in order. False if the connection is closed or is closed by this.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Outgoing>) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return false;
        }
        let mut added = 0;
        for item in items {
            added += item.size();
            waiting.queue.push(item);
        }
        let total = self.bytes.fetch_add(added, Ordering::Relaxed) + added;
        if total > LIMIT {
            waiting.closed = true;
            waiting.overflowed = true;
            waiting.queue = Vec::new();
            self.overflowed.notify_waiters();
            self.drained.notify_waiters();
        }
        let open = !waiting.closed;
        drop(waiting);
        self.filled.notify_one();
        open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    pub(crate) fn has_overflowed(&self) -> bool {
        self.waiting.lock().overflowed
    }

    /// Waits until the peer has been given up because it does not read.
    pub(crate) async fn overflow(&self) {
        loop {
            let overflowed = self.overflowed.notified();
            if self.has_overflowed() {
                return;
            }
            overflowed.await;
        }
    }

    /// Bytes that wait or are being written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the peer has read enough for its requests to be read again.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.bytes() <= PAUSE || self.waiting.lock().closed {
                return;
            }
            drained.await;
        }
    }

    /// No more pushes; what waits is still written.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Waits for something to write and encodes all of it into `buffer`. `None` once closed and
    /// empty. The bytes count as waiting until [`Outbox::written`] is called with the number.
    /// `answered` gets what the bytes answer, and with which codes.
    pub(crate) async fn take(
        &self,
        buffer: &mut BytesMut,
        answered: &mut Vec<(Asked, i32)>,
    ) -> Option<usize> {
        loop {
            let filled = self.filled.notified();
            let (items, closed) = {
                let mut waiting = self.waiting.lock();
                (std::mem::take(&mut waiting.queue), waiting.closed)
            };
            if !items.is_empty() {
                let mut taken = 0;
                for item in items {
                    taken += item.size();
                    answered.extend(item.encode(buffer));
                }
                return Some(taken);
            }
            if closed {
                return None;
            }
            filled.await;
        }
    }

    pub(crate) fn written(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > PAUSE {
            self.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: usize) -> Outgoing {
        let head = RequestHead::of(&Frame::request(0));
        Outgoing::Frame(head.answer(response::SUCCESS).with_body(vec![0; body]))
    }

    #[tokio::test]
    async fn all_that_waits_is_written_at_once() {
        let outbox = Outbox::default();
        assert!(outbox.push([frame(10), frame(20)]));
        assert!(outbox.push([frame(30)]));
        let mut buffer = BytesMut::new();
        let taken = outbox
            .take(&mut buffer, &mut Vec::new())
            .await
            .expect("it is open");
        outbox.written(taken);
        assert_eq!(outbox.bytes(), 0);
        let mut bodies = Vec::new();
        while let Some(frame) = Frame::decode(&mut buffer).expect("whole frames") {
            bodies.push(frame.body.len());
        }
        assert_eq!(bodies, [10, 20, 30]);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let outbox = Outbox::default();
        while outbox.push([frame(1 << 20)]) {
            assert!(outbox.bytes() <= LIMIT);
        }
        outbox.overflow().await;
        assert!(outbox.is_closed());
        assert_eq!(
            outbox.take(&mut BytesMut::new(), &mut Vec::new()).await,
            None
        );
    }

    #[tokio::test]
    async fn what_waits_at_the_close_is_still_written() {
        let outbox = Outbox::default();
        outbox.push([frame(1)]);
        outbox.close();
        assert!(!outbox.push([frame(1)]));
        let mut buffer = BytesMut::new();
        assert!(outbox.take(&mut buffer, &mut Vec::new()).await.is_some());
        assert_eq!(outbox.take(&mut buffer, &mut Vec::new()).await, None);
    }
}
