//! The matrix against the stock Apache broker: what the client can promise there, and what it cannot.
//!
//! It can promise that nothing is delivered that is not in the database, and that what is there is delivered, as long
//! as the broker keeps what it acknowledged. It cannot promise "once", nor bring back a half that the broker lost.

use std::time::Duration;

use escrow_test_databases::Engine as Server;
use sqlx::{MySql, Postgres, Sqlite};
use tokio::time::{Instant, sleep};

use crate::broker::{Flush, Kind};
use crate::engine::Engine;
use crate::lane::{Answerer, Lane};
use crate::rows::Row;
use crate::talk::{Delivered, End};
use crate::worker::PATIENCE;
use crate::{random, times};

/// In each row, for each of those who answer the checks. As often as in the other matrix would take half an hour.
const KILLS: u32 = 2;

/// This broker needs twenty seconds to start: rows in which it is killed get one kill, with the check server.
const BROKER_KILLS: u32 = 1;

const TEN_CHECKS: Duration = Duration::from_secs(10);

async fn what_is_in_the_database_was_delivered<DB: Engine>(server: Option<Server>) {
    let mut lane = Lane::<DB>::open(Kind::Apache(Flush::Mapped), server, random()).await;
    // It offers an operator nothing to decide with.
    let rows = Row::ALL.into_iter().filter(|row| *row != Row::Operator);
    let (broker, worker): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.kills_broker());
    let with = |rows: &[Row], kills: u32| -> Vec<(Row, u32)> {
        rows.iter().map(|&row| (row, kills * times())).collect()
    };
    let mut rows = with(&worker, KILLS);
    lane.round(&rows, Answerer::NextWorker).await;
    rows.extend(with(&broker, BROKER_KILLS));
    lane.round(&rows, Answerer::CheckServer).await;
    lane.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java and Maven: ./test conformance runs it"]
async fn apache_postgres() {
    what_is_in_the_database_was_delivered::<Postgres>(Some(Server::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java and Maven: ./test conformance runs it"]
async fn apache_mariadb() {
    what_is_in_the_database_was_delivered::<MySql>(Some(Server::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java and Maven: ./test conformance runs it"]
async fn apache_sqlite() {
    what_is_in_the_database_was_delivered::<Sqlite>(None).await;
}

/// Committed in the database; a check says so before the producer does; then the producer does. How many messages?
async fn copies_after_a_check_and_an_end(kind: Kind) -> usize {
    let mut lane = Lane::<Sqlite>::open(kind, None, random()).await;
    let mut worker = lane.single(Row::Committed, "committed", true, 0).await;
    worker.go().await;
    worker.step().await;
    let deadline = Instant::now() + PATIENCE;
    while lane.broker.delivered().await.is_empty() {
        assert!(Instant::now() < deadline, "no check");
        sleep(Duration::from_millis(50)).await;
    }
    worker.go().await;
    assert_eq!(worker.ended().await, End::Committed(Delivered::Resolved));
    // The answer to END came after what it did.
    let copies = lane.broker.delivered().await.len();
    lane.kill(Row::Committed, worker).await;
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_after_a_check_said_so_delivers_nothing_more() {
    assert_eq!(copies_after_a_check_and_an_end(Kind::Escrow).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java and Maven: ./test conformance runs it"]
async fn apache_delivers_again_when_a_commit_follows_a_check() {
    let apache = Kind::Apache(Flush::Mapped);
    assert_eq!(copies_after_a_check_and_an_end(apache).await, 2);
}

/// The broker acknowledges a half, the database commits, the broker is killed, then the producer sends END. Up to so
/// many times, until the message is lost: what the application was told.
async fn told_of_a_lost_half(kind: Kind, attempts: usize) -> Option<End> {
    let mut lane = Lane::<Sqlite>::open(kind, None, random()).await;
    for _ in 0..attempts {
        let mut worker = lane.single(Row::Committed, "committed", true, 0).await;
        worker.go().await;
        worker.step().await;
        lane.broker.kill().await;
        lane.broker.restart(&lane.before_broker).await;
        worker.go().await;
        let told = worker.ended().await;
        // What the broker still has, it delivers now or after a check.
        let delivered = lane.everything_delivered(TEN_CHECKS).await;
        lane.kill(Row::Committed, worker).await;
        if !delivered {
            return Some(told);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_half_outlives_the_broker() {
    assert_eq!(told_of_a_lost_half(Kind::Escrow, 10).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Java and Maven: ./test conformance runs it"]
async fn apache_with_a_buffer_of_its_own_loses_an_acknowledged_half() {
    let told = told_of_a_lost_half(Kind::Apache(Flush::OwnBuffer), 10).await;
    // The database has the order; nobody will ever hear of it, but the application is told.
    assert_eq!(told, Some(End::Committed(Delivered::Refused)));
}
