//! The crash matrix: order workers, databases and brokers killed with SIGKILL at each step that a bound transaction
//! takes, while checks run. Afterwards an order is in the database if, and only if, consumers see its message, once.
//!
//! A worker is this test binary, started again. It is stopped exactly at a step by whoever listens to what its producer
//! traces, and by proxies before database and broker; nothing in the product knows of the test.
//!
//! `ESCROW_CRASHES=n` kills n times as often, `ESCROW_SEED` draws the same moments again.

mod apache;
mod broker;
mod check_server;
mod engine;
mod lane;
mod ledger;
mod order_worker;
mod proxy;
#[path = "../kill_nine/random.rs"]
mod random;
mod rows;
mod steps;
mod talk;
mod worker;

use std::time::{SystemTime, UNIX_EPOCH};

use broker::Kind;
use engine::Engine;
use escrow_test_databases::Engine as Server;
use lane::{Answerer, Lane};
use random::Random;
use rows::Row;
use sqlx::{MySql, Postgres, Sqlite};

/// In each row, for each of those who answer the checks.
const KILLS: u32 = 10;

/// A worker, when the matrix starts it; nothing else.
#[test]
#[ignore = "an order worker: started, and killed, by the other tests"]
fn order_worker_process() {
    let engine = order_worker::variable("ENGINE");
    match engine.as_str() {
        Postgres::LABEL => order_worker::run::<Postgres>(),
        MySql::LABEL => order_worker::run::<MySql>(),
        Sqlite::LABEL => order_worker::run::<Sqlite>(),
        _ => panic!("to be started by the crash matrix alone"),
    }
}

async fn what_is_in_the_database_was_delivered_once<DB: Engine>(server: Option<Server>) {
    let kills = KILLS * times();
    let mut lane = Lane::<DB>::open(Kind::Escrow, server, random()).await;
    for answerer in [Answerer::NextWorker, Answerer::CheckServer] {
        lane.round(&Row::ALL.map(|row| (row, kills)), answerer)
            .await;
    }
    let tallies = lane.audit().await;
    for row in Row::ALL {
        let tally = tallies[&row];
        assert_eq!(tally.twice, 0, "{row:?}: delivered more than once");
        assert_eq!(tally.kills, 2 * kills, "{row:?}");
        let overruled = if row == Row::Operator { kills } else { 0 };
        assert_eq!(tally.refused, overruled, "{row:?}: refused by the broker");
    }
}

/// How much oftener than usual.
fn times() -> u32 {
    let times = std::env::var("ESCROW_CRASHES").ok();
    times.map_or(1, |times| times.parse().unwrap())
}

fn random() -> Random {
    let seed = std::env::var("ESCROW_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    eprintln!("ESCROW_SEED={seed}");
    Random::new(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    what_is_in_the_database_was_delivered_once::<Postgres>(Some(Server::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb() {
    what_is_in_the_database_was_delivered_once::<MySql>(Some(Server::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    what_is_in_the_database_was_delivered_once::<Sqlite>(None).await;
}
