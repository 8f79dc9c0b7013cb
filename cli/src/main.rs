//! The `escrow` binary: the broker, the operator's hands, the demo and the load generator.

mod admin;
mod age;
mod bench;
mod check_server;
mod databases;
mod demo;
mod migrate;
mod pending;
mod purge;
mod serve;
mod status;
mod table;
mod topic;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// EscrowMQ: a message broker for transactional messages, speaking Apache RocketMQ's protocol
#[derive(Parser, Debug)]
#[command(name = "escrow", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run name server, broker and admin API in one process
    Serve(serve::ServeArgs),
    /// Answer the broker's checks from marker tables, for services that do not
    CheckServer(check_server::CheckServerArgs),
    /// Make or update the tables that a database needs
    Migrate(migrate::MigrateArgs),
    /// Delete markers of which no broker can ask any more
    Purge(purge::PurgeArgs),
    /// Compare markers with what the brokers decided
    Verify(verify::VerifyArgs),
    /// See and decide half messages that wait for a decision
    Pending(pending::PendingArgs),
    /// Show how the broker is
    Status(status::StatusArgs),
    /// List, create and delete topics
    Topic(topic::TopicArgs),
    /// Play the whole story: orders, crashes, check-backs, deliveries
    Demo(demo::DemoArgs),
    /// Generate load
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The demo's order service
    #[command(hide = true)]
    DemoShop(demo::ShopArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::CheckServer(args) => check_server::run(args),
        Command::Migrate(args) => block_on(migrate::run(args)),
        Command::Purge(args) => block_on(purge::run(args)),
        Command::Verify(args) => return verify::run(args),
        Command::Pending(args) => block_on(pending::run(args)),
        Command::Status(args) => block_on(status::run(args)),
        Command::Topic(args) => block_on(topic::run(args)),
        Command::Demo(args) => demo::run(args),
        Command::Bench(bench) => bench::run(bench),
        Command::DemoShop(args) => block_on(demo::run_shop(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("escrow: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that only waits for servers.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
