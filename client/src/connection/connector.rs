//! Where byte streams come from: the one seam between the remoting protocol and what carries it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Makes byte streams to addresses. TLS is another implementation of this trait: connect by TCP, shake hands, and
/// hand over [`Wire::new`] of the encrypted stream.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// One attempt to connect to `address` (`host:port`). It is dropped, and must then be undone, when it takes longer
    /// than [`ConnectionSettings::connect_timeout`](super::ConnectionSettings::connect_timeout).
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;
}

/// An attempt to connect.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send + 'a>>;

/// The two directions of one byte stream.
pub struct Wire {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Wire {
    /// A wire over any stream.
    #[must_use]
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
        }
    }
}

/// Plain TCP without Nagle's delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Connector for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            // Its own way to split needs no lock between the two directions.
            let (reader, writer) = stream.into_split();
            Ok(Wire {
                reader: Box::new(reader),
                writer: Box::new(writer),
            })
        })
    }
}
