//! Producers with their databases, and the checkers in them.

use escrow_protocol::transaction::Resolution;

use super::traffic::{End, From, Outgoing, Reply, Request, Wrong};
use super::{Event, World, note};
use crate::model::{Decision, QueueKey};
use crate::plan::Plan;

/// How often a client sends a half again that nobody acknowledges.
const ATTEMPTS: u32 = 3;
const TIMEOUT_MS: u64 = 3_000;

#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) group: u64,
    pub(super) number: u64,
    pub(super) connection: Option<u64>,
    /// Not back before this time.
    pub(super) away_until: u64,
}

/// What a client does with the outcome of its local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Truth,
    TruthTwice,
    Unknown,
    Nothing,
    Contradiction,
    TruthThenContradiction,
    ContradictionThenTruth,
}

/// A local transaction and its message.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    client: usize,
    sent: Outgoing,
    says: Says,
    /// What the database will say, and from when on.
    decision: Decision,
    decided_at: Option<u64>,
    handle: Option<(u64, u64)>,
    /// Checks are answered UNKNOWN whatever the database says, until faults are over.
    is_stubborn: bool,
}

impl Client {
    pub(super) fn all(plan: &Plan) -> Vec<Client> {
        let numbers =
            (0..plan.groups).flat_map(|group| (0..plan.clients_per_group).map(move |n| (group, n)));
        numbers
            .map(|(group, number)| Client {
                name: format!("client-{group}-{number}"),
                group,
                number,
                connection: None,
                away_until: 0,
            })
            .collect()
    }

    pub(super) fn address(&self, connection: u64) -> String {
        format!("10.0.{}.{}:{connection}", self.group, self.number)
    }
}

impl World {
    pub(super) fn connects(&mut self, client: usize) {
        let known = &self.clients[client];
        if known.connection.is_some() || self.up.is_none() {
            return;
        }
        if known.away_until > self.now_ms {
            let back = known.away_until;
            return self.agenda.at(back, Event::Connects(client));
        }
        self.connections += 1;
        let connection = self.connections;
        self.clients[client].connection = Some(connection);
        // Some speak for their group only by what they send.
        if self.faults_are_over || !self.dice.one_in(5) {
            let capable = self.dice.one_in(2);
            let from = From { client, connection };
            self.say_at_once(from, Request::Join { capable });
        }
    }

    /// A client closes its connection and comes back after a while.
    pub(super) fn disconnects(&mut self, client: usize, away_ms: u64) {
        let Some(connection) = self.clients[client].connection.take() else {
            return;
        };
        self.say_at_once(From { client, connection }, Request::Left);
        let back = self.now_ms + away_ms;
        self.clients[client].away_until = back;
        self.agenda.at(back, Event::Connects(client));
    }

    /// A transaction begins, or a plain message is sent.
    pub(super) fn begins(&mut self, client: usize) {
        if self.faults_are_over {
            return;
        }
        let next = self.now_ms + self.dice.between(1, 2 * self.plan.pause_ms);
        self.agenda.at(next, Event::Begins(client));
        let Some(connection) = self.clients[client].connection else {
            return;
        };
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let mut sent = self.some_message(key.clone());
        let from = From { client, connection };
        if self.dice.one_in(4) {
            let levels = u32::try_from(self.plan.levels.len()).unwrap_or(0);
            sent.level = (levels > 0 && self.dice.one_in(2))
                .then(|| u32::try_from(self.dice.below(levels.into())).unwrap_or(0));
            return self.say(from, Request::Plain(sent));
        }
        let decision = if self.dice.one_in(3) {
            Decision::Rollback
        } else {
            Decision::Commit
        };
        let transaction = Transaction {
            client,
            sent: sent.clone(),
            says: self.some_says(),
            decision,
            decided_at: None,
            handle: None,
            is_stubborn: self.dice.one_in(12),
        };
        self.transactions.insert(key.clone(), transaction);
        self.say(from, Request::Half(sent));
        self.agenda
            .at(self.now_ms + TIMEOUT_MS, Event::GivesUp(key, 1));
    }

    fn some_message(&mut self, key: String) -> Outgoing {
        let topic = self.dice.below(self.plan.topics.len() as u64);
        let queues = self.plan.topics[usize::try_from(topic).unwrap_or(0)];
        let queue_id = i32::try_from(self.dice.below(u64::from(queues))).unwrap_or(0);
        let len = self.dice.between(1, self.plan.body_bytes_max);
        let filler = self.dice.roll().to_le_bytes();
        Outgoing {
            key,
            queue: QueueKey { topic, queue_id },
            body: filler
                .into_iter()
                .cycle()
                .take(usize::try_from(len).unwrap_or(1))
                .collect(),
            immunity_s: self.dice.one_in(8).then(|| self.dice.below(40)),
            level: None,
        }
    }

    fn some_says(&mut self) -> Says {
        match self.dice.below(20) {
            0..=9 => Says::Truth,
            10..=12 => Says::Nothing,
            13 | 14 => Says::Unknown,
            15 | 16 => Says::TruthTwice,
            17 => Says::Contradiction,
            18 => Says::TruthThenContradiction,
            _ => Says::ContradictionThenTruth,
        }
    }

    pub(super) fn hears(&mut self, to: From, reply: Reply) {
        if self.clients[to.client].connection != Some(to.connection) {
            return;
        }
        match reply {
            Reply::HalfStored { key, handle, seq } => self.half_is_stored(&key, handle, seq),
            Reply::Check { handle, seq, key } => {
                let delay = match self.dice.below(10) {
                    0..=6 => self.dice.below(50),
                    7 | 8 => self.dice.below(3_000),
                    _ => self.dice.below(15_000),
                };
                let delay = if self.faults_are_over {
                    delay % 50
                } else {
                    delay
                };
                let event = Event::Answers(to, key, handle, seq);
                self.agenda.at(self.now_ms + delay, event);
            }
            Reply::PlainStored { .. }
            | Reply::Delivered(_)
            | Reply::Decided(_)
            | Reply::TopicIs(..)
            | Reply::TopicIsGone(_) => {}
        }
    }

    /// The half is safe: the local transaction runs.
    fn half_is_stored(&mut self, key: &str, handle: u64, seq: u64) {
        let takes = match self.dice.below(20) {
            0..=11 => self.dice.between(1, 200),
            12..=16 => self.dice.below(10_000),
            17 | 18 => self.dice.below(600_000),
            _ => self.dice.below(5_000_000),
        };
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        // A half given up is one whose transaction never runs.
        if transaction.handle.is_none() && transaction.decided_at.is_none() {
            transaction.handle = Some((handle, seq));
            self.agenda
                .at(self.now_ms + takes, Event::Finishes(key.to_owned()));
        }
    }

    /// Nobody acknowledged the half in time.
    pub(super) fn gives_up(&mut self, key: &str, attempt: u32) {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        if transaction.handle.is_some() || transaction.decided_at.is_some() {
            return;
        }
        if attempt >= ATTEMPTS || self.faults_are_over {
            transaction.decision = Decision::Rollback;
            transaction.decided_at = Some(self.now_ms);
            return;
        }
        let (client, sent) = (transaction.client, transaction.sent.clone());
        if let Some(connection) = self.clients[client].connection {
            self.tally.add("half sent again");
            self.say(From { client, connection }, Request::Half(sent));
        }
        let at = self.now_ms + TIMEOUT_MS;
        self.agenda
            .at(at, Event::GivesUp(key.to_owned(), attempt + 1));
    }

    /// The database has spoken.
    pub(super) fn finishes(&mut self, key: &str) {
        let now = self.now_ms;
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        transaction.decided_at = Some(now);
        let truth = resolution(transaction.decision);
        let opposite = match truth {
            Resolution::Commit => Resolution::Rollback,
            _ => Resolution::Commit,
        };
        let says: &[Resolution] = match transaction.says {
            Says::Truth => &[truth],
            Says::TruthTwice => &[truth, truth],
            Says::Unknown => &[Resolution::Unknown],
            Says::Nothing => &[],
            Says::Contradiction => &[opposite],
            Says::TruthThenContradiction => &[truth, opposite],
            Says::ContradictionThenTruth => &[opposite, truth],
        };
        let (client, handle) = (transaction.client, transaction.handle);
        let Some((handle, seq)) = handle else {
            return;
        };
        for resolution in says.iter().copied() {
            let wrong = self.dice.one_in(25).then(|| {
                *self
                    .dice
                    .pick(&[Wrong::Group, Wrong::HalfOffset, Wrong::Id, Wrong::Handle])
            });
            let end = End {
                key: key.to_owned(),
                handle,
                seq,
                resolution,
                from_check: false,
                wrong,
            };
            if let Some(connection) = self.clients[client].connection {
                self.say(From { client, connection }, Request::End(end));
            }
        }
    }

    /// A checker looks into its database and answers.
    pub(super) fn answers(&mut self, from: From, key: &str, handle: u64, seq: u64) {
        if self.clients[from.client].connection != Some(from.connection) {
            return;
        }
        let Some(transaction) = self.transactions.get(key) else {
            return note!(self, "asked about {key}, which nobody sent");
        };
        let is_stubborn = transaction.is_stubborn && !self.faults_are_over;
        let known = transaction.decided_at.is_some() && !is_stubborn;
        let resolution = if known {
            resolution(transaction.decision)
        } else {
            Resolution::Unknown
        };
        let end = End {
            key: key.to_owned(),
            handle,
            seq,
            resolution,
            from_check: true,
            wrong: None,
        };
        self.say(from, Request::End(end));
    }

    /// Every database speaks now, at the latest.
    pub(super) fn databases_speak(&mut self) {
        for transaction in self.transactions.values_mut() {
            if transaction.handle.is_none() && transaction.decided_at.is_none() {
                transaction.decision = Decision::Rollback;
            }
            transaction.decided_at.get_or_insert(self.now_ms);
        }
    }
}

fn resolution(decision: Decision) -> Resolution {
    match decision {
        Decision::Commit => Resolution::Commit,
        Decision::Rollback => Resolution::Rollback,
    }
}
