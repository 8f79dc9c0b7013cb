//! `GET /api/topics` and `GET /api/groups`: what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use escrow_protocol::body::MessageModel;
use serde_json::{Value, json};

use super::Admin;
use crate::consumers::GroupView;
use crate::groups::GroupConfig;
use crate::producers::Member;

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
    let views = shared.consumers.views();
    let live: BTreeMap<&str, Value> = views
        .iter()
        .map(|view| (&*view.group, live(view)))
        .collect();
    let groups = shared.groups.all();
    let row =
        |group: &Arc<GroupConfig>| json!({ "group": &*group.name, "live": live.get(&*group.name) });
    let consumers: Vec<Value> = groups.iter().map(row).collect();
    let producers: Vec<Value> = shared
        .producers
        .groups()
        .into_iter()
        .map(|group| json!({ "members": members(&shared.producers.members(&group)), "group": group }))
        .collect();
    Json(json!({ "consumers": consumers, "producers": producers }))
}

/// What the members of a consumer group say of it.
fn live(view: &GroupView) -> Value {
    let mut subscriptions: Vec<_> = view
        .subscriptions
        .iter()
        .map(|of| (&of.topic, &of.expression))
        .collect();
    subscriptions.sort();
    let subscription = |(topic, expression)| json!({ "topic": topic, "expression": expression });
    json!({
        "members": members(&view.members),
        "subscriptions": subscriptions.into_iter().map(subscription).collect::<Vec<_>>(),
        "broadcasting": view.message_model == MessageModel::Broadcasting,
        "starts_from": view.consume_from_where,
    })
}

fn members(members: &[Member]) -> Vec<Value> {
    let member = |member: &Member| {
        let client = &member.client;
        json!({ "client_id": client.client_id, "address": client.address.to_string() })
    };
    members.iter().map(member).collect()
}
