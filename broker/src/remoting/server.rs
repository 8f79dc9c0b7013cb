//! The accept loop of one listening socket.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::connection;
use super::dispatch::Role;
use super::peer::Peer;
use crate::shared::{Phase, Shared};

/// Connections of both listeners together, if there are file descriptors for them; further ones are closed at once.
const CONNECTIONS_MAX: usize = 10_000;

/// File descriptors that connections leave to the store, the admin API and whoever is just being refused. Of few, half of
/// them. A store that can open no file takes nothing more; clients must not be able to bring that about.
const DESCRIPTORS_KEPT: usize = 1_024;

/// How many connections this process can have.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let kept = DESCRIPTORS_KEPT.min(descriptors / 2);
    CONNECTIONS_MAX.min(descriptors - kept)
}

/// Accepts until the broker drains. Ends when all its connections have ended.
pub(crate) async fn listen(shared: Arc<Shared>, role: Role, listener: TcpListener) {
    let connections_max = connections_max();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if shared.connections.count() >= connections_max {
                        tracing::warn!(peer = %address, "connection refused: {connections_max} are open");
                        continue;
                    }
                    // Counted before the next one is accepted.
                    let peer = shared.connections.open(address);
                    connections.spawn(one(Arc::clone(&shared), role, stream, peer));
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

async fn one(shared: Arc<Shared>, role: Role, stream: TcpStream, peer: Arc<Peer>) {
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
