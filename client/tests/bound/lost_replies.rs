//! COMMIT, and the connection breaks: before the server has seen it, or after it has done it.

use escrow_client::database::{BoundProducer, BoundSettings, Cause, CommitError, Committed};
use escrow_test_databases::{Engine as Kind, Server};
use sqlx::{MySql, Postgres};

use crate::engine::{Engine, order};
use crate::proxy::{Cut, Proxy};
use crate::shop::{A_WHILE, GROUP, Shop, placed};

/// A shop whose every connection to the database goes through a proxy, cut as told while it commits order `a`.
async fn commit_through<DB: Engine>(
    server: &Server,
    cut: Cut,
) -> (Shop<DB>, Result<Committed, CommitError>) {
    let mut shop = Shop::<DB>::open(A_WHILE).await;
    shop.producer.close().await;
    let proxy = Proxy::before(server.port()).await;
    let url = shop.database.url.replace(
        &format!(":{}/", server.port()),
        &format!(":{}/", proxy.port),
    );
    let pool = sqlx::Pool::<DB>::connect(&url).await.unwrap();
    let settings = BoundSettings::default();
    shop.producer = BoundProducer::start(&shop.client, GROUP, &pool, settings)
        .await
        .unwrap();
    let mut tx = shop.producer.begin(placed("a")).await.unwrap();
    order::<DB>(&mut tx, "a").await.unwrap();
    proxy.cut_next_commit(cut);
    let outcome = tx.commit().await;
    assert!(proxy.has_cut());
    (shop, outcome)
}

async fn a_lost_reply_to_commit_is_found_out<DB: Engine>(server: &Server) {
    let (shop, outcome) = commit_through::<DB>(server, Cut::Reply).await;
    outcome.unwrap();
    assert_eq!(shop.agree().await, ["a"]);
}

async fn a_commit_that_never_arrived_is_found_out<DB: Engine>(server: &Server) {
    let (shop, outcome) = commit_through::<DB>(server, Cut::Request).await;
    match outcome {
        Err(CommitError::RolledBack(Cause::Commit(_))) => {}
        // The server was slow to notice that the session is gone.
        Err(CommitError::InDoubt { .. }) => {}
        outcome => panic!("{outcome:?}"),
    }
    assert!(shop.agree().await.is_empty());
}

#[tokio::test]
async fn postgres_a_lost_reply_to_commit_is_found_out() {
    a_lost_reply_to_commit_is_found_out::<Postgres>(Server::shared(Kind::Postgres).unwrap()).await;
}

#[tokio::test]
async fn mariadb_a_lost_reply_to_commit_is_found_out() {
    a_lost_reply_to_commit_is_found_out::<MySql>(Server::shared(Kind::MariaDb).unwrap()).await;
}

#[tokio::test]
async fn postgres_a_commit_that_never_arrived_is_found_out() {
    let server = Server::shared(Kind::Postgres).unwrap();
    a_commit_that_never_arrived_is_found_out::<Postgres>(server).await;
}

#[tokio::test]
async fn mariadb_a_commit_that_never_arrived_is_found_out() {
    let server = Server::shared(Kind::MariaDb).unwrap();
    a_commit_that_never_arrived_is_found_out::<MySql>(server).await;
}
