//! `escrow check-server`: answers checks from marker tables.

mod config;
mod http;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use escrow_client::check_server::CheckServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use config::Told;
pub(crate) use config::{CheckServerArgs, GroupFlag};

/// A broker that does not answer must not hold up the end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);

/// Answers checks until SIGTERM or SIGINT.
pub(crate) fn run(args: CheckServerArgs) -> anyhow::Result<()> {
    let told = args.told()?;
    crate::serve::log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(told));
    runtime.shutdown_background();
    served
}

async fn serve(told: Told) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut stopped = std::pin::pin!(async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    });
    let listener = TcpListener::bind(told.admin_addr)
        .await
        .with_context(|| format!("cannot listen on {}: use --admin-addr", told.admin_addr))?;
    let admin = listener.local_addr()?;
    let in_sight = told.passwords_in_sight();
    let server = tokio::select! {
        started = CheckServer::start(told.server) => Arc::new(started?),
        _ = &mut stopped => return Ok(()),
    };
    for (group, database) in in_sight {
        tracing::warn!(
            group,
            database,
            "the password stands in the command line or the settings file: env:NAME or file:PATH would hide it"
        );
    }
    let serving = tokio::spawn(http::serve(listener, Arc::clone(&server)));
    announce(&server, admin)?;
    let received = stopped.await;
    tracing::info!("{received} received, leaving the groups");
    if timeout(SHUTDOWN_WITHIN, server.shutdown()).await.is_err() {
        tracing::warn!("not every broker took note in {SHUTDOWN_WITHIN:?}");
    }
    serving.abort();
    tracing::info!("shut down");
    Ok(())
}

/// The one line on stdout: scripts wait for it and read the real port from it.
fn announce(server: &CheckServer, admin: SocketAddr) -> anyhow::Result<()> {
    let health = server.health();
    let brokers = health.brokers.iter().filter(|(_, up)| *up).count();
    let groups = health.groups.len();
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "escrow check-server ready admin={admin} groups={groups} brokers={brokers}"
    )
    .and_then(|()| stdout.flush())
    .context("cannot write to stdout")
}
