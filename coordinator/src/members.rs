//! Who is connected, for which producer groups, and who of them is asked about a half.
//!
//! Whom to ask is decided in [`pick`].

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

/// The broker's number for a connection, never used twice in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

mod pick;

pub(crate) use pick::Question;

/// What is known of a member's ability to answer checks, the less first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Nothing: it may have no listener.
    Unknown,
    /// It sent a half for the group, or answered a check.
    Shown,
    /// It said so: it looks up in a database what became of a transaction, whoever's that was.
    Declared,
}

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
    /// What it says, or does, about checks.
    pub capability: Capability,
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
    capability: Capability,
    silent: u8,
}

impl Seat {
    /// It does not leave checks unanswered.
    fn is_good(&self) -> bool {
        self.silent < SILENT_MAX
    }

    fn is_capable(&self) -> bool {
        self.is_good() && self.capability >= Capability::Shown
    }

    fn is_declared(&self) -> bool {
        self.is_good() && self.capability == Capability::Declared
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
    /// The groups that it speaks for, and what it said of itself there.
    groups: Vec<(Arc<str>, Capability)>,
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
    /// Takes a member in; answers whether that is news for its group: it is new, or says only now that it answers checks.
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
        let (is_news, capability) = match seat {
            Some(seat) => {
                let before = seat.capability;
                seat.capability = before.max(member.capability);
                let declares = seat.capability == Capability::Declared && seat.capability > before;
                (declares, seat.capability)
            }
            None => {
                seats.push(Seat {
                    connection: member.connection,
                    capability: member.capability,
                    silent: 0,
                });
                (true, member.capability)
            }
        };
        if let Some(connection) = self.connections.get_mut(&member.connection) {
            connection.groups.retain(|(group, _)| *group != name);
            connection.groups.push((name, capability));
        }
        is_news
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
            && groups.any(|(group, capability)| {
                **group == *member.group && *capability >= member.capability
            })
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

    /// Whether anybody is there for a group who declared that it answers checks, and does.
    pub(crate) fn has_declared(&self, group: &str) -> bool {
        let members = self.groups.get(group);
        members.is_some_and(|members| members.seats.iter().any(Seat::is_declared))
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

    /// Whether the connection may be asked one thing more.
    pub(crate) fn has_room(&self, id: ConnectionId) -> bool {
        pick::is_free(&self.connections, id)
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
            seat.capability = seat.capability.max(Capability::Shown);
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
mod tests;
