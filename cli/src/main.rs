//! The `escrow` binary: the broker, the operator's hands, the demo and the load generator.

mod admin;
mod bench;
mod demo;
mod pending;
mod serve;
mod status;
mod table;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
