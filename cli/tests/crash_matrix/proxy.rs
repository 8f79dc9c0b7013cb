//! A proxy before a database or a broker. It carries bytes, until it is told to lay a trap for one request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::worker::PATIENCE;

/// `commitOrRollback` of a commit.
const COMMIT: &str = "8";

/// What a proxy stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Broker,
    Database,
}

/// What the trap is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prey {
    /// A message sent to a broker.
    Send,
    /// A producer's own commit, not the answer to a check.
    End,
    /// The COMMIT of a transaction that placed an order.
    Commit,
}

/// What becomes of the prey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// The server never sees it.
    Request,
    /// The server does it and answers; the client never sees the answer.
    Reply,
    /// Nothing, it is only told.
    Nothing,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    sprung: UnboundedReceiver<()>,
}

struct Shared {
    before: Before,
    server: Mutex<Option<SocketAddr>>,
    armed: Mutex<Option<(Prey, Trap)>>,
    sprung: UnboundedSender<()>,
}

impl Proxy {
    /// Listens at `address`; connections are refused until there is a server.
    pub(crate) async fn listen(address: &str, before: Before) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (tell, sprung) = unbounded_channel();
        let shared = Arc::new(Shared {
            before,
            server: Mutex::default(),
            armed: Mutex::default(),
            sprung: tell,
        });
        let address = listener.local_addr().unwrap();
        let of = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *lock(&of.server);
                let carrying = Arc::clone(&of);
                tokio::spawn(async move {
                    if let Some(server) = server
                        && let Ok(server) = TcpStream::connect(server).await
                    {
                        let _ = client.set_nodelay(true);
                        let _ = server.set_nodelay(true);
                        // The end of either side is the end of both.
                        let _ = Carrier::new(carrying).carry(client, server).await;
                    }
                });
            }
        });
        Self {
            address,
            shared,
            sprung,
        }
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *lock(&self.shared.server) = Some(server);
    }

    /// Lays a trap for the next `prey`, and only that one.
    pub(crate) fn lay(&self, prey: Prey, trap: Trap) {
        *lock(&self.shared.armed) = Some((prey, trap));
    }

    /// Waits until the trap has been sprung.
    pub(crate) async fn sprung(&mut self) {
        let sprung = timeout(PATIENCE, self.sprung.recv()).await;
        sprung.expect("the trap is sprung in time").unwrap();
    }
}

/// One connection.
struct Carrier {
    shared: Arc<Shared>,
    /// To a database: this transaction has placed an order.
    placed: bool,
    /// The reply to what was caught is still to come: which one.
    lost: Option<Lost>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Any,
    To(i32),
}

impl Carrier {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            placed: false,
            lost: None,
        }
    }

    async fn carry(mut self, mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
        let (mut asked, mut answered) = (BytesMut::new(), BytesMut::new());
        loop {
            tokio::select! {
                read = client.read_buf(&mut asked) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(piece) = self.piece(&mut asked) {
                        self.request(&piece, &mut server).await?;
                    }
                }
                read = server.read_buf(&mut answered) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(piece) = self.piece(&mut answered) {
                        if self.is_lost(&piece) {
                            self.lost = None;
                            let _ = self.shared.sprung.send(());
                        } else {
                            client.write_all(&piece.bytes).await?;
                        }
                    }
                }
            }
        }
    }

    async fn request(&mut self, piece: &Piece, server: &mut TcpStream) -> std::io::Result<()> {
        let trap = match self.prey(piece) {
            Some(prey) => self.take(prey),
            None => None,
        };
        if trap != Some(Trap::Request) {
            if trap == Some(Trap::Reply) {
                let opaque = piece.frame.as_ref().map(|frame| frame.opaque);
                self.lost = Some(opaque.map_or(Lost::Any, Lost::To));
            }
            server.write_all(&piece.bytes).await?;
        }
        if matches!(trap, Some(Trap::Request | Trap::Nothing)) {
            let _ = self.shared.sprung.send(());
        }
        Ok(())
    }

    fn prey(&mut self, piece: &Piece) -> Option<Prey> {
        let Some(frame) = &piece.frame else {
            self.placed |= holds(&piece.bytes, b"INSERT INTO orders");
            let commits = self.placed && holds(&piece.bytes, b"COMMIT");
            self.placed &= !commits;
            return commits.then_some(Prey::Commit);
        };
        match frame.code {
            _ if frame.is_response() => None,
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 => Some(Prey::Send),
            request::END_TRANSACTION => {
                let own = frame.ext.get("fromTransactionCheck") != Some("true");
                let commits = frame.ext.get("commitOrRollback") == Some(COMMIT);
                (own && commits).then_some(Prey::End)
            }
            _ => None,
        }
    }

    fn take(&self, prey: Prey) -> Option<Trap> {
        let mut armed = lock(&self.shared.armed);
        let (_, trap) = armed.take_if(|(wanted, _)| *wanted == prey)?;
        Some(trap)
    }

    fn is_lost(&self, piece: &Piece) -> bool {
        match (self.lost, &piece.frame) {
            (Some(Lost::Any), _) => true,
            (Some(Lost::To(opaque)), Some(frame)) => frame.is_response() && frame.opaque == opaque,
            _ => false,
        }
    }

    /// The next piece that stands for itself: a frame, or, of a database, whatever has come.
    fn piece(&self, buffer: &mut BytesMut) -> Option<Piece> {
        if buffer.is_empty() {
            return None;
        }
        if self.shared.before == Before::Database {
            return Some(Piece {
                bytes: buffer.split().freeze(),
                frame: None,
            });
        }
        let mut rest = BytesMut::from(&buffer[..]);
        let before = rest.len();
        let frame = Frame::decode(&mut rest).unwrap()?;
        Some(Piece {
            bytes: buffer.split_to(before - rest.len()).freeze(),
            frame: Some(frame),
        })
    }
}

struct Piece {
    bytes: Bytes,
    frame: Option<Frame>,
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
