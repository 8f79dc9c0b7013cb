//! SEND_MESSAGE in its three forms: the checks, and what becomes of the message.
//!
//! Runs in the reader task without waiting, unless a topic must be created first.

mod build;

use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::SendRequest;
use escrow_protocol::names;
use escrow_protocol::sysflag::perm;
use escrow_protocol::version;

use super::answer::{Refusal, ReplyTo};
use super::dispatch::Batch;
use super::peer::Peer;
use crate::shared::Shared;
use crate::topics::{TopicConfig, Wanted};

/// Where a send goes after the checks.
struct Target {
    topic: Arc<TopicConfig>,
    /// A retry beyond its limit: to the group's dead letters, without any delay.
    dead_letter: bool,
}

/// Takes a send from its frame into the batch for the log thread.
pub(crate) fn prepare(shared: &Arc<Shared>, peer: &Arc<Peer>, request: Frame, batch: &mut Batch) {
    let reply = ReplyTo::of(&request, batch.arrived_ms);
    match plan(shared, peer, reply, &request, batch) {
        Ok(true) => {}
        Ok(false) => {
            let work = create_and_send(Arc::clone(shared), Arc::clone(peer), request, reply);
            shared.tasks.spawn(work);
        }
        Err(refusal) => refuse(peer, reply, refusal),
    }
}

/// False if a topic or group is missing that may be created.
fn plan(
    shared: &Shared,
    peer: &Peer,
    reply: ReplyTo,
    request: &Frame,
    batch: &mut Batch,
) -> Result<bool, Refusal> {
    let header = decode(request)?;
    check_name(header.topic)?;
    let Some(target) = target(shared, request, &header)? else {
        return Ok(false);
    };
    let asking = build::asking(shared, peer, &header, &request.body, &target)?;
    batch.push(asking, reply);
    Ok(true)
}

/// The way of a send whose topic does not exist yet; or, of a retry, its group or the dead letters.
async fn create_and_send(shared: Arc<Shared>, peer: Arc<Peer>, request: Frame, reply: ReplyTo) {
    let mut batch = Batch::new(peer.latency.now_ms());
    let mut planned = Ok(false);
    for _missing in ["topic", "group", "dead letters"] {
        planned = match create(&shared, &request).await {
            Ok(()) => plan(&shared, &peer, reply, &request, &mut batch),
            Err(refusal) => Err(refusal),
        };
        if !matches!(planned, Ok(false)) {
            break;
        }
    }
    match planned {
        Ok(true) => batch.hand_over(&shared, &peer).await,
        Ok(false) => {
            let remark = "the topic has been deleted in the meantime";
            let refusal = Refusal::new(response::TOPIC_NOT_EXIST, remark);
            refuse(&peer, reply, refusal);
        }
        Err(refusal) => refuse(&peer, reply, refusal),
    }
}

/// Makes the topic of a send; if that is there, what is missing is its group or its dead letters.
async fn create(shared: &Arc<Shared>, request: &Frame) -> Result<(), Refusal> {
    let header = decode(request)?;
    match names::retry_group(header.topic) {
        Some(group) if shared.topics.get(header.topic).is_some() => {
            if shared.groups.get(group).is_none() {
                shared.group_for_consumer(group).await?;
            } else {
                shared.topic_for_group(&names::dlq_topic(group), 1).await?;
            }
        }
        _ => {
            let wanted = Wanted {
                topic: header.topic,
                default_topic: header.default_topic,
                default_queues: header.default_topic_queues,
                sys_flag: 0,
            };
            shared.topic_for_send(wanted).await?;
        }
    }
    Ok(())
}

fn decode(request: &Frame) -> Result<SendRequest<'_>, Refusal> {
    SendRequest::decode(&request.ext)
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))
}

fn refuse(peer: &Peer, reply: ReplyTo, refusal: Refusal) {
    tracing::debug!(peer = %peer.address, code = refusal.code, remark = %refusal.remark, "send refused");
    peer.answer(reply, reply.head.refuse(refusal));
}

fn check_name(topic: &str) -> Result<(), Refusal> {
    names::validate_topic(topic)
        .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
    if names::is_send_forbidden(topic) {
        let remark = format!("Sending message to topic[{topic}] is forbidden.");
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    Ok(())
}

/// The remaining checks on topic and queue, in the order of the stock broker. `None`: a topic or group
/// that may be created is missing.
fn target(
    shared: &Shared,
    request: &Frame,
    header: &SendRequest<'_>,
) -> Result<Option<Target>, Refusal> {
    let Some(topic) = shared.topics.get(header.topic) else {
        return Ok(None);
    };
    if !perm::is_writable(topic.perm) {
        let remark = format!("the topic[{}] sending message is forbidden", header.topic);
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    let queues = topic.write_queues.max(topic.read_queues);
    if header.queue_id >= queues {
        let remark = format!(
            "request queueId[{}] is illegal, topic {} has {queues} queues",
            header.queue_id, header.topic
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let Some(group) = names::retry_group(header.topic) else {
        return Ok(Some(Target {
            topic,
            dead_letter: false,
        }));
    };
    retry_target(shared, request, header, group, topic)
}

/// A consumer's retry: within its limit as sent, beyond it to the dead letters.
fn retry_target(
    shared: &Shared,
    request: &Frame,
    header: &SendRequest<'_>,
    group: &str,
    topic: Arc<TopicConfig>,
) -> Result<Option<Target>, Refusal> {
    let Some(settings) = shared.groups.get(group) else {
        return Ok(None);
    };
    let limit = header
        .reconsume_times_max
        .filter(|_| request.version >= version::V3_4_9)
        .unwrap_or(settings.retry_times_max);
    let ordered = shared.locks.is_held(shared.clock.now().mono_ms, group);
    if header.reconsume_times.unwrap_or(0) <= limit && !ordered {
        return Ok(Some(Target {
            topic,
            dead_letter: false,
        }));
    }
    let topic = shared.topics.get(&names::dlq_topic(group));
    Ok(topic.map(|topic| Target {
        topic,
        dead_letter: true,
    }))
}
