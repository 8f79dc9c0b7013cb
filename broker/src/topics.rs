//! Which topics there are, and the rules by which they come, change and go.
//!
//! This table only plans and holds; making a change durable first is the caller's part (see `registry.rs`).
//! System topics are derived from the settings at every start and are never stored.

mod attributes;

use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::names::{self, NameError};
use escrow_protocol::sysflag::perm;
use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::name_locks::NameLocks;

/// Metadata keys of topics start with this; the name follows.
pub(crate) const KEY_PREFIX: &str = "topic/";

/// More topics than this are not created: their number is in the hands of peers.
const TOPICS_MAX: usize = 100_000;

/// The most queues that one topic may have.
const QUEUES_MAX: i32 = 65_536;

/// One topic. The stored form is JSON with Apache's names; the topic's own name is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TopicConfig {
    #[serde(skip)]
    pub(crate) name: Arc<str>,
    #[serde(rename = "readQueueNums")]
    pub(crate) read_queues: i32,
    #[serde(rename = "writeQueueNums")]
    pub(crate) write_queues: i32,
    /// Bits of [`perm`].
    pub(crate) perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`; kept for tools, without effect.
    pub(crate) topic_filter_type: String,
    pub(crate) topic_sys_flag: i32,
    pub(crate) order: bool,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A topic with as many queues to write as to read.
    pub(crate) fn new(name: &str, queues: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            name: name.into(),
            read_queues: queues,
            write_queues: queues,
            perm,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_sys_flag: 0,
            order: false,
            attributes: BTreeMap::new(),
        }
    }

    pub(crate) fn key(&self) -> String {
        key(&self.name)
    }

    pub(crate) fn stored(&self) -> Vec<u8> {
        // Only a map with keys that are no strings could fail here.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The metadata key of a topic.
pub(crate) fn key(name: &str) -> String {
    format!("{KEY_PREFIX}{name}")
}

/// Why a topic is not there, not made or not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicRefused {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the topic {0} belongs to the system")]
    System(String),
    #[error("topic[{0}] not exist, apply first please! autoCreateTopicEnable would create it")]
    Missing(String),
    #[error("{what} is {value}, not from {min} to {max}")]
    OutOfRange {
        what: &'static str,
        value: i64,
        min: i64,
        max: i64,
    },
    #[error("MIXED message type is not supported.")]
    Mixed,
    #[error("attribute {name}: {reason}")]
    Attribute { name: String, reason: &'static str },
    #[error("there are {TOPICS_MAX} topics already; delete some")]
    TooMany,
}

impl TopicRefused {
    /// The response code that Apache gives for this.
    pub(crate) fn code(&self) -> i32 {
        match self {
            TopicRefused::Name(_)
            | TopicRefused::System(_)
            | TopicRefused::OutOfRange { .. }
            | TopicRefused::Mixed => response::INVALID_PARAMETER,
            TopicRefused::Missing(_) => response::TOPIC_NOT_EXIST,
            TopicRefused::Attribute { .. } | TopicRefused::TooMany => response::SYSTEM_ERROR,
        }
    }
}

/// What a send asks for when its topic may have to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) topic: &'a str,
    /// The topic to take permission and queue limit from: `TBW102` from stock clients.
    pub(crate) default_topic: &'a str,
    pub(crate) default_queues: i32,
    pub(crate) sys_flag: i32,
}

/// What UPDATE_AND_CREATE_TOPIC asks for.
#[derive(Debug, Clone)]
pub(crate) struct Update<'a> {
    pub(crate) topic: &'a str,
    pub(crate) read_queues: i32,
    pub(crate) write_queues: i32,
    pub(crate) perm: i32,
    pub(crate) filter_type: &'a str,
    pub(crate) sys_flag: i32,
    pub(crate) order: bool,
    /// Changes in Apache's form: `+name=value,-name`.
    pub(crate) attributes: &'a str,
}

/// A topic that is there, or one that has to be stored before it may be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Exists(Arc<TopicConfig>),
    Create(TopicConfig),
}

/// All topics of this broker.
#[derive(Debug)]
pub(crate) struct Topics {
    table: RwLock<HashMap<Arc<str>, Arc<TopicConfig>>>,
    /// Names of this broker's own system topics that the protocol crate cannot know.
    own_system: Vec<String>,
    /// Held while a change of one of them is planned, made durable and put into use.
    pub(crate) changing: NameLocks,
}

impl Topics {
    /// The system topics, and those from the log's metadata. `stored` yields names and stored forms.
    ///
    /// # Errors
    /// Names the topic whose stored form this version does not understand.
    pub(crate) fn open<'a>(
        settings: &Settings,
        stored: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Topics, String> {
        let system = system_topics(settings);
        let own_system = system.iter().map(|topic| topic.name.to_string()).collect();
        let mut table: HashMap<Arc<str>, Arc<TopicConfig>> = HashMap::new();
        for (name, json) in stored {
            let mut topic: TopicConfig =
                serde_json::from_slice(json).map_err(|error| format!("topic {name}: {error}"))?;
            topic.name = name.into();
            table.insert(Arc::clone(&topic.name), Arc::new(topic));
        }
        // The settings win: a system topic cannot be changed by users.
        table.extend(
            system
                .into_iter()
                .map(|topic| (Arc::clone(&topic.name), Arc::new(topic))),
        );
        Ok(Topics {
            table: RwLock::new(table),
            own_system,
            changing: NameLocks::default(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<TopicConfig>> {
        self.table.read().get(name).cloned()
    }

    /// The number of queues that may be written; `None` if there is no such topic.
    pub(crate) fn write_queues(&self, name: &str) -> Option<u32> {
        let table = self.table.read();
        table
            .get(name)
            .map(|topic| topic.write_queues.unsigned_abs())
    }

    /// Every topic, by name.
    pub(crate) fn all(&self) -> Vec<Arc<TopicConfig>> {
        let mut all: Vec<_> = self.table.read().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    pub(crate) fn count(&self) -> usize {
        self.table.read().len()
    }

    /// Whether users may neither create, change nor delete it.
    pub(crate) fn is_system(&self, name: &str) -> bool {
        names::is_system_topic(name) || self.own_system.iter().any(|own| own == name)
    }

    /// The topic of a send, made from the default topic if that passes its permission on.
    pub(crate) fn plan_for_send(&self, wanted: Wanted<'_>) -> Result<Plan, TopicRefused> {
        if let Some(topic) = self.get(wanted.topic) {
            return Ok(Plan::Exists(topic));
        }
        names::validate_topic(wanted.topic)?;
        self.check_room()?;
        let default = self.get(wanted.default_topic);
        let mut topic = match default.filter(|default| perm::is_inherited(default.perm)) {
            Some(default) => {
                let queues = wanted.default_queues.min(default.write_queues).max(0);
                TopicConfig::new(wanted.topic, queues, default.perm & !perm::INHERIT)
            }
            None if names::retry_group(wanted.topic).is_some() => {
                TopicConfig::new(wanted.topic, 1, perm::READ | perm::WRITE)
            }
            None => return Err(TopicRefused::Missing(wanted.topic.to_owned())),
        };
        topic.topic_sys_flag = wanted.sys_flag;
        Ok(Plan::Create(topic))
    }

    /// A retry or dead-letter topic, made if it is missing whatever `autoCreateTopicEnable` says.
    pub(crate) fn plan_internal(&self, name: &str, queues: i32) -> Result<Plan, TopicRefused> {
        if let Some(topic) = self.get(name) {
            return Ok(Plan::Exists(topic));
        }
        names::validate_topic(name)?;
        self.check_room()?;
        Ok(Plan::Create(TopicConfig::new(
            name,
            queues.clamp(1, QUEUES_MAX),
            perm::READ | perm::WRITE,
        )))
    }

    /// The topic as UPDATE_AND_CREATE_TOPIC wants it. `Exists`: that is how it is already.
    pub(crate) fn plan_update(&self, update: &Update<'_>) -> Result<Plan, TopicRefused> {
        names::validate_topic(update.topic)?;
        self.check_not_system(update.topic)?;
        in_range("readQueueNums", update.read_queues, 0, QUEUES_MAX)?;
        in_range("writeQueueNums", update.write_queues, 0, QUEUES_MAX)?;
        in_range("perm", update.perm, 0, 7)?;
        let old = self.get(update.topic);
        if old.is_none() {
            self.check_room()?;
        }
        let kept = old
            .as_ref()
            .map(|topic| topic.attributes.clone())
            .unwrap_or_default();
        let topic = TopicConfig {
            name: update.topic.into(),
            read_queues: update.read_queues,
            write_queues: update.write_queues,
            perm: update.perm,
            topic_filter_type: update.filter_type.to_owned(),
            topic_sys_flag: update.sys_flag,
            order: update.order,
            attributes: attributes::change(kept, update.attributes)?,
        };
        match old {
            Some(old) if *old == topic => Ok(Plan::Exists(old)),
            _ => Ok(Plan::Create(topic)),
        }
    }

    /// Whether a user may delete this topic. Deleting what is not there succeeds, as with Apache.
    pub(crate) fn check_delete(&self, name: &str) -> Result<(), TopicRefused> {
        if name.trim().is_empty() {
            return Err(NameError::Blank("topic").into());
        }
        self.check_not_system(name)
    }

    /// Puts a topic into use. Its stored form is durable by now.
    pub(crate) fn put(&self, topic: TopicConfig) -> Arc<TopicConfig> {
        let topic = Arc::new(topic);
        self.table
            .write()
            .insert(Arc::clone(&topic.name), Arc::clone(&topic));
        topic
    }

    pub(crate) fn remove(&self, name: &str) {
        self.table.write().remove(name);
    }

    fn check_not_system(&self, name: &str) -> Result<(), TopicRefused> {
        if self.is_system(name) {
            Err(TopicRefused::System(name.to_owned()))
        } else {
            Ok(())
        }
    }

    fn check_room(&self) -> Result<(), TopicRefused> {
        if self.count() < TOPICS_MAX {
            Ok(())
        } else {
            Err(TopicRefused::TooMany)
        }
    }
}

fn in_range(what: &'static str, value: i32, min: i32, max: i32) -> Result<(), TopicRefused> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(TopicRefused::OutOfRange {
        what,
        value: value.into(),
        min: min.into(),
        max: max.into(),
    })
}

/// What a stock broker has from its start. Topics of features that are missing here (timer wheel, pop) are
/// there too: tools list them.
fn system_topics(settings: &Settings) -> Vec<TopicConfig> {
    let cluster = &settings.broker_cluster_name;
    let broker = &settings.broker_name;
    let rw = perm::READ | perm::WRITE;
    let inherit_and = |also: bool| perm::INHERIT | if also { rw } else { 0 };
    let default_queues = i32::try_from(settings.default_topic_queue_nums).unwrap_or(QUEUES_MAX);
    let mut topics = vec![
        TopicConfig::new(names::SELF_TEST_TOPIC, 1, rw),
        TopicConfig::new(names::BENCHMARK_TOPIC, 1024, rw),
        TopicConfig::new(cluster, 16, inherit_and(settings.cluster_topic_enable)),
        TopicConfig::new(broker, 1, inherit_and(settings.broker_topic_enable)),
        TopicConfig::new(names::OFFSET_MOVED_TOPIC, 1, rw),
        TopicConfig::new(names::SCHEDULE_TOPIC, 18, rw),
        TopicConfig::new(&format!("{cluster}_REPLY_TOPIC"), 1, rw),
        TopicConfig::new(
            &format!("{}REVIVE_LOG_{cluster}", names::SYSTEM_TOPIC_PREFIX),
            8,
            rw,
        ),
        TopicConfig::new(
            &format!("{}SYNC_BROKER_MEMBER_{broker}", names::SYSTEM_TOPIC_PREFIX),
            1,
            perm::INHERIT,
        ),
        TopicConfig::new(names::HALF_TOPIC, 1, rw),
        TopicConfig::new(names::OP_TOPIC, 1, rw),
        TopicConfig::new(&format!("{}wheel_timer", names::SYSTEM_TOPIC_PREFIX), 1, rw),
    ];
    if settings.auto_create_topic_enable {
        topics.push(TopicConfig::new(
            names::AUTO_CREATE_TOPIC,
            default_queues,
            perm::INHERIT | rw,
        ));
    }
    if settings.trace_topic_enable {
        topics.push(TopicConfig::new(names::TRACE_TOPIC, 1, rw));
    }
    topics
}

#[cfg(test)]
mod tests;
