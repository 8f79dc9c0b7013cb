//! Which groups this client is a member of, and telling brokers so.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use escrow_protocol::body::{self, ConsumerData, HeartbeatData, ProducerData};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::HEARTBEAT_CHECKS;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Result};

/// The groups of one client.
#[derive(Default)]
pub(crate) struct Membership {
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    producers: BTreeSet<String>,
    /// By group; each with the bell that its consumer listens to.
    consumers: BTreeMap<String, (ConsumerData, Arc<Notify>)>,
}

impl Membership {
    pub(crate) fn add_producer(&self, group: &str) {
        self.groups.lock().producers.insert(group.to_owned());
    }

    pub(crate) fn remove_producer(&self, group: &str) {
        self.groups.lock().producers.remove(group);
    }

    /// Adds a consumer; answers with the bell that rings when members come or go.
    ///
    /// # Errors
    /// [`Error::Settings`]: a client is one member of a group at most.
    pub(crate) fn add_consumer(&self, consumer: ConsumerData) -> Result<Arc<Notify>> {
        let mut groups = self.groups.lock();
        let Entry::Vacant(place) = groups.consumers.entry(consumer.group_name.clone()) else {
            return Err(Error::Settings("this client has a consumer of that group"));
        };
        let changed = Arc::new(Notify::new());
        place.insert((consumer, Arc::clone(&changed)));
        Ok(changed)
    }

    /// A broker says that members of a consumer group came or went.
    pub(crate) fn members_changed(&self, group: &str) {
        if let Some((_, changed)) = self.groups.lock().consumers.get(group) {
            changed.notify_one();
        }
    }

    pub(crate) fn remove_consumer(&self, group: &str) {
        self.groups.lock().consumers.remove(group);
    }

    /// Every group: its name, and whether it consumes.
    pub(crate) fn all(&self) -> Vec<(String, bool)> {
        let groups = self.groups.lock();
        let producers = groups.producers.iter().map(|g| (g.clone(), false));
        producers
            .chain(groups.consumers.keys().map(|g| (g.clone(), true)))
            .collect()
    }

    /// The HEART_BEAT request; `None` for a client without groups, which has nothing to tell. `checked` are the
    /// producer groups that it has a checker for: our broker asks such a member first, Apache's does not look.
    pub(crate) fn heartbeat(&self, client_id: &str, checked: &[String]) -> Option<Frame> {
        let groups = self.groups.lock();
        if groups.producers.is_empty() && groups.consumers.is_empty() {
            return None;
        }
        let producers = groups.producers.iter().map(|group| ProducerData {
            group_name: group.clone(),
        });
        let consumers = groups.consumers.values().map(|(data, _)| data.clone());
        let data = HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: producers.collect(),
            consumer_data_set: consumers.collect(),
            ..HeartbeatData::default()
        };
        // Such a body always has a JSON form.
        let body = body::encode(&data).ok()?;
        let mut frame = Frame::request(request::HEART_BEAT).with_body(body);
        if !checked.is_empty() {
            frame.ext.insert(HEARTBEAT_CHECKS, checked.join(";"));
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use escrow_protocol::body::SubscriptionData;

    #[test]
    fn a_heartbeat_names_every_group_and_subscription() {
        let membership = Membership::default();
        assert!(membership.heartbeat("c", &[]).is_none());
        membership.add_producer("orders");
        let subscription = |topic: &str| SubscriptionData {
            topic: topic.to_owned(),
            ..SubscriptionData::default()
        };
        let shipping = ConsumerData {
            group_name: "shipping".to_owned(),
            subscription_data_set: vec![subscription("A"), subscription("B")],
            ..ConsumerData::default()
        };
        membership.add_consumer(shipping.clone()).unwrap();
        let second = membership.add_consumer(shipping);
        assert!(matches!(second, Err(Error::Settings(_))));
        let frame = membership.heartbeat("c", &[]).unwrap();
        let data: HeartbeatData = body::decode(&frame.body).unwrap();
        assert_eq!(data.client_id, "c");
        assert_eq!(frame.ext.get(HEARTBEAT_CHECKS), None);
        assert_eq!(data.producer_data_set.len(), 1);
        assert_eq!(data.consumer_data_set[0].subscription_data_set.len(), 2);
        let checked = ["orders".to_owned(), "refunds".to_owned()];
        let frame = membership.heartbeat("c", &checked).unwrap();
        assert_eq!(frame.ext.get(HEARTBEAT_CHECKS), Some("orders;refunds"));
        membership.remove_producer("orders");
        membership.remove_consumer("shipping");
        assert!(membership.heartbeat("c", &[]).is_none());
    }
}
