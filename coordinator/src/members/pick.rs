//! Who is asked about a half: first whoever sent it, for the transaction is or was there, then who is likeliest to know.
//!
//! | | who |
//! |---|---|
//! | 1 | the connection that sent the half, another of the same client id |
//! | 2 | a *capable* member of the group: it declared so, sent a half for the group, or answered a check |
//! | 3 | anybody else of the group |
//!
//! Members who *declared* that they answer checks come before all that, the sender first among them, for a half that names the
//! database that decides it, and at every second check of any other half: whoever answers UNKNOWN again and again does not
//! keep a check server from being asked. Two checks in a row without an answer put a member into the last row, until
//! the next answer.

use hashbrown::HashMap;

use super::{Connection, ConnectionId, Group, IN_FLIGHT_MAX, Members, Pick, Seat};

/// Which half somebody is to be asked about, as far as that matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) group: &'a str,
    /// The client id, or address, that sent the half.
    pub(crate) sender: &'a str,
    /// The sending connection, if that is recorded.
    pub(crate) exact: Option<ConnectionId>,
    /// Who was asked in this round.
    pub(crate) tried: &'a [ConnectionId],
    /// Those who declared that they answer come first.
    pub(crate) declared_first: bool,
}

impl Members {
    /// Chooses whom to ask.
    pub(crate) fn pick(&mut self, question: Question<'_>) -> Pick {
        let Some(group) = self.groups.get_mut(question.group) else {
            return Pick::Nobody;
        };
        let same_client = self.senders.get(question.sender);
        let own = question
            .exact
            .iter()
            .chain(same_client.into_iter().flatten());
        let own: Vec<ConnectionId> = own.copied().collect();
        let choice = Choice {
            own: &own,
            tried: question.tried,
            connections: &self.connections,
        };
        let declared = question
            .declared_first
            .then(|| {
                let sender = choice.of_sender(group, Seat::is_declared);
                sender.or_else(|| choice.in_turn(group, Seat::is_declared))
            })
            .flatten();
        declared
            .or_else(|| choice.of_sender(group, Seat::is_good))
            .or_else(|| choice.in_turn(group, Seat::is_capable))
            .or_else(|| choice.in_turn(group, |_| true))
            .map_or(Pick::Nobody, |id| when_free(&self.connections, id))
    }
}

/// What a choice is made by.
struct Choice<'a> {
    own: &'a [ConnectionId],
    tried: &'a [ConnectionId],
    connections: &'a HashMap<ConnectionId, Connection>,
}

impl Choice<'_> {
    fn may(&self, seat: &Seat) -> bool {
        !self.tried.contains(&seat.connection)
    }

    /// A connection of the half's sender that is `wanted`.
    fn of_sender(&self, group: &Group, wanted: impl Fn(&Seat) -> bool) -> Option<ConnectionId> {
        let mut own = self.own.iter().copied();
        own.find(|id| {
            let mut seats = group.seats.iter();
            seats.any(|seat| seat.connection == *id && self.may(seat) && wanted(seat))
        })
    }

    /// A member that is `wanted`: those with room first, equals one after the other.
    fn in_turn(&self, group: &mut Group, wanted: impl Fn(&Seat) -> bool) -> Option<ConnectionId> {
        let (late, early) = group.seats.split_at(group.turn.min(group.seats.len()));
        let in_turn = || {
            let seats = early.iter().chain(late);
            seats.filter(|seat| self.may(seat) && wanted(seat))
        };
        let has_room = |seat: &&Seat| is_free(self.connections, seat.connection);
        let chosen = in_turn().find(has_room).or_else(|| in_turn().next())?;
        let chosen = chosen.connection;
        let at = group
            .seats
            .iter()
            .position(|seat| seat.connection == chosen);
        group.turn = at.map_or(0, |at| at + 1);
        Some(chosen)
    }
}

pub(super) fn is_free(connections: &HashMap<ConnectionId, Connection>, id: ConnectionId) -> bool {
    connections
        .get(&id)
        .is_some_and(|connection| connection.in_flight < IN_FLIGHT_MAX)
}

fn when_free(connections: &HashMap<ConnectionId, Connection>, id: ConnectionId) -> Pick {
    if is_free(connections, id) {
        Pick::Ask(id)
    } else {
        Pick::Wait(id)
    }
}
