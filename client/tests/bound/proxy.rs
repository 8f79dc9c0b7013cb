//! A proxy before a database server that cuts a connection at the moment of a COMMIT.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// On which side of the COMMIT a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees it.
    Request,
    /// The server has done it and answered; the answer is lost.
    Reply,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    armed: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    pub(crate) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(Mutex::new(None));
        let cut = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&cut)));
            }
        });
        Self { port, armed }
    }

    /// Cuts the next connection that commits, and only that one.
    pub(crate) fn cut_next_commit(&self, cut: Cut) {
        *self.armed.lock() = Some(cut);
    }

    /// Whether it has done so.
    pub(crate) fn has_cut(&self) -> bool {
        self.armed.lock().is_none()
    }
}

/// Carries bytes both ways until either side closes or a COMMIT is to be cut.
async fn carry(mut client: TcpStream, mut server: TcpStream, armed: Arc<Mutex<Option<Cut>>>) {
    let mut asked = vec![0; 64 * 1024];
    let mut answered = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &asked[..length];
                let cut = if commits(bytes) { armed.lock().take() } else { None };
                if cut == Some(Cut::Request) {
                    return;
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
                if cut == Some(Cut::Reply) {
                    // An answer means that it is done; nobody gets to see it.
                    let _ = server.read(&mut answered).await;
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn commits(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"COMMIT")
}
