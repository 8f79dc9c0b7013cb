//! One client connection: a task that reads and a task that writes.
//!
//! The reader decodes all whole frames that one read brought and hands what concerns the log over
//! in one batch. It reads on only when that batch found room and the peer takes its answers.
//! Framing errors close the connection, since nothing after them can be trusted.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use escrow_protocol::frame::{Frame, FrameError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::dispatch::{Batch, Role, dispatch};
use super::peer::Peer;
use crate::rpc_latency::Fate;
use crate::shared::{Phase, Shared};

/// A connection without any traffic for this long is closed, as stock brokers do.
const IDLE: Duration = Duration::from_secs(120);

/// Bytes asked for in a first read; doubled while reads fill it.
const READ_MIN: usize = 8 * 1024;
const READ_MAX: usize = 256 * 1024;

/// How long an ending connection waits for its last answers to be made and to be taken.
const LINGER: Duration = Duration::from_secs(1);

/// A writer buffer larger than this is not kept.
const WRITE_KEEP: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("the peer closed it inside a frame, {0} bytes of which had come")]
    InsideFrame(usize),
    #[error("no traffic for {} s", IDLE.as_secs())]
    Idle,
    #[error("the peer does not read its answers")]
    SlowPeer,
    #[error("given up by the broker, for its client has been silent for too long")]
    GivenUp,
    #[error("broker shutting down")]
    Shutdown,
    #[error("frame not understood: {0}")]
    Frame(#[from] FrameError),
    #[error("i/o error: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves one connection until it ends. The caller has registered `peer` and forgets it after.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    role: Role,
    stream: tokio::net::TcpStream,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %peer.address, %error, "cannot set TCP_NODELAY");
    }
    let (input, output) = stream.into_split();
    let mut writer = tokio::spawn(write_all(Arc::clone(peer), output));
    let (ended, writer_is_done) = tokio::select! {
        ended = read_all(shared, peer, role, input) => (ended, false),
        written = &mut writer => (writer_ended(peer, written), true),
    };
    report(peer, &ended);
    match ended {
        // Answers of requests still being worked on are written before the socket closes.
        Ended::Shutdown => shared.phase.reached(Phase::Closing).await,
        // Whole requests that came before are still answered, if the peer listens.
        Ended::ByPeer | Ended::InsideFrame(_) | Ended::Idle | Ended::Frame(_) => {
            let _ = timeout(LINGER, shared.log.barrier()).await;
        }
        Ended::SlowPeer | Ended::GivenUp | Ended::Io(_) => {}
    }
    peer.outbox.close();
    // A task that has been waited for to its end must not be waited for again.
    if !writer_is_done && timeout(LINGER, &mut writer).await.is_err() {
        writer.abort();
    }
}

fn writer_ended(
    peer: &Peer,
    written: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> Ended {
    match written {
        Ok(Err(error)) => Ended::Io(error),
        _ if peer.outbox.has_overflowed() => Ended::SlowPeer,
        _ => Ended::GivenUp,
    }
}

fn report(peer: &Peer, ended: &Ended) {
    match ended {
        Ended::Frame(_) | Ended::SlowPeer | Ended::InsideFrame(_) => {
            tracing::warn!(peer = %peer.address, reason = %ended, "connection closed");
        }
        _ => tracing::debug!(peer = %peer.address, reason = %ended, "connection closed"),
    }
}

async fn read_all(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    role: Role,
    mut input: OwnedReadHalf,
) -> Ended {
    let mut buffer = BytesMut::new();
    let mut ask = READ_MIN;
    loop {
        let read = tokio::select! {
            read = read_some(peer, &mut input, &mut buffer, ask) => read,
            () = shared.phase.reached(Phase::Draining) => return Ended::Shutdown,
        };
        let read = match read {
            Ok(read) => read,
            Err(ended) => return ended,
        };
        ask = next_ask(ask, read);
        let mut batch = Batch::new(peer.latency.now_ms());
        let decoded = decode_all(&mut buffer, |frame| {
            dispatch(shared, peer, role, frame, &mut batch);
        });
        batch.hand_over(shared, peer).await;
        if let Err(error) = decoded {
            return Ended::Frame(error);
        }
        let room = async {
            peer.outbox.room().await;
            peer.work.room().await;
        };
        tokio::select! {
            () = room => {}
            () = shared.phase.reached(Phase::Draining) => return Ended::Shutdown,
        }
    }
}

/// More after a read that filled what was asked for, less after one that left most of it.
fn next_ask(ask: usize, read: usize) -> usize {
    if read >= ask {
        (ask * 2).min(READ_MAX)
    } else if read < ask / 8 {
        (ask / 2).max(READ_MIN)
    } else {
        ask
    }
}

/// Calls `each` for every whole frame in the buffer.
fn decode_all(buffer: &mut BytesMut, mut each: impl FnMut(Frame)) -> Result<(), FrameError> {
    while let Some(frame) = Frame::decode(buffer)? {
        each(frame);
    }
    Ok(())
}

async fn read_some(
    peer: &Peer,
    input: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    ask: usize,
) -> Result<usize, Ended> {
    loop {
        if buffer.is_empty() && buffer.capacity() > 4 * ask {
            // It was busy once; an idle connection costs little.
            *buffer = BytesMut::new();
        }
        if buffer.capacity() - buffer.len() < ask {
            buffer.reserve(ask);
        }
        let idle_at = Instant::now() + IDLE;
        match timeout_at(idle_at, input.read_buf(buffer)).await {
            Ok(Ok(0)) if buffer.is_empty() => return Err(Ended::ByPeer),
            Ok(Ok(0)) => return Err(Ended::InsideFrame(buffer.len())),
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(error)) => return Err(Ended::Io(error)),
            Err(_) if peer.last_written().elapsed() < IDLE => {}
            Err(_) => return Err(Ended::Idle),
        }
    }
}

/// Writes what the outbox holds, all of it at once, until it is closed and empty.
async fn write_all(peer: Arc<Peer>, mut output: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut answered = Vec::new();
    while let Some(taken) = peer.outbox.take(&mut buffer, &mut answered).await {
        let written = tokio::select! {
            written = timeout(IDLE, output.write_all(&buffer)) => Some(written),
            () = peer.outbox.overflow() => None,
        };
        let fate = match written {
            Some(Ok(Ok(()))) => Fate::Written,
            _ => Fate::NotWritten,
        };
        let now_ms = peer.latency.now_ms();
        for (asked, code) in answered.drain(..) {
            peer.latency.record(asked, code, fate, now_ms);
        }
        match written {
            Some(Ok(written)) => written?,
            Some(Err(_)) => return Err(std::io::ErrorKind::TimedOut.into()),
            None => break,
        }
        peer.outbox.written(taken);
        peer.wrote();
        buffer.clear();
        if buffer.capacity() > WRITE_KEEP {
            buffer = BytesMut::new();
            answered = Vec::new();
        }
    }
    output.shutdown().await
}

#[cfg(test)]
mod tests;
