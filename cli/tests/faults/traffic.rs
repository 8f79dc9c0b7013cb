//! Producers that go on whatever happens: whose connection breaks connects again, whose request is refused asks again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::broker::await_that;
use crate::ledger::Ledger;
use crate::load::{self, Ended};
use crate::random::Random;

const PRODUCERS: u64 = 4;
/// Before a producer comes back: one that is refused would only be refused again.
const PAUSE: Duration = Duration::from_millis(20);

/// What producers met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) broken: usize,
    /// How often each response code came, with the last remark.
    pub(crate) refused: BTreeMap<i32, (usize, String)>,
}

/// Lets producers work while `meanwhile` runs, and tells what they met.
pub(crate) fn during<T>(
    broker: SocketAddr,
    ledger: &Mutex<Ledger>,
    random: &mut Random,
    meanwhile: impl FnOnce(&Progress<'_>) -> T,
) -> (T, Met) {
    let met = Mutex::new(Met::default());
    let go_on = AtomicBool::new(true);
    let value = std::thread::scope(|scope| {
        for _ in 0..PRODUCERS {
            let mut random = Random::new(random.below(u64::MAX));
            let (ledger, go_on, met) = (ledger, &go_on, &met);
            scope.spawn(move || {
                while go_on.load(Ordering::Relaxed) {
                    let ended = load::run(broker, ledger, random.clone(), go_on);
                    random.below(2);
                    note(&mut met.lock().unwrap(), ended);
                    std::thread::sleep(PAUSE);
                }
            });
        }
        // Producers must be told to stop also when this panics, or the scope would wait for ever.
        let _stop = Stop(&go_on);
        meanwhile(&Progress { ledger, met: &met })
    });
    (value, met.into_inner().unwrap())
}

fn note(met: &mut Met, ended: Ended) {
    match ended {
        Ended::Told => {}
        Ended::Broken => met.broken += 1,
        Ended::Refused(reply) => {
            let refused = met.refused.entry(reply.code).or_default();
            refused.0 += 1;
            refused.1 = reply.remark.unwrap_or_default();
        }
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How far the producers are.
pub(crate) struct Progress<'a> {
    ledger: &'a Mutex<Ledger>,
    met: &'a Mutex<Met>,
}

impl Progress<'_> {
    /// Decisions acknowledged so far.
    pub(crate) fn decisions(&self) -> usize {
        self.ledger.lock().unwrap().totals().0
    }

    /// Waits until so many more decisions have been acknowledged.
    pub(crate) fn await_decisions(&self, more: usize) {
        let goal = self.decisions() + more;
        await_that(&format!("{more} more decisions"), || {
            self.decisions() >= goal
        });
    }

    /// Requests refused so far.
    pub(crate) fn refusals(&self) -> usize {
        let met = self.met.lock().unwrap();
        met.refused.values().map(|(times, _)| times).sum()
    }

    /// Waits until something more was refused.
    pub(crate) fn await_refusal(&self) {
        let before = self.refusals();
        await_that("a refusal", || self.refusals() > before);
    }
}
