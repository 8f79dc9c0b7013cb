//! CONSUMER_SEND_MSG_BACK: a message that a consumer could not process comes again later, or goes
//! to the group's dead letters when it came often enough.

use std::sync::Arc;

use bytes::Bytes;
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::ConsumerSendBack;
use escrow_protocol::message::{self, Message};
use escrow_protocol::properties::{self, Properties, name};
use escrow_protocol::sysflag::perm;
use escrow_protocol::{names, version};
use escrow_store::Durability;

use super::answer::{Refusal, RequestHead};
use super::lookup::{self, Found};
use crate::delay;
use crate::groups::GroupConfig;
use crate::log_thread::NewMessage;
use crate::shared::Shared;

/// Retries wait at least this delay level, one more each time.
const FIRST_LEVEL: i32 = 3;

pub(crate) async fn handle(shared: &Arc<Shared>, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match send_back(shared, request).await {
        Ok(()) => head.answer(response::SUCCESS),
        Err(refusal) => head.refuse(refusal),
    }
}

async fn send_back(shared: &Arc<Shared>, request: &Frame) -> Result<(), Refusal> {
    let header = ConsumerSendBack::decode(&request.ext).map_err(|e| Refusal::malformed(&e))?;
    let Some(group) = shared.groups.get(header.group) else {
        let remark = format!("subscription group not exist, {}", header.group);
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    if group.retry_queues <= 0 {
        return Ok(());
    }
    let Found::Message(record) = lookup::at(shared, header.offset)
        .await
        .map_err(unreadable)?
    else {
        return Err(not_found(&header));
    };
    let failed = message::decode(&record).map_err(|_| not_found(&header))?;
    let target = Target::of(&group, request.version, &header, failed.reconsume_times);
    let topic = shared.topic_for_group(&target.topic, target.queues).await?;
    if !perm::is_writable(topic.perm) {
        let remark = format!("the topic[{}] sending message is forbidden", topic.name);
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    let mut again = again(shared, &record, &failed);
    again.topic = Arc::clone(&topic.name);
    again.queue_id = shared.any_queue(target.queues);
    let level = target.level.unwrap_or(0);
    properties::set(&mut again.properties, name::DELAY, &level.to_string());
    if target.level.is_none() {
        shared.counters.dead_letter(header.group);
    } else {
        if let Some(queue) = delay::level_queue(Some(&level.to_string()), shared.delay_levels()) {
            delay::postpone(&mut again, queue, &shared.schedule_topic);
        }
    }
    shared
        .log
        .append(again, Durability::Written)
        .await
        .map(drop)
        .map_err(|e| e.refusal())
}

fn unreadable(error: escrow_store::Error) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}

fn not_found(header: &ConsumerSendBack<'_>) -> Refusal {
    let remark = format!("look message by offset failed, {}", header.offset);
    Refusal::new(response::SYSTEM_ERROR, remark)
}

/// Where the message goes.
struct Target {
    topic: String,
    queues: i32,
    /// The delay level to wait for; `None` for dead letters.
    level: Option<i32>,
}

impl Target {
    fn of(
        group: &GroupConfig,
        from: i32,
        header: &ConsumerSendBack<'_>,
        reconsumed: i32,
    ) -> Target {
        let limit = header
            .reconsume_times_max
            .filter(|_| from >= version::V3_4_9)
            .unwrap_or(group.retry_times_max);
        if reconsumed >= limit || header.delay_level < 0 {
            return Target {
                topic: names::dlq_topic(header.group),
                queues: 1,
                level: None,
            };
        }
        let level = match header.delay_level {
            0 => FIRST_LEVEL.saturating_add(reconsumed),
            level => level,
        };
        Target {
            topic: names::retry_topic(header.group),
            queues: group.retry_queues,
            level: Some(level),
        }
    }
}

/// The same message once more; topic and queue are still those of the failed one.
fn again(shared: &Shared, record: &Bytes, failed: &Message<'_>) -> NewMessage {
    let known = Properties(failed.properties);
    let mut text = failed.properties.to_owned();
    if known.get(name::RETRY_TOPIC).is_none() {
        properties::append(&mut text, name::RETRY_TOPIC, failed.topic);
    }
    if known.get(name::ORIGIN_MESSAGE_ID).is_none() {
        // The broker's id of the first delivery; a stock broker does not look at the one in the header.
        let origin = failed.offset_message_id();
        properties::append(&mut text, name::ORIGIN_MESSAGE_ID, &origin);
    }
    NewMessage {
        topic: Arc::from(failed.topic),
        queue_id: failed.queue_id,
        flag: failed.flag,
        // With the bits of a committed message, if it is one.
        sys_flag: failed.sys_flag,
        born_timestamp: failed.born_timestamp,
        born_host: failed.born_host,
        store_host: shared.store_host,
        reconsume_times: failed.reconsume_times.saturating_add(1),
        unique_key: known.get(name::UNIQ_KEY).unwrap_or_default().to_owned(),
        properties: text,
        body: record.slice_ref(failed.body),
    }
}
