//! The bare ceiling: a server that takes what `escrow bench` sends, appends it to a file and replies.
//!
//! It makes the network and disk calls that a broker cannot do without, and nothing else: it keeps no state, checks
//! nothing, has no queues and delivers nothing. Frames and replies are byte for byte those of a broker. The topic's one
//! queue ends at the number of plain messages and commits written so far, which is how `escrow bench` counts.
//! Name server and broker are one port.

mod connection;
mod log;
mod reply;
mod request;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use log::Log;

/// Appends and replies, for `escrow bench`
#[derive(Parser, Debug)]
struct Args {
    /// Folder for the file; created if it is missing
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Whether each batch is synced before it is answered
    #[arg(long, value_enum, default_value_t = Flush::Async)]
    flush: Flush,
    /// Size of the file in MiB; filled with zeros at the start, and written over and over
    #[arg(long, default_value_t = 1024)]
    file_mib: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flush {
    Async,
    Sync,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // As many threads as the broker's runtime has.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

/// Serves until SIGTERM or SIGINT.
async fn serve(args: Args) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let log = Log::start(
        &args.dir,
        args.file_mib * 1024 * 1024,
        args.flush == Flush::Sync,
    )
    .context("cannot start the log")?;
    let listener = TcpListener::bind(args.addr).await?;
    let address = listener.local_addr()?;
    announce(address)?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(connection::serve(stream, address, log.clone()));
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// The one line on stdout, in the form of a broker's.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ceiling ready namesrv={address} broker={address}")?;
    Ok(stdout.flush()?)
}
