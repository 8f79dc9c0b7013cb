//! The world of one seed: the broker's process, the clients with their databases, the network between them, the clock, and
//! whatever goes wrong.

mod apply;
mod chaos;
mod clients;
mod decisions;
mod delays;
mod halfs;
mod liveness;
mod network;
mod node;
mod reads;
mod round;
mod settle;
mod start;
pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_coordinator::Now;

use crate::agenda::Agenda;
use crate::checks::{self, Check};
use crate::dice::Dice;
use crate::disk::{Crash, SimDisk};
use crate::model::Model;
use crate::plan::Plan;
use crate::seen::Seen;
use crate::tally::Tally;
use crate::trace::Trace;
use clients::{Client, Transaction};
use node::Up;
use reads::Consumer;
use traffic::{From, Reply, Request};

/// Wall time at which every history begins.
const START_WALL_MS: i64 = 1_700_000_000_000;

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request reaches the process with this number.
    Arrives(u64, From, Request),
    Hears(From, Reply),
    /// The process does what is due.
    Round,
    /// A sync of the process with this number is over.
    SyncIsOver(u64, u64),
    CheckpointWritten(u64),
    Starts,
    Connects(usize),
    Begins(usize),
    Finishes(String),
    GivesUp(String, u32),
    Answers(From, String, u64, u64),
    Pulls(usize),
    LevelsLook,
    Audit,
    Chaos,
    TopicBack(u64),
    DiskHasRoom,
    Operator,
}

/// A guarantee that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) guarantee: String,
    pub(crate) what: String,
    pub(crate) at_ms: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    agenda: Agenda<Event>,
    model: Model,
    checks: Vec<Box<dyn Check>>,
    disk: Arc<SimDisk>,
    up: Option<Up>,
    /// How the last process ended.
    crash: Crash,
    /// Counts processes.
    boot: u64,
    clients: Vec<Client>,
    transactions: BTreeMap<String, Transaction>,
    consumers: Vec<Consumer>,
    connections: u64,
    keys: u64,
    now_ms: u64,
    /// The wall clock against the simulation's.
    wall_ms: i64,
    /// When a round is on the agenda.
    round_at: Option<u64>,
    faults_are_over: bool,
    violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(seed: u64, is_kept: bool, is_printed: bool) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::of(&mut dice);
        let disk = Arc::new(SimDisk::new(dice.fork(), plan.capacity));
        let mut trace = Trace::new(is_kept, is_printed);
        trace.line(0, format_args!("seed {seed} {plan:?}"));
        let clients = Client::all(&plan);
        let consumers = vec![Consumer::default(); plan.consumers.len()];
        World {
            model: Model::new(plan.clone()),
            plan,
            dice,
            trace,
            tally: Tally::default(),
            agenda: Agenda::default(),
            checks: checks::all(),
            disk,
            up: None,
            crash: Crash::Kill,
            boot: 0,
            clients,
            transactions: BTreeMap::new(),
            consumers,
            connections: 0,
            keys: 0,
            now_ms: 0,
            wall_ms: START_WALL_MS,
            round_at: None,
            faults_are_over: false,
            violation: None,
        }
    }

    /// Both phases; what was broken, if anything was.
    pub(crate) fn run(&mut self) -> Option<Violation> {
        self.start();
        let end = self.plan.safety_ms;
        self.run_until(end);
        if self.violation.is_none() {
            self.settle_everything();
        }
        self.tally.halfs += self.model.halfs.len() as u64;
        self.violation.clone()
    }

    fn run_until(&mut self, end_ms: u64) {
        while self.violation.is_none() {
            let Some(at) = self.agenda.next_at().filter(|at| *at <= end_ms) else {
                break;
            };
            self.move_to(at);
            if let Some((_, event)) = self.agenda.pop() {
                self.happen(event);
            }
        }
        self.move_to(end_ms);
    }

    fn move_to(&mut self, at_ms: u64) {
        self.now_ms = self.now_ms.max(at_ms);
        self.model.mono_ms = self.now_ms;
        // What was over by a clock that went back since is gone all the same.
        self.model.wall_ms = self.model.wall_ms.max(self.wall());
    }

    fn wall(&self) -> i64 {
        self.wall_ms.saturating_add_unsigned(self.now_ms)
    }

    /// The present as the process born at `born_ms` reads it.
    fn clock(&self, born_ms: u64) -> Now {
        Now {
            wall_ms: self.wall(),
            mono_ms: self.now_ms - born_ms,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(boot, from, request) => self.arrives(boot, from, request),
            Event::Hears(to, reply) => self.hears(to, reply),
            Event::Round => self.round_is_due(),
            Event::SyncIsOver(boot, number) => self.sync_ends(boot, number),
            Event::CheckpointWritten(boot) => self.checkpoint_written(boot),
            Event::Starts => self.starts(),
            Event::Connects(client) => self.connects(client),
            Event::Begins(client) => self.begins(client),
            Event::Finishes(key) => self.finishes(&key),
            Event::GivesUp(key, attempt) => self.gives_up(&key, attempt),
            Event::Answers(from, key, handle, seq) => self.answers(from, &key, handle, seq),
            Event::Pulls(consumer) => self.pulls(consumer),
            Event::LevelsLook => self.levels_look(),
            Event::Audit => self.audit_and_again(),
            Event::Chaos => self.chaos(),
            Event::TopicBack(topic) => self.topic_back(topic),
            Event::DiskHasRoom => self.disk.hold(0),
            Event::Operator => self.operator(),
        }
    }

    /// Lets every checker look.
    fn see(&mut self, seen: &Seen<'_>) {
        for check in &mut self.checks {
            if let Err(what) = check.see(&self.model, seen)
                && self.violation.is_none()
            {
                let guarantee = check.guarantee().to_owned();
                self.trace
                    .line(self.now_ms, format_args!("BROKEN {guarantee}: {what}"));
                self.violation = Some(Violation {
                    guarantee,
                    what,
                    at_ms: self.now_ms,
                });
            }
        }
    }
}

/// Writes a line of the history.
macro_rules! note {
    ($world:expr, $($text:tt)+) => {
        $world.trace.line($world.now_ms, format_args!($($text)+))
    };
}
use note;
