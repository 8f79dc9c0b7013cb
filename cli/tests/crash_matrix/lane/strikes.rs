//! How each crash of the matrix is brought about.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tokio::time::sleep;

use super::Lane;
use crate::engine::Engine;
use crate::proxy::{Prey, Trap};
use crate::rows::{Row, Strike};
use crate::talk::{Delivered, End};
use crate::worker::Worker;

impl<DB: Engine> Lane<DB> {
    pub(super) async fn row(&mut self, row: Row, kills: u32) {
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
        let step = if agrees { "committed" } else { "committing" };
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

    /// A pause finer than any timer, of 64 µs to 16 ms at most.
    fn blink(&mut self) {
        let longest = 1 << (6 + self.random.below(9));
        let until = Instant::now() + Duration::from_micros(self.random.below(longest));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}
