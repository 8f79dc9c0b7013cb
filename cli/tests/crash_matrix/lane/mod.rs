//! One engine's way through the matrix: a database, a broker, and the workers that are killed.

mod strikes;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use escrow_test_databases::{Engine as ServerKind, Server};
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::broker::{Broker, Kind};
use crate::check_server::CheckServer;
use crate::engine::Engine;
use crate::ledger::{Ledger, Tally};
use crate::proxy::{Before, Proxy};
use crate::random::Random;
use crate::rows::Row;
use crate::worker::{Orders, PATIENCE, Place, Worker};

const GROUP: &str = "order-workers";

/// Orders at a time, where there are several.
const LOAD: usize = 4;

/// Who answers the checks for orders whose worker is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answerer {
    /// The next worker of the group, whoever that is.
    NextWorker,
    /// A check server.
    CheckServer,
}

pub(crate) struct Lane<DB: Engine> {
    pub(crate) broker: Broker,
    pub(crate) before_broker: Proxy,
    /// None with SQLite.
    server: Option<(Server, Proxy)>,
    /// Where the database is without a proxy.
    url: String,
    place: Place,
    ledger: Ledger,
    random: Random,
    workers: usize,
    _folder: tempfile::TempDir,
    _engine: std::marker::PhantomData<DB>,
}

impl<DB: Engine> Lane<DB> {
    pub(crate) async fn open(kind: Kind, server: Option<ServerKind>, random: Random) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut url = format!("sqlite:{}", folder.path().join("orders.db").display());
        let mut place_url = url.clone();
        let mut behind = None;
        if let Some(kind) = server {
            let server = block_in_place(|| Server::start(kind, &[])).unwrap();
            url = server.fresh_database().await.unwrap();
            let proxy = Proxy::listen("127.0.0.1:0", Before::Database).await;
            proxy.lead_to(SocketAddr::from(([127, 0, 0, 1], server.port())));
            let port = |port: u16| format!(":{port}/");
            place_url = url.replace(&port(server.port()), &port(proxy.address.port()));
            behind = Some((server, proxy));
        }
        let pool = DB::open(&url, 1).await.unwrap();
        DB::make(&pool).await;
        pool.close().await;
        let (broker, before_broker) = Broker::start(kind).await;
        let place = Place {
            engine: DB::LABEL,
            url: place_url,
            namesrv: broker.namesrv.clone(),
            group: GROUP,
        };
        Self {
            broker,
            before_broker,
            server: behind,
            url,
            place,
            ledger: Ledger::default(),
            random,
            workers: 0,
            _folder: folder,
            _engine: std::marker::PhantomData,
        }
    }

    /// Kills so many workers (or servers) in each of the rows, then waits until everything is decided.
    pub(crate) async fn round(&mut self, rows: &[(Row, u32)], answerer: Answerer) {
        let check_server = match answerer {
            Answerer::NextWorker => None,
            Answerer::CheckServer => {
                Some(CheckServer::start(&self.broker.namesrv, &self.group()).await)
            }
        };
        if answerer == Answerer::CheckServer && self.server.is_none() {
            self.write_ahead().await;
        }
        for &(row, kills) in rows {
            let since = Instant::now();
            self.row(row, kills).await;
            let took = since.elapsed().as_secs_f32();
            eprintln!("{}: {}: {took:.1} s", DB::LABEL, row.name());
        }
        let since = Instant::now();
        let idle = match check_server {
            None => Some(self.worker(Row::AnyMoment, Orders::default()).await),
            Some(_) => None,
        };
        self.settled().await;
        if let Some(worker) = idle {
            worker.kill().await;
        }
        if let Some(server) = check_server {
            server.has_decided_both_ways().await;
        }
        let took = since.elapsed().as_secs_f32();
        eprintln!("{}: everything decided: {took:.1} s", DB::LABEL);
    }

    /// Waits until everything is decided. Of Apache's broker nobody can ask whether it is: it must have delivered what
    /// it must, and then gets the time of several checks to deliver what it must not.
    async fn settled(&self) {
        if self.broker.is_ours() {
            return self.broker.settled().await;
        }
        // If anything is missing by then, the audit says what.
        self.everything_delivered(PATIENCE).await;
        sleep(Duration::from_secs(5)).await;
    }

    /// Whether consumers see everything that is in the database, by then.
    pub(crate) async fn everything_delivered(&self, within: Duration) -> bool {
        let orders: HashSet<String> = self.orders().await.into_iter().collect();
        let deadline = Instant::now() + within;
        while !orders.is_subset(&self.broker.delivered().await.into_iter().collect()) {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(200)).await;
        }
        true
    }

    /// Waits until a check has ruled this transaction out.
    async fn ruled_out(&self, tx_id: &str) {
        let pool = DB::open(&self.url, 1).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !DB::tombstoned(&pool, tx_id).await {
            assert!(Instant::now() < deadline, "{tx_id}: no check");
            sleep(Duration::from_millis(20)).await;
        }
        pool.close().await;
    }

    /// A worker that places one order at a time.
    pub(crate) async fn single(
        &mut self,
        row: Row,
        step: &'static str,
        park: bool,
        way: usize,
    ) -> Worker {
        let orders = Orders {
            at_once: 1,
            before: way % 2,
            way,
            step,
            park,
            ..Orders::default()
        };
        self.worker(row, orders).await
    }

    async fn load(&mut self, row: Row) -> Worker {
        let orders = Orders {
            at_once: LOAD,
            ..Orders::default()
        };
        self.worker(row, orders).await
    }

    async fn worker(&mut self, row: Row, orders: Orders) -> Worker {
        self.workers += 1;
        let name = format!("{}.{}", row.key(), self.workers);
        Worker::ready(&self.place, &Orders { name, ..orders }).await
    }

    pub(crate) async fn kill(&mut self, row: Row, worker: Worker) {
        let said = worker.kill().await;
        self.ledger.killed(row);
        self.ledger.take(row, said, row.fate());
    }

    /// SQLite: from now on with a write-ahead log, which other crashes happen to than to its rollback journal.
    async fn write_ahead(&self) {
        let pool = DB::open(&self.url, 1).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let wal = "PRAGMA journal_mode = WAL".to_owned();
        DB::statement(&mut connection, wal).await.unwrap();
        drop(connection);
        pool.close().await;
    }

    /// The group and its database, as our programs take them.
    fn group(&self) -> String {
        format!("{GROUP}={}", self.url)
    }

    /// Compares what is in the database with what consumers see; nothing may differ. Prints what came out.
    pub(crate) async fn audit(&self) -> BTreeMap<Row, Tally> {
        let (orders, delivered) = (self.orders().await, self.broker.delivered().await);
        let (tallies, differences) = self.ledger.audit(&orders, &delivered);
        let mut table = String::new();
        for (row, tally) in &tallies {
            let (name, kills, delivered) = (row.name(), tally.kills, tally.delivered);
            let line = format!(
                "{:9} {name:32} {kills:6} kills {delivered:7} delivered {:7} rolled back {:4} differences {:4} twice\n",
                DB::LABEL,
                tally.rolled_back,
                tally.differences,
                tally.twice
            );
            table.push_str(&line);
        }
        eprintln!("{table}");
        assert!(differences.is_empty(), "{differences:#?}");
        if self.broker.is_ours() {
            // Overruled by an operator: that is just what it has to find.
            let overruled: u32 = tallies.values().map(|tally| tally.refused).sum();
            assert_eq!(self.broker.verify(&self.group()).await, overruled);
        }
        tallies
    }

    /// What is in the database.
    pub(crate) async fn orders(&self) -> Vec<String> {
        let pool = DB::open(&self.url, 1).await.unwrap();
        let orders = DB::orders(&pool).await;
        pool.close().await;
        orders
    }
}
