//! Topics and groups coming and going: what was planned is made durable, then put into use.
//!
//! One change of a name at a time, so that of two that race the second sees what the first left; the way of a request
//! whose topic and group exist takes no lock.

use std::sync::Arc;
use std::time::Instant;

use crate::counters::Creation;
use crate::groups::{self, GroupConfig, GroupRefused};
use crate::remoting::answer::Refusal;
use crate::shared::Shared;
use crate::topics::{self, TopicConfig, TopicRefused, Update, Wanted};

impl From<TopicRefused> for Refusal {
    fn from(refused: TopicRefused) -> Refusal {
        Refusal::new(refused.code(), refused.to_string())
    }
}

impl From<GroupRefused> for Refusal {
    fn from(refused: GroupRefused) -> Refusal {
        Refusal::new(refused.code(), refused.to_string())
    }
}

impl Shared {
    /// The consumer group of a request, made if that is allowed.
    pub(crate) async fn group_for_consumer(&self, name: &str) -> Result<Arc<GroupConfig>, Refusal> {
        if let Some(group) = self.groups.get(name) {
            return Ok(group);
        }
        let _one = self.groups.changing.lock(name).await;
        match self.groups.plan(name)? {
            groups::Plan::Exists(group) => Ok(group),
            groups::Plan::Create(group) => {
                let began = Instant::now();
                let stored = self.log.set_meta(group.key(), group.stored()).await;
                self.counters.group_made(stored.is_ok(), began.elapsed());
                stored.map_err(|error| error.refusal())?;
                tracing::info!(group = name, "consumer group created");
                Ok(self.groups.put(group))
            }
        }
    }

    /// The topic of a send, made from its default topic if that is allowed.
    pub(crate) async fn topic_for_send(
        &self,
        wanted: Wanted<'_>,
    ) -> Result<Arc<TopicConfig>, Refusal> {
        if let Some(topic) = self.topics.get(wanted.topic) {
            return Ok(topic);
        }
        let _one = self.topics.changing.lock(wanted.topic).await;
        self.carry_out(self.topics.plan_for_send(wanted)?).await
    }

    /// A retry or dead-letter topic, made if it is missing.
    pub(crate) async fn topic_for_group(
        &self,
        name: &str,
        queues: i32,
    ) -> Result<Arc<TopicConfig>, Refusal> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic);
        }
        let _one = self.topics.changing.lock(name).await;
        self.carry_out(self.topics.plan_internal(name, queues)?)
            .await
    }

    /// A topic as a tool wants it.
    pub(crate) async fn update_topic(
        &self,
        update: &Update<'_>,
    ) -> Result<Arc<TopicConfig>, Refusal> {
        let began = Instant::now();
        let _one = self.topics.changing.lock(update.topic).await;
        let updated = match self.topics.plan_update(update) {
            Ok(plan) => self.carry_out(plan).await,
            Err(refused) => Err(refused.into()),
        };
        let creation = Creation {
            succeeded: updated.is_ok(),
            is_system: self.topics.is_system(update.topic),
        };
        self.counters.topic_made(creation, began.elapsed());
        updated
    }

    /// Deletes a topic, its queues and the offsets in it; one that is not there is deleted already.
    /// Undecided halfs for it stay, and wait until it comes again.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), Refusal> {
        self.topics.check_delete(name)?;
        let _one = self.topics.changing.lock(name).await;
        let Some(topic) = self.topics.get(name) else {
            return Ok(());
        };
        // Out of use first: nothing may be sent into queues that are going.
        self.topics.remove(name);
        if let Err(error) = self
            .log
            .delete_topic(name.to_owned(), topics::key(name))
            .await
        {
            self.topics.put(TopicConfig::clone(&topic));
            return Err(error.refusal());
        }
        self.offsets.forget_topic(name);
        tracing::info!(topic = name, "topic deleted");
        Ok(())
    }

    async fn carry_out(&self, plan: topics::Plan) -> Result<Arc<TopicConfig>, Refusal> {
        match plan {
            topics::Plan::Exists(topic) => Ok(topic),
            topics::Plan::Create(topic) => {
                let stored = self.log.set_meta(topic.key(), topic.stored()).await;
                stored.map_err(|error| error.refusal())?;
                tracing::info!(topic = %topic.name, queues = topic.write_queues, "topic created or changed");
                Ok(self.topics.put(topic))
            }
        }
    }
}
