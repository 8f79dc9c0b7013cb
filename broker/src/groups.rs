//! Which consumer groups there are, and how they may consume.
//!
//! As with topics, this table plans and holds; durability is the caller's part. Groups of a stock broker's
//! own are derived at every start and never stored.

use std::collections::HashMap;
use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::names::{self, NameError};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::name_locks::NameLocks;

/// Metadata keys of groups start with this; the name follows.
pub(crate) const KEY_PREFIX: &str = "group/";

/// More groups than this are not created: their number is in the hands of peers.
const GROUPS_MAX: usize = 100_000;

/// Groups that a stock broker has from its start.
const SYSTEM_GROUPS: [&str; 8] = [
    names::TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    names::TRANSACTION_GROUP,
];

/// One consumer group. The stored form is JSON with Apache's names; the group's own name is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupConfig {
    #[serde(skip)]
    pub(crate) name: Arc<str>,
    pub(crate) consume_enable: bool,
    pub(crate) consume_broadcast_enable: bool,
    /// Queues of the retry topic; 0 drops what is sent back.
    #[serde(rename = "retryQueueNums")]
    pub(crate) retry_queues: i32,
    /// Deliveries after which a message goes to the dead-letter topic.
    #[serde(rename = "retryMaxTimes")]
    pub(crate) retry_times_max: i32,
    pub(crate) notify_consumer_ids_changed_enable: bool,
}

impl GroupConfig {
    fn new(name: &str) -> GroupConfig {
        GroupConfig {
            name: name.into(),
            consume_enable: true,
            consume_broadcast_enable: true,
            retry_queues: 1,
            retry_times_max: 16,
            notify_consumer_ids_changed_enable: true,
        }
    }

    pub(crate) fn key(&self) -> String {
        format!("{KEY_PREFIX}{}", self.name)
    }

    pub(crate) fn stored(&self) -> Vec<u8> {
        // Only a map with keys that are no strings could fail here.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Why there is no such group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupRefused {
    #[error("subscription group [{0}] does not exist; autoCreateSubscriptionGroup would create it")]
    Missing(String),
    #[error("subscription group does not exist and cannot be created: {0}")]
    Name(#[from] NameError),
    #[error("there are {GROUPS_MAX} groups already")]
    TooMany,
}

impl GroupRefused {
    /// The response code that Apache gives for this.
    pub(crate) fn code(&self) -> i32 {
        match self {
            GroupRefused::Missing(_) | GroupRefused::Name(_) => {
                response::SUBSCRIPTION_GROUP_NOT_EXIST
            }
            GroupRefused::TooMany => response::SYSTEM_ERROR,
        }
    }
}

/// A group that is there, or one that has to be stored before it may be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Exists(Arc<GroupConfig>),
    Create(GroupConfig),
}

/// All consumer groups of this broker.
#[derive(Debug)]
pub(crate) struct Groups {
    table: RwLock<HashMap<Arc<str>, Arc<GroupConfig>>>,
    auto_create: bool,
    /// Held while a change of one of them is planned, made durable and put into use.
    pub(crate) changing: NameLocks,
}

impl Groups {
    /// The groups of a stock broker, and those from the log's metadata. `stored` yields names and stored
    /// forms.
    ///
    /// # Errors
    /// Names the group whose stored form this version does not understand.
    pub(crate) fn open<'a>(
        auto_create: bool,
        stored: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Groups, String> {
        let mut table: HashMap<Arc<str>, Arc<GroupConfig>> = HashMap::new();
        for (name, json) in stored {
            let mut group: GroupConfig = serde_json::from_slice(json)
                .map_err(|error| format!("consumer group {name}: {error}"))?;
            group.name = name.into();
            table.insert(Arc::clone(&group.name), Arc::new(group));
        }
        let system = SYSTEM_GROUPS.map(GroupConfig::new);
        table.extend(
            system
                .into_iter()
                .map(|group| (Arc::clone(&group.name), Arc::new(group))),
        );
        Ok(Groups {
            table: RwLock::new(table),
            auto_create,
            changing: NameLocks::default(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<GroupConfig>> {
        self.table.read().get(name).cloned()
    }

    /// Every group, by name.
    pub(crate) fn all(&self) -> Vec<Arc<GroupConfig>> {
        let mut all: Vec<_> = self.table.read().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(crate) fn count(&self) -> usize {
        self.table.read().len()
    }

    /// The group that a heartbeat or pull names.
    pub(crate) fn plan(&self, name: &str) -> Result<Plan, GroupRefused> {
        if let Some(group) = self.get(name) {
            return Ok(Plan::Exists(group));
        }
        if !self.auto_create {
            return Err(GroupRefused::Missing(
                name.chars().take(names::GROUP_CHARS_MAX).collect(),
            ));
        }
        names::validate_group(name)?;
        if self.count() >= GROUPS_MAX {
            return Err(GroupRefused::TooMany);
        }
        Ok(Plan::Create(GroupConfig::new(name)))
    }

    /// Puts a group into use. Its stored form is durable by now.
    pub(crate) fn put(&self, group: GroupConfig) -> Arc<GroupConfig> {
        let group = Arc::new(group);
        self.table
            .write()
            .insert(Arc::clone(&group.name), Arc::clone(&group));
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_stock_broker_are_there_from_the_start() {
        let groups = Groups::open(false, []).unwrap();
        assert_eq!(groups.count(), 8);
        assert!(matches!(
            groups.plan("CID_RMQ_SYS_TRANS"),
            Ok(Plan::Exists(_))
        ));
    }

    #[test]
    fn an_unknown_group_is_created_if_that_is_allowed() {
        let groups = Groups::open(true, []).unwrap();
        let Ok(Plan::Create(group)) = groups.plan("shipping") else {
            panic!("not created")
        };
        assert_eq!((group.retry_queues, group.retry_times_max), (1, 16));
        groups.put(group);
        assert!(matches!(groups.plan("shipping"), Ok(Plan::Exists(_))));

        let refused = Groups::open(false, [])
            .unwrap()
            .plan("shipping")
            .unwrap_err();
        assert_eq!(refused.code(), response::SUBSCRIPTION_GROUP_NOT_EXIST);
    }

    #[test]
    fn a_name_against_the_rules_makes_no_group() {
        let groups = Groups::open(true, []).unwrap();
        for name in ["", "a b", &"g".repeat(121)] {
            let refused = groups.plan(name).unwrap_err();
            assert_eq!(
                refused.code(),
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                "{name}"
            );
        }
    }

    #[test]
    fn the_stored_form_is_read_back() {
        let mut group = GroupConfig::new("shipping");
        group.retry_times_max = 3;
        let json = group.stored();
        let reopened = Groups::open(true, [("shipping", json.as_slice())]).unwrap();
        assert_eq!(*reopened.get("shipping").unwrap(), group);
        assert!(
            Groups::open(true, [("g", b"[]".as_slice())])
                .unwrap_err()
                .contains("g:")
        );
    }
}
