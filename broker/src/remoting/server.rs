//! The accept loop of one listening socket.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::connection;
use super::dispatch::Role;
use crate::shared::{Phase, Shared};

/// Connections of both listeners together; further ones are closed at once.
const CONNECTIONS_MAX: usize = 10_000;

/// Accepts until the broker drains. Ends when all its connections have ended.
pub(crate) async fn listen(shared: Arc<Shared>, role: Role, listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if shared.connections.count() >= CONNECTIONS_MAX {
                        tracing::warn!(peer = %address, "connection refused: {CONNECTIONS_MAX} are open");
                        continue;
                    }
                    connections.spawn(one(Arc::clone(&shared), role, stream, address));
                }
                Err(error) => back_off(&error).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = shared.phase.reached(Phase::Draining) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn one(shared: Arc<Shared>, role: Role, stream: TcpStream, address: std::net::SocketAddr) {
    let peer = shared.connections.open(address);
    connection::serve(&shared, &peer, role, stream).await;
    shared.forget(&peer).await;
}

/// Out of file descriptors and the like: accepting again at once would spin.
async fn back_off(error: &std::io::Error) {
    if !matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    ) {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
