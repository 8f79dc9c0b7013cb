//! Which connections speak for which producer group, for tools and for telling when one has gone.
//!
//! Whom a check is sent to is the coordinator's decision; it hears of members through the log thread.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::ConnectionId;
use parking_lot::Mutex;

/// A member whose last heartbeat is older than this is gone, as with Apache.
pub(crate) const MEMBER_LIFE_MS: u64 = 120_000;

/// A client on one connection, as its requests describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) connection: ConnectionId,
    pub(crate) address: SocketAddr,
    pub(crate) client_id: String,
    /// The ordinal of its language.
    pub(crate) language: u8,
    pub(crate) version: i32,
}

/// A client that is a member of a group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) client: Client,
    /// Monotonic milliseconds of its last heartbeat.
    pub(crate) seen_ms: u64,
}

impl Member {
    pub(crate) fn expired(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.seen_ms) > MEMBER_LIFE_MS
    }
}

/// A member of a producer group.
#[derive(Debug)]
struct Producer {
    member: Member,
    /// It declared that it answers the group's checks.
    checks: bool,
}

/// All producer groups with live members. Times are milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    groups: Mutex<HashMap<String, HashMap<ConnectionId, Producer>>>,
}

impl Producers {
    /// A heartbeat names this group, and says whether the client answers its checks. True if the connection was not a member
    /// under this client id before, or now answers checks.
    pub(crate) fn register(&self, now_ms: u64, group: &str, client: &Client, checks: bool) -> bool {
        let mut groups = self.groups.lock();
        if !groups.contains_key(group) {
            groups.insert(group.to_owned(), HashMap::new());
        }
        let Some(members) = groups.get_mut(group) else {
            return false;
        };
        let member = Member {
            client: client.clone(),
            seen_ms: now_ms,
        };
        let producer = Producer { member, checks };
        let old = members.insert(client.connection, producer);
        old.is_none_or(|old| {
            old.member.client.client_id != client.client_id || checks && !old.checks
        })
    }

    /// The client leaves this group.
    pub(crate) fn unregister(&self, group: &str, connection: ConnectionId) {
        let mut groups = self.groups.lock();
        let Some(members) = groups.get_mut(group) else {
            return;
        };
        members.remove(&connection);
        if members.is_empty() {
            groups.remove(group);
        }
    }

    /// The connection has ended: it leaves all groups.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        self.groups.lock().retain(|_, members| {
            members.remove(&connection);
            !members.is_empty()
        });
    }

    /// Removes members that have been silent too long. Returns their connections, which are to be closed.
    pub(crate) fn expire(&self, now_ms: u64) -> Vec<ConnectionId> {
        let mut expired = Vec::new();
        self.groups.lock().retain(|group, members| {
            members.retain(|connection, Producer { member, .. }| {
                let keep = !member.expired(now_ms);
                if !keep {
                    tracing::warn!(group, client = member.client.client_id, "producer expired");
                    expired.push(*connection);
                }
                keep
            });
            !members.is_empty()
        });
        expired
    }

    /// Live members of a group, in the order in which they connected.
    pub(crate) fn members(&self, group: &str) -> Vec<Member> {
        let groups = self.groups.lock();
        let mut members: Vec<_> = groups
            .get(group)
            .into_iter()
            .flat_map(HashMap::values)
            .map(|producer| producer.member.clone())
            .collect();
        members.sort_by_key(|member| member.client.connection.0);
        members
    }

    /// Groups with live members.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<_> = self.groups.lock().keys().cloned().collect();
        groups.sort();
        groups
    }

    /// Live members over all groups, by language and version.
    pub(crate) fn count_by_kind(&self) -> HashMap<(u8, i32), usize> {
        let mut counts = HashMap::new();
        for producer in self.groups.lock().values().flat_map(HashMap::values) {
            let client = &producer.member.client;
            *counts.entry((client.language, client.version)).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(connection: u64, client_id: &str) -> Client {
        Client {
            connection: ConnectionId(connection),
            address: ([127, 0, 0, 1], 9).into(),
            client_id: client_id.to_owned(),
            language: 0,
            version: 513,
        }
    }

    fn ids(producers: &Producers, group: &str) -> Vec<String> {
        producers
            .members(group)
            .into_iter()
            .map(|member| member.client.client_id)
            .collect()
    }

    #[test]
    fn heartbeats_make_members_and_only_the_first_is_news() {
        let producers = Producers::default();
        assert!(producers.register(0, "g", &client(1, "a"), false));
        assert!(!producers.register(1, "g", &client(1, "a"), false));
        assert!(producers.register(2, "g", &client(1, "renamed"), false));
        assert!(producers.register(2, "g", &client(2, "b"), true));
        assert!(!producers.register(2, "g", &client(2, "b"), true));
        assert!(producers.register(2, "g", &client(1, "renamed"), true));
        assert_eq!(ids(&producers, "g"), ["renamed", "b"]);
    }

    #[test]
    fn a_closed_connection_leaves_all_groups_and_an_unregistration_one() {
        let producers = Producers::default();
        for group in ["g", "h"] {
            producers.register(0, group, &client(1, "a"), false);
            producers.register(0, group, &client(2, "b"), false);
        }
        producers.unregister("g", ConnectionId(1));
        producers.unregister("g", ConnectionId(1));
        producers.unregister("nobody", ConnectionId(1));
        assert_eq!(ids(&producers, "g"), ["b"]);
        assert_eq!(ids(&producers, "h"), ["a", "b"]);
        producers.closed(ConnectionId(2));
        assert_eq!(producers.groups(), ["h"]);
    }

    #[test]
    fn silence_of_120_seconds_ends_a_membership() {
        let producers = Producers::default();
        producers.register(0, "g", &client(1, "a"), false);
        producers.register(60_000, "g", &client(2, "b"), false);
        assert_eq!(producers.expire(120_000), []);
        assert_eq!(producers.expire(120_001), [ConnectionId(1)]);
        assert_eq!(ids(&producers, "g"), ["b"]);
        assert_eq!(producers.expire(180_001), [ConnectionId(2)]);
        assert!(producers.groups().is_empty());
    }
}
