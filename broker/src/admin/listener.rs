//! An operator's socket, with no more connections than a person and some scrapers need.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 256;

/// Pause after an accept that failed, out of file descriptors for example.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A listener that keeps 256 connections at most; the check server has one too.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Bounded {
    /// Accepts what comes to `listener`.
    #[must_use]
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded {
            listener,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The semaphore is never closed; if it were, nothing would be accepted.
            let Ok(place) = Arc::clone(&self.room).acquire_owned().await else {
                std::future::pending().await
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    return (
                        Connection {
                            stream,
                            _place: place,
                        },
                        address,
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct From(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for From {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> From {
        From(*stream.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_waits_until_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut bounded = Bounded::new(listener);
        let mut callers = Vec::new();
        let mut kept = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            callers.push(TcpStream::connect(address).await.expect("a connection"));
            kept.push(bounded.accept().await);
        }
        let _last = TcpStream::connect(address).await.expect("the backlog");
        let mut accept = std::pin::pin!(bounded.accept());
        let now = std::future::poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_pending()));
        assert!(now.await, "one more than {CONNECTIONS_MAX} was accepted");
        kept.pop();
        accept.await;
    }
}
