//! HEART_BEAT, UNREGISTER_CLIENT and CHECK_CLIENT_CONFIG: who a client is and what it takes part in.

use std::sync::Arc;

use escrow_coordinator::Capability;
use escrow_protocol::body::{self, ConsumerData, HeartbeatData, SubscriptionData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{
    HEARTBEAT_CHECKS, NotifyConsumerIdsChanged, UnregisterClient, heartbeat_extras,
};
use escrow_protocol::names;
use serde::Deserialize;

use super::answer::{Refusal, RequestHead};
use super::peer::Peer;
use crate::consumers::{Change, Registration, is_tag_type};
use crate::log_thread::NewMember;
use crate::producers::Client;
use crate::shared::Shared;

/// Groups in one heartbeat; a client with more of them is broken or hostile.
const GROUPS_MAX: usize = 4096;

/// Bytes in a client id or producer group. Clients of version 4.9 let groups of 255 characters through.
const NAME_BYTES_MAX: usize = 255;

pub(crate) async fn handle(shared: &Arc<Shared>, peer: &Arc<Peer>, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match heartbeat(shared, peer, request).await {
        Ok(subscriptions_wanted) => {
            let mut answer = head.answer(response::SUCCESS);
            heartbeat_extras(&mut answer.ext, subscriptions_wanted);
            // Only to who asks: stock clients see what Apache's broker sends.
            if request.ext.get(HEARTBEAT_CHECKS).is_some() {
                answer.ext.insert(HEARTBEAT_CHECKS, "true");
            }
            answer
        }
        Err(refusal) => head.refuse(refusal),
    }
}

/// Answers whether the client must send its subscriptions in full next time.
async fn heartbeat(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    request: &Frame,
) -> Result<bool, Refusal> {
    let data: HeartbeatData =
        body::decode(&request.body).map_err(|error| illegal(error.to_string()))?;
    check(&data)?;
    let client = client(peer, &data.client_id, request);
    peer.identify(&client.client_id);
    let mut wanted = data.heartbeat_fingerprint == 0;
    for consumer in data.consumer_data_set {
        let fingerprint = (data.heartbeat_fingerprint, data.without_sub);
        wanted |= join_consumers(shared, &client, consumer, fingerprint).await?;
    }
    let now_ms = shared.clock.now().mono_ms;
    let declared = request.ext.get(HEARTBEAT_CHECKS).unwrap_or_default();
    for producer in data.producer_data_set {
        let group = producer.group_name;
        let checks = declared.split(';').any(|declared| declared == group);
        if shared.producers.register(now_ms, &group, &client, checks) {
            shared.log.joined(NewMember {
                group: group.into(),
                connection: peer.connection,
                client_id: client.client_id.as_str().into(),
                address: Arc::clone(&peer.address_text),
                capability: if checks {
                    Capability::Declared
                } else {
                    Capability::Unknown
                },
            });
        }
    }
    Ok(wanted)
}

fn check(data: &HeartbeatData) -> Result<(), Refusal> {
    let client_id = data.client_id.len();
    if client_id == 0 || client_id > NAME_BYTES_MAX {
        return Err(illegal(format!(
            "clientID has {client_id} bytes, not from 1 to {NAME_BYTES_MAX}"
        )));
    }
    let groups = data.consumer_data_set.len() + data.producer_data_set.len();
    if groups > GROUPS_MAX {
        return Err(illegal(format!(
            "the heartbeat names {groups} groups, more than {GROUPS_MAX}"
        )));
    }
    if data
        .producer_data_set
        .iter()
        .any(|group| group.group_name.len() > NAME_BYTES_MAX)
    {
        return Err(illegal(format!(
            "a producer group has more than {NAME_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn illegal(remark: String) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, remark)
}

fn client(peer: &Peer, client_id: &str, request: &Frame) -> Client {
    Client {
        connection: peer.connection,
        address: peer.address,
        client_id: client_id.to_owned(),
        language: request.language,
        version: request.version,
    }
}

/// Takes in one consumer group. A group that does not exist and may not be made is passed over, as the stock
/// broker does: its pulls are told why.
async fn join_consumers(
    shared: &Arc<Shared>,
    client: &Client,
    data: ConsumerData,
    (fingerprint, without_sub): (i32, bool),
) -> Result<bool, Refusal> {
    let group = match shared.group_for_consumer(&data.group_name).await {
        Ok(group) => group,
        Err(refusal) if refusal.code == response::SUBSCRIPTION_GROUP_NOT_EXIST => {
            tracing::debug!(group = data.group_name, remark = %refusal.remark, "heartbeat passed over");
            return Ok(false);
        }
        Err(refusal) => return Err(refusal),
    };
    shared
        .topic_for_group(&names::retry_topic(&group.name), group.retry_queues)
        .await?;
    let short = fingerprint != 0 && without_sub;
    let heartbeat = Registration {
        group: data.group_name,
        consume_type: data.consume_type,
        message_model: data.message_model,
        consume_from_where: data.consume_from_where,
        subscriptions: (!short).then_some(data.subscription_data_set),
        fingerprint,
    };
    let now_ms = shared.clock.now().mono_ms;
    let registered = shared.consumers.register(now_ms, client, heartbeat);
    if group.notify_consumer_ids_changed_enable {
        tell(
            shared,
            &Change {
                group: group.name.to_string(),
                tell: registered.tell,
            },
        );
    }
    Ok(registered.subscriptions_wanted)
}

/// Tells members that the group has changed, so that they share the queues anew at once.
pub(crate) fn tell(shared: &Shared, change: &Change) {
    for connection in &change.tell {
        let Some(peer) = shared.connections.get(*connection) else {
            continue;
        };
        let mut frame = Frame::request(request::NOTIFY_CONSUMER_IDS_CHANGED);
        NotifyConsumerIdsChanged {
            consumer_group: &change.group,
        }
        .encode(&mut frame.ext);
        peer.notify(frame);
    }
}

/// UNREGISTER_CLIENT: the client leaves the groups that it names.
pub(crate) fn unregister(shared: &Shared, peer: &Peer, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    let header = match UnregisterClient::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return head.refuse(Refusal::malformed(&error)),
    };
    if let Some(group) = header.producer_group {
        shared.producers.unregister(group, peer.connection);
        // The coordinator may know it from a half alone.
        shared.log.left_group(group.into(), peer.connection);
    }
    if let Some(group) = header.consumer_group
        && let Some(change) = shared.consumers.unregister(group, peer.connection)
    {
        let notify = shared.groups.get(group);
        if notify.is_none_or(|group| group.notify_consumer_ids_changed_enable) {
            tell(shared, &change);
        }
    }
    head.answer(response::SUCCESS)
}

/// Body of CHECK_CLIENT_CONFIG, as far as it matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckClient {
    #[serde(default)]
    subscription_data: Option<SubscriptionData>,
}

/// CHECK_CLIENT_CONFIG: whether this broker can filter as the client wants. It filters by tag.
pub(crate) fn check_config(request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    if request.body.is_empty() {
        return head.answer(response::SUCCESS);
    }
    let body: CheckClient = match body::decode(&request.body) {
        Ok(body) => body,
        Err(error) => return head.refuse(illegal(error.to_string())),
    };
    match body.subscription_data {
        Some(data) if !is_tag_type(&data.expression_type) => head.refuse(illegal(format!(
            "The broker does not support consumer to filter message by {}",
            data.expression_type
        ))),
        _ => head.answer(response::SUCCESS),
    }
}
