//! The rows of the matrix: where the crash strikes.

use crate::ledger::Fate;
use crate::proxy::{Prey, Trap};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    IdDrawn,
    HalfSent,
    HalfAcked,
    Beginning,
    Marked,
    WorkDone,
    Committing,
    CommitOnTheWire,
    Committed,
    EndLost,
    BrokerKilledAtEnd,
    EndReplyLost,
    BrokerKilledAtHalf,
    AnyMoment,
    DatabaseKilled,
    BrokerKilled,
    CheckedTooEarly,
    Operator,
}

/// How the crash is brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// The worker is held up at this step, then killed.
    Step(&'static str),
    /// The worker is killed when the trap before the broker has been sprung.
    BrokerTrap(Prey, Trap),
    /// The worker is killed while it waits for COMMIT.
    Commit,
    /// The broker is killed at this request, a moment later also the worker.
    BrokerAt(Prey),
    /// The worker is killed whatever it is doing, with several orders at a time.
    AnyMoment,
    /// The database server is killed, again and again, while several orders at a time are placed.
    Database,
    /// As [`Strike::Database`], with the broker.
    Broker,
    /// The worker is held up until a check has ruled the transaction out.
    Early,
    /// The worker is held up until an operator has decided.
    Operator,
}

impl Row {
    pub(crate) const ALL: [Row; 18] = [
        Row::IdDrawn,
        Row::HalfSent,
        Row::HalfAcked,
        Row::Beginning,
        Row::Marked,
        Row::WorkDone,
        Row::Committing,
        Row::CommitOnTheWire,
        Row::Committed,
        Row::EndLost,
        Row::BrokerKilledAtEnd,
        Row::EndReplyLost,
        Row::BrokerKilledAtHalf,
        Row::AnyMoment,
        Row::DatabaseKilled,
        Row::BrokerKilled,
        Row::CheckedTooEarly,
        Row::Operator,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Row::IdDrawn => "0 id drawn, half never arrived",
            Row::HalfSent => "1 half stored, no reply",
            Row::HalfAcked => "2 half acknowledged",
            Row::Beginning => "3 before BEGIN",
            Row::Marked => "4 marker inserted",
            Row::WorkDone => "5 business writes",
            Row::Committing => "6 before COMMIT",
            Row::CommitOnTheWire => "7 COMMIT on the wire, no reply",
            Row::Committed => "8 COMMIT done, END not sent",
            Row::EndLost => "9 END lost",
            Row::BrokerKilledAtEnd => "9, 10 broker killed at END",
            Row::EndReplyLost => "11 published, reply lost",
            Row::BrokerKilledAtHalf => "broker killed at 1-2",
            Row::AnyMoment => "worker killed at any moment",
            Row::DatabaseKilled => "database killed under load",
            Row::BrokerKilled => "broker killed under load",
            Row::CheckedTooEarly => "checked before step 4",
            Row::Operator => "application and operator",
        }
    }

    /// The first part of the ids of its orders.
    pub(crate) fn key(self) -> String {
        format!("{self:?}")
    }

    pub(crate) fn strike(self) -> Strike {
        match self {
            Row::IdDrawn => Strike::BrokerTrap(Prey::Send, Trap::Request),
            Row::HalfSent => Strike::BrokerTrap(Prey::Send, Trap::Reply),
            Row::HalfAcked => Strike::Step("half acked"),
            Row::Beginning => Strike::Step("beginning"),
            Row::Marked => Strike::Step("marked"),
            Row::WorkDone => Strike::Step("work done"),
            Row::Committing => Strike::Step("committing"),
            Row::CommitOnTheWire => Strike::Commit,
            Row::Committed => Strike::Step("committed"),
            Row::EndLost => Strike::BrokerTrap(Prey::End, Trap::Request),
            Row::BrokerKilledAtEnd => Strike::BrokerAt(Prey::End),
            Row::EndReplyLost => Strike::BrokerTrap(Prey::End, Trap::Reply),
            Row::BrokerKilledAtHalf => Strike::BrokerAt(Prey::Send),
            Row::AnyMoment => Strike::AnyMoment,
            Row::DatabaseKilled => Strike::Database,
            Row::BrokerKilled => Strike::Broker,
            Row::CheckedTooEarly => Strike::Early,
            Row::Operator => Strike::Operator,
        }
    }

    pub(crate) fn kills_broker(self) -> bool {
        matches!(self.strike(), Strike::Broker | Strike::BrokerAt(_))
    }

    /// What must become of the order that was being placed.
    pub(crate) fn fate(self) -> Fate {
        match self {
            Row::IdDrawn
            | Row::HalfSent
            | Row::HalfAcked
            | Row::Beginning
            | Row::Marked
            | Row::WorkDone
            | Row::Committing
            | Row::CheckedTooEarly => Fate::RolledBack,
            Row::Committed | Row::EndLost | Row::EndReplyLost => Fate::Committed,
            Row::CommitOnTheWire
            | Row::BrokerKilledAtEnd
            | Row::BrokerKilledAtHalf
            | Row::AnyMoment
            | Row::DatabaseKilled
            | Row::BrokerKilled
            | Row::Operator => Fate::Either,
        }
    }
}
