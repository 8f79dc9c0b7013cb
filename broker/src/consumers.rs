//! Who consumes: the live members of every consumer group and what the group is subscribed to.
//!
//! All members of a group share one set of subscriptions; the latest heartbeat decides, as in Apache. Every
//! change of members or topics is answered with the connections that are to be told (request 40).

mod subscription;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ConnectionId;
use escrow_protocol::body::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use parking_lot::RwLock;

pub(crate) use subscription::{Subscription, is_tag_type};

use crate::producers::{Client, Member};

/// What a heartbeat says about one consumer group.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) group: String,
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from_where: ConsumeFromWhere,
    /// `None`: a short heartbeat, which leaves the subscriptions as they are.
    pub(crate) subscriptions: Option<Vec<SubscriptionData>>,
    /// Hash of everything the client is subscribed to; 0 from clients that send everything every time.
    pub(crate) fingerprint: i32,
}

/// What a heartbeat changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Connections to tell that members or topics changed. Empty: nothing did, or nobody shares queues.
    pub(crate) tell: Vec<ConnectionId>,
    /// The client must send its subscriptions in full.
    pub(crate) subscriptions_wanted: bool,
}

/// A group whose members changed and the remaining connections, which are to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) group: String,
    pub(crate) tell: Vec<ConnectionId>,
}

/// A group as tools and metrics see it.
#[derive(Debug, Clone)]
pub(crate) struct GroupView {
    pub(crate) group: String,
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from_where: ConsumeFromWhere,
    pub(crate) members: Vec<Member>,
    pub(crate) subscriptions: Vec<Arc<Subscription>>,
}

#[derive(Debug, Default)]
struct Group {
    consume_type: ConsumeType,
    message_model: MessageModel,
    consume_from_where: ConsumeFromWhere,
    members: HashMap<ConnectionId, Member>,
    subscriptions: HashMap<String, Arc<Subscription>>,
    fingerprint: Option<i32>,
}

impl Group {
    /// True if the connection is new to the group.
    fn join(&mut self, now_ms: u64, client: &Client) -> bool {
        let member = Member {
            client: client.clone(),
            seen_ms: now_ms,
        };
        self.members.insert(client.connection, member).is_none()
    }

    /// True if topics came or went. A newer version of a subscription replaces it without being news.
    fn subscribe(&mut self, wanted: Vec<SubscriptionData>) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions
            .retain(|topic, _| wanted.iter().any(|data| data.topic == *topic));
        let mut changed = self.subscriptions.len() != before;
        for data in wanted {
            let old = self.subscriptions.get(&data.topic);
            changed |= old.is_none();
            if old.is_none_or(|old| data.sub_version > old.version) {
                let subscription = Subscription::from_heartbeat(data);
                self.subscriptions
                    .insert(subscription.topic.clone(), Arc::new(subscription));
            }
        }
        changed
    }

    /// Those who share queues with each other; nobody in a broadcasting group.
    fn to_tell(&self) -> Vec<ConnectionId> {
        if self.message_model == MessageModel::Broadcasting {
            return Vec::new();
        }
        let mut connections: Vec<_> = self.members.keys().copied().collect();
        connections.sort_by_key(|connection| connection.0);
        connections
    }

    fn members(&self) -> Vec<Member> {
        let mut members: Vec<_> = self.members.values().cloned().collect();
        members.sort_by_key(|member| member.client.connection.0);
        members
    }
}

/// All consumer groups with live members. Times are milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    groups: RwLock<HashMap<String, Group>>,
}

impl Consumers {
    /// Takes in one group of a heartbeat.
    pub(crate) fn register(
        &self,
        now_ms: u64,
        client: &Client,
        heartbeat: Registration,
    ) -> Registered {
        let mut groups = self.groups.write();
        let group = groups.entry(heartbeat.group).or_default();
        group.consume_type = heartbeat.consume_type;
        group.message_model = heartbeat.message_model;
        group.consume_from_where = heartbeat.consume_from_where;
        let short = heartbeat.subscriptions.is_none();
        let mut changed = group.join(now_ms, client);
        if let Some(wanted) = heartbeat.subscriptions {
            changed |= group.subscribe(wanted);
        }
        // After a restart of ours a client may go on with short heartbeats for subscriptions that we no
        // longer know; asking for them heals that.
        let unknown = short && group.subscriptions.is_empty();
        let differs = group
            .fingerprint
            .is_some_and(|last| last != heartbeat.fingerprint);
        group.fingerprint = Some(heartbeat.fingerprint);
        Registered {
            tell: if changed { group.to_tell() } else { Vec::new() },
            subscriptions_wanted: heartbeat.fingerprint == 0 || differs || unknown,
        }
    }

    /// The client leaves a group.
    pub(crate) fn unregister(&self, group: &str, connection: ConnectionId) -> Option<Change> {
        let mut groups = self.groups.write();
        let state = groups.get_mut(group)?;
        state.members.remove(&connection)?;
        let change = Change {
            group: group.to_owned(),
            tell: state.to_tell(),
        };
        if state.members.is_empty() {
            groups.remove(group);
        }
        Some(change)
    }

    /// The connection has ended: it leaves all groups.
    pub(crate) fn closed(&self, connection: ConnectionId) -> Vec<Change> {
        self.remove_members(|member| member.client.connection == connection)
    }

    /// Removes members that have been silent too long. Also returns their connections, which are to be
    /// closed.
    pub(crate) fn expire(&self, now_ms: u64) -> (Vec<Change>, Vec<ConnectionId>) {
        let mut expired = Vec::new();
        let changes = self.remove_members(|member| {
            let gone = member.expired(now_ms);
            if gone {
                tracing::warn!(client = member.client.client_id, "consumer expired");
                expired.push(member.client.connection);
            }
            gone
        });
        (changes, expired)
    }

    fn remove_members(&self, mut gone: impl FnMut(&Member) -> bool) -> Vec<Change> {
        let mut changes = Vec::new();
        self.groups.write().retain(|name, group| {
            let before = group.members.len();
            group.members.retain(|_, member| !gone(member));
            if group.members.len() != before {
                changes.push(Change {
                    group: name.clone(),
                    tell: group.to_tell(),
                });
            }
            !group.members.is_empty()
        });
        changes
    }

    /// Client ids of the live members, each once: a client that reconnects is briefly there twice, and a list
    /// that names it twice would leave queues without a consumer.
    pub(crate) fn client_ids(&self, group: &str) -> Vec<String> {
        let groups = self.groups.read();
        let members = groups.get(group).map(Group::members).unwrap_or_default();
        let mut ids: Vec<String> = Vec::with_capacity(members.len());
        for member in members {
            if !ids.contains(&member.client.client_id) {
                ids.push(member.client.client_id);
            }
        }
        ids
    }

    /// How the group consumes; `None` if it has no live member.
    pub(crate) fn message_model(&self, group: &str) -> Option<MessageModel> {
        self.groups
            .read()
            .get(group)
            .map(|group| group.message_model)
    }

    /// What the group wants of a topic; `None` if nothing.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.groups
            .read()
            .get(group)?
            .subscriptions
            .get(topic)
            .cloned()
    }

    /// Every group with live members, by name.
    pub(crate) fn views(&self) -> Vec<GroupView> {
        let view = |(name, group): (&String, &Group)| GroupView {
            group: name.clone(),
            consume_type: group.consume_type,
            message_model: group.message_model,
            consume_from_where: group.consume_from_where,
            members: group.members(),
            subscriptions: group.subscriptions.values().cloned().collect(),
        };
        let mut views: Vec<_> = self.groups.read().iter().map(view).collect();
        views.sort_by(|a, b| a.group.cmp(&b.group));
        views
    }
}

#[cfg(test)]
mod tests;
