//! The name server's requests. It is one process with the broker, so routes are made from the broker's own
//! topics at the moment of the question; nothing registers and nothing expires.

use std::collections::BTreeMap;
use std::sync::Arc;

use escrow_protocol::body::{self, BrokerData, ClusterInfo, QueueData, TopicList, TopicRouteData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::GetRouteInfo;
use serde::Serialize;

use crate::remoting::answer::{Refusal, RequestHead};
use crate::remoting::dispatch::unsupported;
use crate::remoting::peer::Peer;
use crate::shared::Shared;
use crate::topics::TopicConfig;

pub(crate) async fn handle(shared: &Arc<Shared>, _: &Arc<Peer>, frame: Frame) -> Option<Frame> {
    let head = RequestHead::of(&frame);
    Some(match frame.code {
        request::GET_ROUTEINFO_BY_TOPIC => answer(head, route(shared, &frame)),
        request::GET_BROKER_CLUSTER_INFO => answer(head, Ok(cluster(shared))),
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => answer(head, Ok(topics(shared))),
        // The route goes with the topic itself. Tools delete there first, then here.
        request::DELETE_TOPIC_IN_NAMESRV => head.answer(response::SUCCESS),
        // There is no key-value table: it is empty, and deleting from it succeeds.
        request::GET_KV_CONFIG | request::GET_KVLIST_BY_NAMESPACE => {
            head.refuse(Refusal::new(response::QUERY_NOT_FOUND, "No config item"))
        }
        request::DELETE_KV_CONFIG => head.answer(response::SUCCESS),
        _ => unsupported(shared, &frame),
    })
}

fn answer<T: Serialize>(head: RequestHead, found: Result<T, Refusal>) -> Frame {
    let encoded = found.and_then(|found| {
        let failed =
            |error: body::BodyError| Refusal::new(response::SYSTEM_ERROR, error.to_string());
        body::encode(&found).map_err(failed)
    });
    match encoded {
        Ok(body) => head.answer(response::SUCCESS).with_body(body),
        Err(refusal) => head.refuse(refusal),
    }
}

fn route(shared: &Shared, frame: &Frame) -> Result<TopicRouteData, Refusal> {
    let header = GetRouteInfo::decode(&frame.ext).map_err(|error| Refusal::malformed(&error))?;
    let topic = shared.topics.get(header.topic).ok_or_else(|| {
        let topic: String = header.topic.chars().take(255).collect();
        let remark = format!("No topic route info in name server for the topic: {topic}");
        Refusal::new(response::TOPIC_NOT_EXIST, remark)
    })?;
    Ok(TopicRouteData {
        broker_datas: vec![broker(shared)],
        queue_datas: vec![queues(shared, &topic)],
        ..TopicRouteData::default()
    })
}

fn broker(shared: &Shared) -> BrokerData {
    BrokerData {
        broker_addrs: BTreeMap::from([(0, shared.store_host.to_string())]),
        broker_name: shared.settings.broker_name.clone(),
        cluster: shared.settings.broker_cluster_name.clone(),
        ..BrokerData::default()
    }
}

fn queues(shared: &Shared, topic: &TopicConfig) -> QueueData {
    QueueData {
        broker_name: shared.settings.broker_name.clone(),
        perm: topic.perm,
        read_queue_nums: topic.read_queues,
        topic_sys_flag: topic.topic_sys_flag,
        write_queue_nums: topic.write_queues,
    }
}

fn cluster(shared: &Shared) -> ClusterInfo {
    let name = &shared.settings.broker_name;
    ClusterInfo {
        broker_addr_table: BTreeMap::from([(name.clone(), broker(shared))]),
        cluster_addr_table: BTreeMap::from([(
            shared.settings.broker_cluster_name.clone(),
            vec![name.clone()],
        )]),
    }
}

fn topics(shared: &Shared) -> TopicList {
    let topic_list = shared
        .topics
        .all()
        .iter()
        .map(|topic| topic.name.to_string())
        .collect();
    TopicList {
        topic_list,
        ..TopicList::default()
    }
}
