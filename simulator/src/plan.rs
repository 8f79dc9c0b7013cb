//! What a seed decides before anything happens: who is there, what the rules are, and what may go wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use escrow_coordinator::{Policies, Rules};
use escrow_store::Durability;

use crate::dice::Dice;

/// The rules of checking, in the simulator's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckRules {
    pub(crate) first_ms: u64,
    /// Fixed interval; `None`: the backoff.
    pub(crate) interval_ms: Option<u64>,
    pub(crate) checks_max: u32,
    pub(crate) park_age_ms: u64,
}

/// What may go wrong, in chances out of 1000 or as on and off.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// Of each message between client and broker.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    /// Of each tick of the fault clock.
    pub(crate) crash: u64,
    pub(crate) disk: u64,
    /// Of each tick too, and of each start of a process.
    pub(crate) read: u64,
    pub(crate) full_disk: u64,
    pub(crate) flip: u64,
    pub(crate) clock_step: u64,
    pub(crate) disconnect: u64,
    pub(crate) long_absence: u64,
    pub(crate) topic: u64,
}

/// What a consumer reads.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    topics: BTreeSet<u64>,
    /// Messages of a queue that it takes at once.
    pub(crate) batch: usize,
    /// The longest time between two pulls.
    pub(crate) pause_ms: u64,
}

impl Subscription {
    pub(crate) fn reads(&self, topic: u64) -> bool {
        self.topics.contains(&topic)
    }

    /// The first consumer reads everything.
    fn of(dice: &mut Dice, number: u64, topics: u64) -> Subscription {
        let some = (0..topics).filter(|_| number == 0 || dice.one_in(2));
        Subscription {
            topics: some.collect(),
            batch: *dice.pick(&[1, 8, 32]),
            pause_ms: *dice.pick(&[100, 1_000, 5_000]),
        }
    }
}

/// All that is settled from the start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) groups: u64,
    pub(crate) clients_per_group: u64,
    /// Queues of each topic.
    pub(crate) topics: Vec<u32>,
    pub(crate) consumers: Vec<Subscription>,
    /// How long the delayed messages of each level wait, ms.
    pub(crate) levels: Vec<u64>,
    /// How long a sync takes at most that runs beside the rounds; 0: every sync is waited for.
    pub(crate) sync_ms_max: u64,
    pub(crate) plain: Durability,
    pub(crate) transaction: Durability,
    pub(crate) rules: CheckRules,
    pub(crate) store: escrow_store::Settings,
    pub(crate) capacity: u64,
    pub(crate) faults: Faults,
    /// How long the first phase takes, and the mean time between two transactions of a client.
    pub(crate) safety_ms: u64,
    pub(crate) pause_ms: u64,
    pub(crate) body_bytes_max: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Plan {
    pub(crate) fn of(dice: &mut Dice) -> Plan {
        let (plain, transaction) = match dice.below(10) {
            0..=5 => (Durability::Written, Durability::Synced),
            6 | 7 => (Durability::Synced, Durability::Synced),
            _ => (Durability::Written, Durability::Written),
        };
        let groups = dice.between(1, 3);
        let clients_per_group = dice.between(1, 3);
        let transactions = dice.between(150, 700);
        let pause_ms = *dice.pick(&[40, 300, 2_000, 10_000, 60_000]);
        let topics: Vec<u32> = (0..dice.between(1, 3)).map(|_| queues(dice)).collect();
        let consumers = 0..dice.between(1, 3);
        let consumers = consumers.map(|number| Subscription::of(dice, number, topics.len() as u64));
        let mut plan = Plan {
            groups,
            clients_per_group,
            consumers: consumers.collect(),
            topics,
            levels: (0..dice.below(3))
                .map(|_| *dice.pick(&[500, 5_000, 60_000]))
                .collect(),
            sync_ms_max: *dice.pick(&[0, 3, 20, 400, 4_000]),
            plain,
            transaction,
            rules: rules(dice),
            store: store(dice),
            capacity: if dice.one_in(4) { 3 * MIB } else { 1 << 40 },
            faults: Faults::of(dice),
            safety_ms: transactions * pause_ms / (groups * clients_per_group),
            pause_ms,
            body_bytes_max: *dice.pick(&[64, 600, 600, 6_000]),
        };
        if plan.store.free_bytes_clean == 0 {
            // Nothing leaves for want of space: a disk that cannot hold it all would be full for good.
            let all = MIB + transactions * 2 * (plan.body_bytes_max + 2 * KIB);
            plan.capacity = plan.capacity.max(all);
        }
        plan
    }

    /// What the coordinator is told.
    pub(crate) fn coordinator(&self) -> escrow_coordinator::Settings {
        let is_default = self.rules == CheckRules::DEFAULT;
        let broker = Rules {
            first_check_ms: (!is_default).then_some(self.rules.first_ms),
            interval_ms: self.rules.interval_ms,
            checks_max: (!is_default).then_some(self.rules.checks_max),
        };
        escrow_coordinator::Settings {
            policies: Policies {
                broker,
                ..Policies::default()
            },
            durability: self.transaction,
            ..escrow_coordinator::Settings::default()
        }
    }
}

impl CheckRules {
    const DEFAULT: CheckRules = CheckRules {
        first_ms: 10_000,
        interval_ms: None,
        checks_max: 15,
        park_age_ms: 3_600_000,
    };

    /// The longest time between two checks of a half that is not parked.
    pub(crate) fn pause_max_ms(&self) -> u64 {
        self.first_ms.max(self.interval_ms.unwrap_or(360_000))
    }
}

fn queues(dice: &mut Dice) -> u32 {
    u32::try_from(dice.between(1, 4)).unwrap_or(1)
}

fn rules(dice: &mut Dice) -> CheckRules {
    if dice.one_in(2) {
        return CheckRules::DEFAULT;
    }
    CheckRules {
        first_ms: dice.between(1, 6) * 1_000,
        interval_ms: Some(dice.between(1, 30) * 1_000),
        checks_max: u32::try_from(dice.between(1, 4)).unwrap_or(1),
        park_age_ms: 0,
    }
}

fn store(dice: &mut Dice) -> escrow_store::Settings {
    let mut settings = escrow_store::Settings {
        segment_bytes: *dice.pick(&[64 * KIB, 64 * KIB, 128 * KIB]),
        unsynced_bytes_max: *dice.pick(&[8 * KIB, 32 * KIB, 64 * KIB]),
        checkpoint_interval: Duration::from_secs(dice.between(2, 60)),
        checkpoint_bytes: *dice.pick(&[16 * KIB, 64 * KIB, 256 * KIB]),
        relocate_after: Duration::from_secs(*dice.pick(&[5, 600, 3_600])),
        relocate_step_bytes: *dice.pick(&[2 * KIB, 64 * KIB]),
        ..escrow_store::Settings::tiny()
    };
    if dice.one_in(2) {
        settings.file_reserved = Duration::from_secs(*dice.pick(&[20, 300, 7_200]));
    }
    if dice.one_in(2) {
        settings.free_bytes_clean = 768 * KIB;
        settings.free_bytes_refuse = 384 * KIB;
        settings.free_bytes_reserve = 64 * KIB;
        settings.free_bytes_stop = 32 * KIB;
    }
    settings
}

impl Faults {
    fn of(dice: &mut Dice) -> Faults {
        let mut some = |chance: u64, most: u64| {
            let is_on = dice.permille(chance);
            let much = dice.between(1, most);
            if is_on { much } else { 0 }
        };
        Faults {
            lost: some(700, 100),
            doubled: some(500, 100),
            late: some(500, 200),
            crash: some(800, 120),
            disk: some(400, 60),
            read: some(300, 60),
            full_disk: some(250, 60),
            flip: some(250, 80),
            clock_step: some(200, 60),
            disconnect: some(700, 150),
            long_absence: some(400, 40),
            topic: some(300, 50),
        }
    }
}
