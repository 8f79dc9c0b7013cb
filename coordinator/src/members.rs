//! Who is connected, for which producer groups, and who of them is asked about a half.
//!
//! Order of asking: the connection that sent the half, another of the same client id, a *capable* member of
//! the group, the rest. Capable is who declared it, sent a half for the group or answered a check; two
//! checks in a row without an answer end it, until the next answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The broker's number for a connection, never used twice in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A producer that a connection speaks for.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The producer group.
    pub group: &'a str,
    /// The connection.
    pub connection: ConnectionId,
    /// The client id of its heartbeat; empty while only a send is known of it.
    pub client_id: &'a str,
    /// The peer's `ip:port`.
    pub address: &'a str,
    /// Whether it declared that it answers checks.
    pub capable: bool,
}

/// Checks in flight that one connection may have.
pub(crate) const IN_FLIGHT_MAX: u32 = 64;
/// Checks in a row that a member may leave unanswered.
const SILENT_MAX: u8 = 2;

/// Closed connections that are remembered.
const DEPARTED_MAX: usize = 1_024;

#[derive(Debug)]
struct Seat {
    connection: ConnectionId,
    capable: bool,
    silent: u8,
}

impl Seat {
    fn is_demoted(&self) -> bool {
        self.silent >= SILENT_MAX
    }
}

#[derive(Debug, Default)]
struct Group {
    seats: Vec<Seat>,
    turn: usize,
}

#[derive(Debug)]
struct Connection {
    client_id: Arc<str>,
    address: Arc<str>,
    /// The groups that it speaks for, and whether it is known to answer checks for them.
    groups: Vec<(Arc<str>, bool)>,
    in_flight: u32,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// This one, now.
    Ask(ConnectionId),
    /// This one, when it has answered some of the checks that it has.
    Wait(ConnectionId),
    /// There is nobody who was not asked already.
    Nobody,
}

/// A connection that is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Departed {
    /// Senders of halfs of whom no connection is left: client ids, or the address of an unnamed connection.
    pub(crate) senders: Vec<Arc<str>>,
}

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Members {
    groups: HashMap<Arc<str>, Group>,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections by sender: by client id, in the order in which they came, and by address.
    senders: HashMap<Arc<str>, Vec<ConnectionId>>,
    /// Connections that closed last.
    departed: VecDeque<ConnectionId>,
}

impl Members {
    /// Takes a member in; answers whether it is new to its group.
    ///
    /// What a connection sent before it closed may be heard of after it closed: that makes it no member again.
    pub(crate) fn join(&mut self, member: Member<'_>) -> bool {
        if self.is_known(&member) || self.departed.contains(&member.connection) {
            return false;
        }
        self.connect(member.connection, member.client_id, member.address);
        let name: Arc<str> = match self.groups.get_key_value(member.group) {
            Some((name, _)) => name.clone(),
            None => member.group.into(),
        };
        let seats = &mut self.groups.entry(name.clone()).or_default().seats;
        let seat = seats
            .iter_mut()
            .find(|seat| seat.connection == member.connection);
        let is_new = seat.is_none();
        match seat {
            Some(seat) => seat.capable |= member.capable,
            None => seats.push(Seat {
                connection: member.connection,
                capable: member.capable,
                silent: 0,
            }),
        }
        if let Some(connection) = self.connections.get_mut(&member.connection) {
            connection.groups.retain(|(group, _)| *group != name);
            connection.groups.push((name, member.capable));
        }
        is_new
    }

    /// Whether the member would change nothing: the usual case, for every half joins its sender.
    fn is_known(&self, member: &Member<'_>) -> bool {
        let Some(connection) = self.connections.get(&member.connection) else {
            return false;
        };
        let is_same_client =
            member.client_id.is_empty() || *connection.client_id == *member.client_id;
        let mut groups = connection.groups.iter();
        is_same_client
            && groups
                .any(|(group, capable)| **group == *member.group && (*capable || !member.capable))
    }

    fn connect(&mut self, id: ConnectionId, client_id: &str, address: &str) {
        let known = self.connections.get(&id);
        if known.is_some_and(|known| client_id.is_empty() || &*known.client_id == client_id) {
            return;
        }
        if known.is_none() {
            self.add_sender(address, id);
        }
        if !client_id.is_empty() {
            self.add_sender(client_id, id);
        }
        let connection = self.connections.entry(id).or_insert_with(|| Connection {
            client_id: "".into(),
            address: address.into(),
            groups: Vec::new(),
            in_flight: 0,
        });
        let former = std::mem::replace(&mut connection.client_id, client_id.into());
        self.remove_sender(&former, id);
    }

    fn add_sender(&mut self, sender: &str, id: ConnectionId) {
        let connections = self.senders.entry(sender.into()).or_default();
        if !connections.contains(&id) {
            connections.push(id);
        }
    }

    fn remove_sender(&mut self, sender: &str, id: ConnectionId) {
        if let Some(connections) = self.senders.get_mut(sender) {
            connections.retain(|other| *other != id);
            if connections.is_empty() {
                self.senders.remove(sender);
            }
        }
    }

    /// Forgets a connection.
    pub(crate) fn leave(&mut self, id: ConnectionId) -> Departed {
        if self.departed.len() == DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back(id);
        let Some(connection) = self.connections.remove(&id) else {
            return Departed::default();
        };
        for (group, _) in &connection.groups {
            self.vacate(group, id);
        }
        self.remove_sender(&connection.client_id, id);
        self.remove_sender(&connection.address, id);
        // What an unnamed connection sent before it gave its name is its client's: only when that is gone
        // from everywhere is nobody left who may be running the transaction.
        if self.is_connected(&connection.client_id) {
            return Departed::default();
        }
        let senders = [connection.client_id, connection.address];
        Departed {
            senders: senders
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// Forgets that a connection speaks for a group.
    pub(crate) fn leave_group(&mut self, group: &str, id: ConnectionId) {
        self.vacate(group, id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.groups.retain(|(other, _)| **other != *group);
        }
    }

    fn vacate(&mut self, group: &str, id: ConnectionId) {
        if let Some(members) = self.groups.get_mut(group) {
            members.seats.retain(|seat| seat.connection != id);
            if members.seats.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Whether a sender has a connection.
    pub(crate) fn is_connected(&self, sender: &str) -> bool {
        self.senders.contains_key(sender)
    }

    /// Whether anybody is there to be asked for a group.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// Whether anybody is there for a group who was not `tried`.
    pub(crate) fn has_another(&self, group: &str, tried: &[ConnectionId]) -> bool {
        let seats = self
            .groups
            .get(group)
            .map(|members| members.seats.as_slice());
        seats.is_some_and(|seats| seats.iter().any(|seat| !tried.contains(&seat.connection)))
    }

    /// The connection that a half of `sender` is taken to come from when nothing else is recorded: the first
    /// that came.
    pub(crate) fn presumed_sender(&self, sender: &str) -> Option<ConnectionId> {
        self.senders.get(sender)?.first().copied()
    }

    /// The name and address of a connection.
    pub(crate) fn describe(&self, id: ConnectionId) -> Option<(&Arc<str>, &Arc<str>)> {
        let connection = self.connections.get(&id)?;
        Some((&connection.client_id, &connection.address))
    }

    /// Chooses whom to ask about a half of `group` that came from `sender`, over `exact` if that is recorded,
    /// leaving out who was `tried`.
    pub(crate) fn pick(
        &mut self,
        group: &str,
        sender: &str,
        exact: Option<ConnectionId>,
        tried: &[ConnectionId],
    ) -> Pick {
        let Some(members) = self.groups.get_mut(group) else {
            return Pick::Nobody;
        };
        let may = |seat: &&Seat| !tried.contains(&seat.connection);
        let own = self.senders.get(sender).map_or(&[][..], Vec::as_slice);
        let preferred = exact.iter().chain(own).find(|id| {
            let mut seats = members.seats.iter().filter(may);
            seats.any(|seat| seat.connection == **id && !seat.is_demoted())
        });
        if let Some(id) = preferred {
            return Self::when_free(&self.connections, *id);
        }
        for capable in [true, false] {
            let in_class =
                |seat: &&Seat| may(seat) && (seat.capable && !seat.is_demoted()) == capable;
            let (late, early) = members
                .seats
                .split_at(members.turn.min(members.seats.len()));
            let mut in_turn = early.iter().chain(late).filter(in_class);
            let Some(first) = in_turn.next() else {
                continue;
            };
            let free = std::iter::once(first).chain(in_turn);
            let chosen = free
                .map(|seat| seat.connection)
                .find(|id| Self::is_free(&self.connections, *id))
                .unwrap_or(first.connection);
            let at = members
                .seats
                .iter()
                .position(|seat| seat.connection == chosen);
            members.turn = at.map_or(0, |at| at + 1);
            return Self::when_free(&self.connections, chosen);
        }
        Pick::Nobody
    }

    fn is_free(connections: &HashMap<ConnectionId, Connection>, id: ConnectionId) -> bool {
        connections
            .get(&id)
            .is_some_and(|connection| connection.in_flight < IN_FLIGHT_MAX)
    }

    fn when_free(connections: &HashMap<ConnectionId, Connection>, id: ConnectionId) -> Pick {
        if Self::is_free(connections, id) {
            Pick::Ask(id)
        } else {
            Pick::Wait(id)
        }
    }

    /// Whether the connection may be asked one thing more.
    pub(crate) fn has_room(&self, id: ConnectionId) -> bool {
        Self::is_free(&self.connections, id)
    }

    /// Notes that a check went to a connection.
    pub(crate) fn asked(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.in_flight += 1;
        }
    }

    /// Notes that a check which went to a connection is no longer outstanding.
    pub(crate) fn settled(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.in_flight = connection.in_flight.saturating_sub(1);
        }
    }

    /// Notes that a member answered a check, in time or not: it can.
    pub(crate) fn answered(&mut self, group: &str, id: ConnectionId) {
        if let Some(seat) = self.seat(group, id) {
            seat.capable = true;
            seat.silent = 0;
        }
    }

    /// Notes that a member let a check pass.
    pub(crate) fn was_silent(&mut self, group: &str, id: ConnectionId) {
        if let Some(seat) = self.seat(group, id) {
            seat.silent = seat.silent.saturating_add(1);
        }
    }

    fn seat(&mut self, group: &str, id: ConnectionId) -> Option<&mut Seat> {
        let seats = &mut self.groups.get_mut(group)?.seats;
        seats.iter_mut().find(|seat| seat.connection == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);
    const C: ConnectionId = ConnectionId(3);

    fn join(
        members: &mut Members,
        connection: ConnectionId,
        client_id: &str,
        capable: bool,
    ) -> bool {
        members.join(Member {
            group: "g",
            connection,
            client_id,
            address: &format!("10.0.0.{}:5", connection.0),
            capable,
        })
    }

    #[test]
    fn the_sending_connection_is_asked_first_then_its_client_then_the_capable_then_the_rest() {
        let mut members = Members::default();
        join(&mut members, ConnectionId(9), "rest", false);
        join(&mut members, C, "other", true);
        join(&mut members, A, "sender", true);
        join(&mut members, B, "sender", true);
        let mut tried = Vec::new();
        for expected in [B, A, C, ConnectionId(9)] {
            assert_eq!(
                members.pick("g", "sender", Some(B), &tried),
                Pick::Ask(expected)
            );
            tried.push(expected);
        }
        assert_eq!(members.pick("g", "sender", Some(B), &tried), Pick::Nobody);
        assert_eq!(
            members.pick("another group", "sender", Some(B), &[]),
            Pick::Nobody
        );
    }

    #[test]
    fn equals_are_asked_in_turn() {
        let mut members = Members::default();
        for connection in [A, B, C] {
            join(&mut members, connection, "", true);
        }
        let asked: Vec<Pick> = (0..4)
            .map(|_| members.pick("g", "gone", None, &[]))
            .collect();
        assert_eq!(
            asked,
            [Pick::Ask(A), Pick::Ask(B), Pick::Ask(C), Pick::Ask(A)]
        );
    }

    #[test]
    fn two_silent_checks_demote_and_an_answer_restores() {
        let mut members = Members::default();
        join(&mut members, A, "sender", true);
        join(&mut members, B, "other", true);
        members.was_silent("g", A);
        assert_eq!(
            members.pick("g", "sender", None, &[]),
            Pick::Ask(A),
            "once is an accident"
        );
        members.was_silent("g", A);
        assert_eq!(members.pick("g", "sender", None, &[]), Pick::Ask(B));
        assert_eq!(
            members.pick("g", "sender", None, &[B]),
            Pick::Ask(A),
            "still better than nobody"
        );
        members.answered("g", A);
        assert_eq!(members.pick("g", "sender", None, &[]), Pick::Ask(A));
    }

    #[test]
    fn who_answers_a_check_becomes_capable() {
        let mut members = Members::default();
        join(&mut members, A, "a", false);
        join(&mut members, B, "b", false);
        members.answered("g", B);
        let asked: Vec<Pick> = (0..3)
            .map(|_| members.pick("g", "gone", None, &[]))
            .collect();
        assert_eq!(asked, [Pick::Ask(B); 3]);
    }

    #[test]
    fn a_sender_with_64_checks_in_flight_is_waited_for_another_member_is_passed_over() {
        let mut members = Members::default();
        join(&mut members, A, "a", true);
        join(&mut members, B, "b", true);
        for _ in 0..64 {
            members.asked(A);
        }
        assert_eq!(members.pick("g", "a", None, &[]), Pick::Wait(A));
        assert_eq!(members.pick("g", "x", None, &[]), Pick::Ask(B));
        assert_eq!(members.pick("g", "x", None, &[]), Pick::Ask(B));
        members.settled(A);
        assert_eq!(members.pick("g", "a", None, &[]), Pick::Ask(A));
    }

    #[test]
    fn a_client_is_gone_with_its_last_connection() {
        let mut members = Members::default();
        join(&mut members, A, "client", true);
        join(&mut members, B, "client", true);
        assert_eq!(members.leave(A).senders.len(), 0);
        let gone: Vec<String> = members
            .leave(B)
            .senders
            .iter()
            .map(|s| s.to_string())
            .collect();
        assert_eq!(gone, ["client", "10.0.0.2:5"]);
        assert!(!members.has_group("g"));
    }

    #[test]
    fn a_connection_may_give_its_name_after_its_first_half() {
        let mut members = Members::default();
        assert!(join(&mut members, A, "", true));
        assert_eq!(members.presumed_sender("10.0.0.1:5"), Some(A));
        assert!(!join(&mut members, A, "client", false));
        assert_eq!(members.presumed_sender("client"), Some(A));
        assert_eq!(members.presumed_sender("10.0.0.1:5"), Some(A));
        join(&mut members, B, "client", true);
        assert_eq!(
            members.leave(A),
            Departed::default(),
            "the client is still there"
        );
    }

    #[test]
    fn leaving_a_group_is_not_leaving() {
        let mut members = Members::default();
        join(&mut members, A, "client", true);
        members.leave_group("g", A);
        assert!(!members.has_group("g"));
        assert!(members.is_connected("client"));
    }
}
