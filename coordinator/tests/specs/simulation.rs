//! A seed decides what happens: halfs, decisions, repetitions, contradictions, silence, connections that come and
//! go, an operator, topics that vanish, crashes that lose what was not synced. First safety under all that; then
//! the faults stop, and every half must settle. What must hold is in `model`, which knows nothing of the
//! coordinator's ways.
//!
//! `ESCROW_SEED=17 cargo test -p escrow-coordinator --test specs simulation` runs one seed.

use crate::model::{Model, Rng};
use crate::world::{Sent, World, apache};
use escrow_coordinator::{Actor, Decision, EndOutcome, EndRefusal, HalfAck, Settings};
use escrow_protocol::transaction::Resolution;

const CLIENTS: u64 = 6;
const STEPS: u32 = 300;

struct Simulation {
    world: World,
    model: Model,
    rng: Rng,
    /// Answers on their way: when, from which connection, about which half.
    answers: Vec<(u64, u64, u64)>,
    /// The connection of each client, if it has one.
    connected: [Option<u64>; CLIENTS as usize],
    connections: u64,
    keys: u64,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut rng = Rng(seed);
        let settings = if rng.one_in(2) {
            Settings::default()
        } else {
            apache(2_000, 3_000, 3)
        };
        let mut world = World::with(settings);
        world.manual_sync = true;
        Simulation {
            world,
            model: Model::default(),
            rng,
            answers: Vec::new(),
            connected: [None; CLIENTS as usize],
            connections: 0,
            keys: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=5 => self.send(),
            6..=9 => self.end(),
            10 => self.contradict(),
            11 => self.repeat_send(),
            12 | 13 => self.connect_or_leave(),
            14 => self.operator(),
            15 => self.check_now(),
            16 => self.toggle_topic(),
            17 if self.rng.one_in(3) => self.crash(),
            _ => {
                let ms = self.rng.below(15_000);
                self.run(ms, false);
            }
        }
        if self.rng.one_in(2) {
            self.sync();
        }
    }

    fn someone(&mut self) -> Option<u64> {
        let client = usize::try_from(self.rng.below(CLIENTS)).ok()?;
        self.connected.get(client).copied().flatten()
    }

    fn send(&mut self) {
        let Some(connection) = self.someone() else {
            return self.connect_or_leave();
        };
        let key = format!("k{}", self.keys);
        self.keys += 1;
        let ack = self.world.half(connection, &key);
        assert!(!ack.duplicate, "of a key that is new");
        let commits = self.rng.one_in(2);
        let known_at = self.world.now.mono_ms + self.rng.below(120_000);
        self.model.stored(ack, key, commits, known_at);
    }

    fn repeat_send(&mut self) {
        let (Some(connection), Some(half)) = (self.someone(), self.model.pick(&mut self.rng))
        else {
            return;
        };
        let before = self.world.undecided();
        let age = self.world.now.wall_ms - half.ack.store_timestamp;
        if half.decision.is_some() || age > 59_000 {
            return;
        }
        let again = self.world.half(connection, &half.key);
        assert!(again.duplicate, "{half:?}");
        assert_eq!((again.seq, again.handle), (half.ack.seq, half.ack.handle));
        assert_eq!(self.world.undecided(), before);
    }

    /// What the half's own database says, or UNKNOWN while it does not know.
    fn truth(&self, seq: u64) -> Resolution {
        match self.model.half(seq) {
            Some(half) if half.known_at > self.world.now.mono_ms => Resolution::Unknown,
            Some(half) if half.commits => Resolution::Commit,
            _ => Resolution::Rollback,
        }
    }

    fn end(&mut self) {
        if let Some(half) = self.model.pick(&mut self.rng) {
            let resolution = self.truth(half.ack.seq.0);
            let outcome = self.world.end(&half.ack, resolution);
            self.judge(half.ack, resolution, &outcome);
        }
    }

    /// A producer that contradicts its database, and so may be the first or be refused.
    fn contradict(&mut self) {
        let Some(half) = self.model.pick(&mut self.rng) else {
            return;
        };
        let resolution = if half.commits {
            Resolution::Rollback
        } else {
            Resolution::Commit
        };
        let outcome = self.world.end(&half.ack, resolution);
        self.judge(half.ack, resolution, &outcome);
    }

    fn judge(&mut self, ack: HalfAck, resolution: Resolution, outcome: &EndOutcome) {
        let wanted = match resolution {
            Resolution::Commit => Decision::Commit,
            Resolution::Rollback => Decision::Rollback,
            Resolution::Unknown => {
                assert!(matches!(outcome, EndOutcome::Noted(_)), "{outcome:?}");
                return;
            }
        };
        let known = self.model.half(ack.seq.0).and_then(|half| half.decision);
        match outcome {
            EndOutcome::Decided(decided) => {
                assert_eq!(decided.decision, wanted);
                assert_eq!(decided.repeated, known.is_some(), "{ack:?} {known:?}");
                assert!(
                    known.is_none_or(|known| known == wanted),
                    "both decisions: {ack:?}"
                );
                self.model.decided(ack.seq.0, wanted);
            }
            EndOutcome::Refused(EndRefusal::Opposite(first)) => {
                assert_eq!(known, Some(first.decision));
                assert_ne!(first.decision, wanted);
            }
            EndOutcome::Refused(EndRefusal::TopicMissing(_)) => {
                assert!(self.world.topics.is_empty() && known.is_none());
            }
            other => panic!("{other:?} for {ack:?}"),
        }
    }

    fn operator(&mut self) {
        let Some(half) = self.model.pick(&mut self.rng) else {
            return;
        };
        let decision = if half.commits {
            Decision::Commit
        } else {
            Decision::Rollback
        };
        let ada = Actor {
            name: "ada",
            address: "",
            reason: "because",
        };
        if let Ok(decided) = self.world.decide(half.ack.seq.0, decision, ada) {
            assert_eq!(decided.repeated, half.decision.is_some());
            self.model.decided(half.ack.seq.0, decision);
        }
    }

    fn check_now(&mut self) {
        if let Some(half) = self.model.pick(&mut self.rng) {
            let (world, seq) = (&mut self.world, half.ack.seq);
            world.coordinator.check_now(&world.store, world.now, seq);
        }
    }

    fn connect_or_leave(&mut self) {
        let client = self.rng.below(CLIENTS);
        let capable = self.rng.one_in(2);
        match self.connected[usize::try_from(client).expect("small")] {
            Some(connection) => self.leave(client, connection),
            None => self.connect(client, capable),
        }
    }

    fn connect(&mut self, client: u64, capable: bool) {
        self.connections += 1;
        let connection = self.connections * 10 + client;
        self.connected[usize::try_from(client).expect("small")] = Some(connection);
        self.world.join(connection, capable);
    }

    fn leave(&mut self, client: u64, connection: u64) {
        self.connected[usize::try_from(client).expect("small")] = None;
        self.world.leave(connection);
        self.answers.retain(|(_, from, _)| *from != connection);
    }

    fn toggle_topic(&mut self) {
        if self.world.topics.remove("t").is_none() {
            self.world.topics.insert("t".to_owned(), 4);
        }
    }

    fn sync(&mut self) {
        self.world.sync();
        self.model.synced();
        if self.rng.one_in(4) {
            self.model.check_delivered(&self.world.delivered(2));
        }
    }

    fn crash(&mut self) {
        self.answers.clear();
        self.connected = [None; CLIENTS as usize];
        let down = self.rng.below(100_000);
        self.model.forget_clock(self.world.now.mono_ms, down);
        let down = i64::try_from(down).expect("small");
        if self.rng.one_in(2) {
            self.world.store.write().expect("the disk works");
        }
        match self.rng.below(3) {
            0 => self.world.crash(down),
            1 => self.world.crash_torn(self.rng.below(u64::MAX), down),
            _ => self.world.kill(down),
        }
        let store = &self.world.store;
        self.model.crashed(|seq| store.half(seq));
        self.world.sync();
        self.model.check_delivered(&self.world.delivered(2));
    }

    /// Lets time run, checks go out and answers come in.
    fn run(&mut self, ms: u64, faithful: bool) {
        let end = self.world.now.mono_ms + ms;
        while self.world.now.mono_ms < end {
            let next = self
                .answers
                .iter()
                .map(|(at, _, _)| *at)
                .min()
                .unwrap_or(end);
            let pause = next
                .min(end)
                .saturating_sub(self.world.now.mono_ms)
                .clamp(1, 500);
            for check in self.world.run(pause) {
                self.checked(&check, faithful);
            }
            self.deliver_answers();
        }
    }

    fn checked(&mut self, check: &Sent, faithful: bool) {
        let half = self.model.half(check.seq).expect("a half that was stored");
        assert_eq!(half.decision, None, "a check for a decided half");
        assert!(
            self.connected.contains(&Some(check.connection)),
            "who is not there"
        );
        let loses_it = !faithful && self.rng.one_in(4);
        if !loses_it {
            let delay = if faithful { 5 } else { self.rng.below(10_000) };
            self.answers
                .push((check.at + delay, check.connection, check.seq));
        }
    }

    fn deliver_answers(&mut self) {
        let now = self.world.now.mono_ms;
        let due: Vec<_> = self
            .answers
            .extract_if(.., |(at, _, _)| *at <= now)
            .collect();
        for (_, connection, seq) in due {
            let Some(ack) = self.model.half(seq).map(|half| half.ack) else {
                continue;
            };
            let resolution = self.truth(seq);
            let outcome = self.world.answer(connection, &ack, resolution);
            self.judge(ack, resolution, &outcome);
        }
    }

    /// No more faults, and one checker that lives: everything must settle.
    fn settle(&mut self) {
        self.world.topics.insert("t".to_owned(), 4);
        for (client, connection) in (0..).zip(self.connected) {
            if let Some(connection) = connection {
                self.leave(client, connection);
            }
        }
        self.connect(0, true);
        let mut rounds = 0;
        while self.world.undecided() > 0 {
            self.run(60_000, true);
            self.sync();
            rounds += 1;
            assert!(
                rounds < 180,
                "not settled after three hours: {:?}",
                self.model.undecided()
            );
        }
        assert_eq!(self.model.undecided(), [0; 0]);
        self.model.check_delivered(&self.world.delivered(2));
        assert_eq!(self.world.coordinator.in_flight(), 0);
    }
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed);
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.settle();
}

#[test]
fn whatever_happens_each_half_is_decided_once_and_in_the_end() {
    if let Some(seed) = option_env!("ESCROW_SEED") {
        return run(seed.parse().expect("a number"));
    }
    for seed in 0..24 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(
            outcome.is_ok(),
            "ESCROW_SEED={seed} cargo test -p escrow-coordinator --test specs simulation"
        );
    }
}
