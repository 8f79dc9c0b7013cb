//! From a checked send to the commands that store it.

use std::sync::Arc;

use bytes::Bytes;
use escrow_protocol::code::response;
use escrow_protocol::header::SendRequest;
use escrow_protocol::properties::{self, PROPERTIES_BYTES_MAX, Properties, name};
use escrow_protocol::{batch as batch_body, names, sysflag};
use escrow_store::Durability;

use super::super::answer::Refusal;
use super::super::peer::Peer;
use super::Target;
use crate::counters::MessageKind;
use crate::delay;
use crate::log_thread::{Asking, NewHalf, NewMessage};
use crate::shared::Shared;

/// What the properties of a message say about its treatment, found in one pass.
#[derive(Default)]
struct Facts<'a> {
    unique_key: Option<&'a str>,
    delay: Option<&'a str>,
    transactional: bool,
    timer: bool,
    /// It has a sharding key, so its sender wants order.
    sharded: bool,
    unwaited: bool,
    /// A property that only the broker sets is there and must go.
    foreign: bool,
}

impl<'a> Facts<'a> {
    fn of(text: &'a str) -> Facts<'a> {
        let mut facts = Facts::default();
        for (key, value) in Properties(text).iter() {
            match key {
                name::UNIQ_KEY => facts.unique_key = Some(value),
                name::DELAY => facts.delay = Some(value),
                name::TRAN_MSG => facts.transactional = value.eq_ignore_ascii_case("true"),
                name::WAIT => facts.unwaited = value.eq_ignore_ascii_case("false"),
                name::SHARDING_KEY => facts.sharded = true,
                name::TIMER_DELAY_SEC | name::TIMER_DELAY_MS | name::TIMER_DELIVER_MS => {
                    facts.timer = true;
                }
                name::MSG_REGION | name::TRACE_ON | name::CLUSTER | name::POP_CK => {
                    facts.foreign = true;
                }
                _ => {}
            }
        }
        facts
    }

    fn kind(&self) -> MessageKind {
        match self {
            facts if facts.sharded => MessageKind::Fifo,
            facts if facts.delay.is_some() => MessageKind::Delay,
            _ => MessageKind::Normal,
        }
    }

    fn is_delayed(&self) -> bool {
        let level = self
            .delay
            .and_then(|level| level.trim().parse::<i32>().ok());
        level.is_some_and(|level| level > 0)
    }
}

/// What stores this send.
pub(super) fn asking(
    shared: &Shared,
    peer: &Peer,
    header: &SendRequest<'_>,
    body: &Bytes,
    target: &Target,
) -> Result<Asking, Refusal> {
    let limit = shared.settings.max_message_size.0;
    if u64::try_from(body.len()).unwrap_or(u64::MAX) > limit {
        let remark = format!(
            "the message body has {} bytes, at most {limit} are allowed",
            body.len()
        );
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    if header.batch {
        return many(shared, peer, header, body, target);
    }
    let text = header.properties.unwrap_or_default();
    let facts = Facts::of(text);
    if facts.timer {
        return Err(illegal(
            "TIMER_* properties are not supported; use a delay level (DELAY)",
        ));
    }
    let reconsumed = header.reconsume_times.unwrap_or(0) > 0;
    let special = names::retry_group(header.topic)
        .or(names::dlq_group(header.topic))
        .is_some();
    let transactional = facts.transactional && !special && !(reconsumed && facts.is_delayed());
    let mut message = message(shared, header, target, peer, body.clone());
    stamp(shared, &mut message, text, &facts);
    let bytes = message.body.len() + message.properties.len();
    let (asking, kind) = if transactional {
        (half(shared, header, message)?, MessageKind::Transaction)
    } else {
        (plain(shared, &facts, target, message)?, facts.kind())
    };
    shared.counters.messages_in(header.topic, kind, 1, bytes);
    if target.dead_letter {
        shared
            .counters
            .dead_letter(names::retry_group(header.topic).unwrap_or_default());
    }
    Ok(asking)
}

fn illegal(remark: &'static str) -> Refusal {
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}

/// The message but for its properties.
fn message(
    shared: &Shared,
    header: &SendRequest<'_>,
    target: &Target,
    peer: &Peer,
    body: Bytes,
) -> NewMessage {
    let queue_id = if target.dead_letter {
        0
    } else if header.queue_id < 0 {
        shared.any_queue(target.topic.write_queues)
    } else {
        header.queue_id
    };
    NewMessage {
        topic: Arc::clone(&target.topic.name),
        queue_id,
        flag: header.flag,
        // Bits that only a broker sets: a plain message with them would never be shown.
        sys_flag: sysflag::with_transaction(header.sys_flag, 0),
        born_timestamp: header.born_timestamp,
        born_host: peer.address,
        store_host: shared.store_host,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        properties: String::new(),
        body,
        unique_key: String::new(),
    }
}

/// The properties that the broker adds to every message but those of a batch.
fn stamp(shared: &Shared, message: &mut NewMessage, text: &str, facts: &Facts<'_>) {
    let cluster = &shared.settings.broker_cluster_name;
    let mut stamped = String::with_capacity(text.len() + cluster.len() + 96);
    stamped.push_str(text);
    if facts.foreign {
        for own in [
            name::MSG_REGION,
            name::TRACE_ON,
            name::CLUSTER,
            name::POP_CK,
        ] {
            properties::remove(&mut stamped, own);
        }
    }
    message.unique_key = unique_key(shared, &mut stamped, facts);
    properties::append(&mut stamped, name::MSG_REGION, names::DEFAULT_REGION);
    properties::append(&mut stamped, name::TRACE_ON, "true");
    properties::append(&mut stamped, name::CLUSTER, cluster);
    message.properties = stamped;
}

/// The key that the client gave, or one that is made for it.
fn unique_key(shared: &Shared, text: &mut String, facts: &Facts<'_>) -> String {
    match facts.unique_key {
        Some(key) => key.to_owned(),
        None => {
            let key = shared.unique_keys.next(shared.clock.now().mono_ms);
            properties::append(text, name::UNIQ_KEY, &key);
            key
        }
    }
}

fn check_properties(message: &NewMessage) -> Result<(), Refusal> {
    let bytes = message.properties.len();
    if bytes <= PROPERTIES_BYTES_MAX {
        return Ok(());
    }
    let remark = format!(
        "the properties have {bytes} bytes with those that the broker adds, at most \
         {PROPERTIES_BYTES_MAX} are allowed"
    );
    Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
}

fn plain(
    shared: &Shared,
    facts: &Facts<'_>,
    target: &Target,
    mut message: NewMessage,
) -> Result<Asking, Refusal> {
    // The answer names the queue that was asked for, also while the message waits elsewhere.
    let queue_id = message.queue_id;
    if target.dead_letter {
        properties::set(&mut message.properties, name::DELAY, "0");
    } else if let Some(level) = delay::level_queue(facts.delay, shared.delay_levels()) {
        delay::postpone(&mut message, level, &shared.schedule_topic);
    }
    check_properties(&message)?;
    let need = if facts.unwaited {
        Durability::Written
    } else {
        shared.flush.plain
    };
    Ok(Asking::Send {
        messages: vec![message],
        queue_id,
        need,
    })
}

fn half(shared: &Shared, header: &SendRequest<'_>, message: NewMessage) -> Result<Asking, Refusal> {
    if shared.settings.reject_transaction_message {
        let remark = "the broker's setting rejectTransactionMessage forbids transactional messages";
        return Err(Refusal::new(response::NO_PERMISSION, remark));
    }
    check_properties(&message)?;
    Ok(Asking::Half(Box::new(NewHalf {
        message,
        producer_group: header.producer_group.to_owned(),
    })))
}

/// A batch: its messages share topic and queue and get consecutive places.
fn many(
    shared: &Shared,
    peer: &Peer,
    header: &SendRequest<'_>,
    body: &Bytes,
    target: &Target,
) -> Result<Asking, Refusal> {
    if names::retry_group(header.topic).is_some() {
        let remark = format!(
            "batch request does not support retry group {}",
            header.topic
        );
        return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
    }
    if header.topic.len() > names::TOPIC_CHARS_MAX {
        return Err(illegal("message topic length too long"));
    }
    let template = message(shared, header, target, peer, Bytes::new());
    let mut messages = Vec::new();
    for entry in batch_body::decode(body) {
        let entry =
            entry.map_err(|error| Refusal::new(response::MESSAGE_ILLEGAL, error.to_string()))?;
        let facts = Facts::of(entry.properties);
        if facts.timer || facts.transactional || facts.is_delayed() {
            return Err(illegal(
                "a batch cannot hold transactional or delayed messages",
            ));
        }
        let mut message = NewMessage {
            flag: entry.flag,
            body: body.slice_ref(entry.body),
            ..template.clone()
        };
        message.properties.push_str(entry.properties);
        message.unique_key = unique_key(shared, &mut message.properties, &facts);
        check_properties(&message)?;
        messages.push(message);
    }
    if messages.is_empty() {
        return Err(illegal("the batch is empty"));
    }
    let bytes = messages
        .iter()
        .map(|message| message.body.len() + message.properties.len())
        .sum();
    shared
        .counters
        .messages_in(header.topic, MessageKind::Normal, messages.len(), bytes);
    Ok(Asking::Send {
        queue_id: template.queue_id,
        messages,
        need: shared.flush.plain,
    })
}
