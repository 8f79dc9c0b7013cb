//! `GET /api/topics` and `GET /api/groups`: what there is.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use escrow_protocol::body::MessageModel;
use serde_json::{Value, json};

use super::Admin;

/// Every topic with its queues' ranges; system topics are marked.
pub(super) async fn topics(State(admin): State<Admin>) -> Json<Value> {
    let shared = &admin.shared;
    let topics: Vec<Value> = shared
        .topics
        .all()
        .iter()
        .map(|topic| {
            let queues = topic.read_queues.max(topic.write_queues);
            let messages: u64 = (0..queues)
                .map(|queue| shared.reader.queue_range(&topic.name, queue))
                .map(|(min, max)| max.0.saturating_sub(min.0))
                .sum();
            json!({
                "topic": &*topic.name,
                "read_queues": topic.read_queues,
                "write_queues": topic.write_queues,
                "perm": topic.perm,
                "system": shared.topics.is_system(&topic.name),
                "messages": messages,
            })
        })
        .collect();
    Json(json!({ "rows": topics }))
}

/// Every consumer group with its live members, and every producer group with live members.
pub(super) async fn groups(State(admin): State<Admin>) -> Json<Value> {
    let shared = &admin.shared;
    let mut live: BTreeMap<String, Value> = BTreeMap::new();
    for view in shared.consumers.views() {
        let members: Vec<_> = view
            .members
            .iter()
            .map(|member| json!({ "client_id": member.client.client_id, "address": member.client.address.to_string() }))
            .collect();
        let mut subscriptions: Vec<_> = view
            .subscriptions
            .iter()
            .map(|subscription| json!({ "topic": subscription.topic, "expression": subscription.expression }))
            .collect();
        subscriptions.sort_by_key(Value::to_string);
        let broadcasting = view.message_model == MessageModel::Broadcasting;
        live.insert(
            view.group,
            json!({ "members": members, "subscriptions": subscriptions, "broadcasting": broadcasting, "starts_from": view.consume_from_where }),
        );
    }
    let consumers: Vec<Value> = shared
        .groups
        .all()
        .iter()
        .map(|group| json!({ "group": &*group.name, "live": live.get(&*group.name) }))
        .collect();
    let producers: Vec<Value> = shared
        .producers
        .groups()
        .into_iter()
        .map(|group| {
            let members = shared.producers.members(&group);
            let ids: Vec<_> = members
                .iter()
                .map(|member| member.client.client_id.clone())
                .collect();
            json!({ "group": group, "members": ids })
        })
        .collect();
    Json(json!({ "consumers": consumers, "producers": producers }))
}
