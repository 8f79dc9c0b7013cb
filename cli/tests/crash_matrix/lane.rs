//! One engine's way through the matrix: a database, a broker, and the workers that are killed.

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
use crate::proxy::{Before, Prey, Proxy, Trap};
use crate::random::Random;
use crate::rows::{Row, Strike};
use crate::talk::{Delivered, End};
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

    async fn row(&mut self, row: Row, kills: u32) {
        match row.strike() {
            Strike::Database if self.server.is_some() => self.database_killed(row, kills).await,
            Strike::Broker => self.broker_killed(row, kills).await,
            Strike::Early => self.checked_too_early(row, kills).await,
            strike => {
                for kill in 0..kills {
                    self.one(row, strike, kill as usize).await;
                }
            }
        }
    }

    async fn one(&mut self, row: Row, strike: Strike, way: usize) {
        match strike {
            Strike::Step(step) => self.at_step(row, step, way).await,
            Strike::BrokerTrap(prey, trap) => {
                let worker = self.single(row, "", false, way).await;
                self.in_a_trap(row, worker, prey, trap).await;
            }
            Strike::Commit => self.at_commit(row, way).await,
            Strike::BrokerAt(prey) => self.broker_at(row, prey, way).await,
            // A crash of the process is what a crash of SQLite is.
            Strike::AnyMoment | Strike::Database => self.any_moment(row).await,
            Strike::Operator => self.operator(row, way).await,
            Strike::Broker | Strike::Early => unreachable!("not one by one"),
        }
    }

    async fn at_step(&mut self, row: Row, step: &'static str, way: usize) {
        let mut worker = self.single(row, step, true, way).await;
        worker.go().await;
        worker.step().await;
        if way % 5 == 4 {
            // Not a wait for something: some crashes come after the first check, which finds the transaction open.
            sleep(Duration::from_millis(self.random.below(1_800))).await;
        }
        self.kill(row, worker).await;
    }

    async fn in_a_trap(&mut self, row: Row, mut worker: Worker, prey: Prey, trap: Trap) {
        let proxy = match (&mut self.server, prey) {
            (Some((_, proxy)), Prey::Commit) => proxy,
            _ => &mut self.before_broker,
        };
        proxy.lay(prey, trap);
        worker.go().await;
        proxy.sprung().await;
        self.kill(row, worker).await;
    }

    async fn at_commit(&mut self, row: Row, way: usize) {
        // With SQLite there is nothing to stand before; and the others are killed at any microsecond as well.
        let trap = match way % 3 {
            0 => Trap::Request,
            1 => Trap::Reply,
            _ => Trap::Nothing,
        };
        if self.server.is_some() && trap != Trap::Nothing {
            let worker = self.single(row, "", false, way).await;
            return self.in_a_trap(row, worker, Prey::Commit, trap).await;
        }
        let mut worker = self.single(row, "committing", false, way).await;
        worker.go().await;
        worker.step().await;
        self.blink();
        self.kill(row, worker).await;
    }

    async fn broker_at(&mut self, row: Row, prey: Prey, way: usize) {
        let mut worker = self.single(row, "", false, way).await;
        self.before_broker.lay(prey, Trap::Nothing);
        worker.go().await;
        self.before_broker.sprung().await;
        self.blink();
        self.broker.kill().await;
        self.kill(row, worker).await;
        self.broker.restart(&self.before_broker).await;
    }

    async fn any_moment(&mut self, row: Row) {
        let mut worker = self.load(row).await;
        worker.go().await;
        worker.committed().await;
        // Not a wait for something: the moment of the crash is what the test draws.
        sleep(Duration::from_millis(self.random.below(300))).await;
        self.kill(row, worker).await;
    }

    async fn database_killed(&mut self, row: Row, kills: u32) {
        let mut worker = self.load(row).await;
        worker.go().await;
        for kill in 0..kills {
            worker.committed().await;
            if kill % 2 == 0 {
                sleep(Duration::from_millis(self.random.below(300))).await;
            } else {
                self.while_committing().await;
            }
            if let Some((server, _)) = &self.server {
                block_in_place(|| {
                    server.crash();
                    server.restart().unwrap();
                });
            }
            self.ledger.killed(row);
        }
        self.ledger.take(row, worker.kill().await, row.fate());
    }

    /// Waits until the server has got a COMMIT, then a blink more.
    async fn while_committing(&mut self) {
        if let Some((_, proxy)) = &mut self.server {
            proxy.lay(Prey::Commit, Trap::Nothing);
            proxy.sprung().await;
        }
        self.blink();
    }

    async fn broker_killed(&mut self, row: Row, kills: u32) {
        let mut worker = self.load(row).await;
        worker.go().await;
        for _ in 0..kills {
            worker.committed().await;
            sleep(Duration::from_millis(self.random.below(300))).await;
            self.broker.kill().await;
            self.broker.restart(&self.before_broker).await;
            self.ledger.killed(row);
        }
        self.ledger.take(row, worker.kill().await, row.fate());
    }

    /// All at once: each waits for a second, and holds no lock meanwhile.
    async fn checked_too_early(&mut self, row: Row, kills: u32) {
        let mut waiting = Vec::new();
        for kill in 0..kills {
            // `run` and the guard; a late half is acknowledged after the marker is in.
            let mut worker = self
                .single(row, "half acked", true, kill as usize % 2)
                .await;
            worker.go().await;
            let tx_id = worker.step().await;
            waiting.push((worker, tx_id));
        }
        for (mut worker, tx_id) in waiting {
            self.ruled_out(&tx_id).await;
            worker.go().await;
            assert_eq!(worker.ended().await, End::TooLate);
            self.kill(row, worker).await;
        }
    }

    async fn operator(&mut self, row: Row, way: usize) {
        let agrees = way.is_multiple_of(2);
        // In the database it is all over, or not yet; either way nothing will keep it from being committed.
        let step = if agrees { "committed" } else { "fenced" };
        let mut worker = self.single(row, step, true, way % 3).await;
        let before = self.broker.conflicts().await;
        worker.go().await;
        let tx_id = worker.step().await;
        let what = if agrees { "commit" } else { "rollback" };
        self.broker.operator(&tx_id, what).await;
        worker.go().await;
        let (delivered, conflicts) = match agrees {
            true => (Delivered::Resolved, 0),
            false => (Delivered::Refused, 1),
        };
        assert_eq!(worker.ended().await, End::Committed(delivered));
        assert_eq!(self.broker.conflicts().await - before, conflicts);
        self.kill(row, worker).await;
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

    /// A pause finer than any timer, of 64 µs to 16 ms at most.
    fn blink(&mut self) {
        let longest = 1 << (6 + self.random.below(9));
        let until = Instant::now() + Duration::from_micros(self.random.below(longest));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}
