//! What an order worker and its parent say to each other: lines on stdout, which the parent keeps, and on stdin.

use std::io::Write as _;

/// Whatever else a test binary prints does not begin like this.
const SIGN: &str = "@ ";

/// The parent: go on, at the start and out of a step at which the worker is parked.
pub(crate) const GO: &str = "go";

/// How a worker was told that an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Committed; and whether the broker has taken note, will ask, or refuses.
    Committed(Delivered),
    /// Rolled back for good, or never begun.
    RolledBack,
    /// As [`End::RolledBack`], since a check was first.
    TooLate,
    InDoubt,
    /// What must not happen to somebody who keeps to the rules.
    Split,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    Resolved,
    Deferred,
    Refused,
}

const ENDS: [(End, &str); 7] = [
    (End::Committed(Delivered::Resolved), "committed"),
    (End::Committed(Delivered::Deferred), "deferred"),
    (End::Committed(Delivered::Refused), "refused"),
    (End::RolledBack, "rolled-back"),
    (End::TooLate, "too-late"),
    (End::InDoubt, "in-doubt"),
    (End::Split, "split"),
];

/// What a worker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It waits for [`GO`].
    Ready,
    /// It places an order.
    Order(String),
    /// It is at the step that it was to tell, with a message of this transaction id.
    Step(String),
    /// What its producer said of an order.
    Ended(String, End),
}

impl Event {
    /// Tells the parent, who may have gone.
    pub(crate) fn tell(&self) {
        let line = match self {
            Event::Ready => "ready".to_owned(),
            Event::Order(id) => format!("order {id}"),
            Event::Step(tx_id) => format!("step {tx_id}"),
            Event::Ended(id, end) => format!("ended {id} {}", word(*end)),
        };
        let mut stdout = std::io::stdout().lock();
        // In one write: the line of a worker that is killed now is there or not.
        let _ = stdout.write_all(format!("{SIGN}{line}\n").as_bytes());
        let _ = stdout.flush();
    }

    /// Reads a line; none if it is not one of ours.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(SIGN)?.split(' ');
        let kind = words.next()?;
        let mut word = || words.next().map(str::to_owned);
        Some(match kind {
            "ready" => Event::Ready,
            "order" => Event::Order(word()?),
            "step" => Event::Step(word()?),
            "ended" => Event::Ended(word()?, end(&word()?)?),
            _ => return None,
        })
    }
}

fn word(end: End) -> &'static str {
    let found = ENDS.iter().find(|(one, _)| *one == end);
    found.map_or("", |(_, word)| word)
}

fn end(word: &str) -> Option<End> {
    let found = ENDS.iter().find(|(_, one)| *one == word);
    found.map(|(end, _)| *end)
}
