//! What all faults share: one at a time, a seed, a ledger, and the verdict.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::audit::Audit;
use crate::broker::Serve;
use crate::ledger::Ledger;
use crate::listed;
use crate::random::Random;
use crate::traffic::{self, Met, Progress};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Times that a fault strikes, by `ESCROW_FAULTS` as often again.
pub(crate) fn times(once: u64) -> u64 {
    let factor = std::env::var("ESCROW_FAULTS").ok();
    once * factor.map_or(1, |factor| {
        factor.parse().expect("ESCROW_FAULTS is a number")
    })
}

/// One fault's turn.
pub(crate) struct Scene {
    pub(crate) random: Random,
    pub(crate) ledger: Mutex<Ledger>,
    audit: Audit,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// Waits for the turn. `ESCROW_SEED` replays the choices, not the timing.
    pub(crate) fn set() -> Scene {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = std::env::var("ESCROW_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        });
        eprintln!("ESCROW_SEED={seed}");
        Scene {
            random: Random::new(seed),
            ledger: Mutex::default(),
            audit: Audit::default(),
            _turn: turn,
        }
    }

    /// Lets producers work while `meanwhile` runs.
    pub(crate) fn under_load<T>(
        &mut self,
        serve: &Serve,
        meanwhile: impl FnOnce(&Progress<'_>) -> T,
    ) -> (T, Met) {
        traffic::during(serve.broker, &self.ledger, &mut self.random, meanwhile)
    }

    /// What is in the queues and in the list of undecided halfs is what the ledger says; nothing is changed.
    pub(crate) fn look(&mut self, serve: &Serve) {
        let ledger = self.ledger.get_mut().unwrap();
        self.audit.queues(serve.broker, ledger).unwrap();
        listed::as_the_ledger_says(serve, ledger);
    }

    /// Besides: what was decided stands, and some of what was not can still be decided.
    pub(crate) fn verdict(&mut self, serve: &Serve) {
        self.look(serve);
        let ledger = self.ledger.get_mut().unwrap();
        Audit::decisions_stand(serve.broker, ledger, 50).unwrap();
        Audit::settle(serve.broker, ledger, 50).unwrap();
        self.look(serve);
    }

    /// The same of everything, read anew from the beginning. Tells how many decisions and how many messages there were.
    pub(crate) fn last_verdict(&mut self, serve: &Serve) -> (usize, usize) {
        self.look(serve);
        let ledger = self.ledger.get_mut().unwrap();
        Audit::settle(serve.broker, ledger, usize::MAX).unwrap();
        Audit::default().queues(serve.broker, ledger).unwrap();
        Audit::decisions_stand(serve.broker, ledger, usize::MAX).unwrap();
        let totals = ledger.totals();
        assert!(totals.0 > 0 && totals.1 > 0, "nothing happened");
        totals
    }
}
