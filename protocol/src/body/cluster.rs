//! Routes (105) and the cluster (106).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_default;

/// Where the queues of a topic are: body of the response to GET_ROUTEINFO_BY_TOPIC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRouteData {
    /// The brokers.
    #[serde(default, deserialize_with = "null_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Filter servers by broker address; always empty with us.
    #[serde(default, deserialize_with = "null_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Queue counts of a globally ordered topic, `broker:4;other:4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// The queues.
    #[serde(default, deserialize_with = "null_default")]
    pub queue_datas: Vec<QueueData>,
}

/// A broker and its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerData {
    /// Address by broker id; 0 is the master. The Go client cannot read IPv6 addresses here.
    #[serde(default, deserialize_with = "null_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the broker.
    pub broker_name: String,
    /// Name of its cluster.
    #[serde(default, deserialize_with = "null_default")]
    pub cluster: String,
    /// A replica may stand in for the master.
    #[serde(default, deserialize_with = "null_default")]
    pub enable_acting_master: bool,
    /// Zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// The queues of a topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueData {
    /// Name of the broker.
    pub broker_name: String,
    /// Bits of [`crate::sysflag::perm`].
    pub perm: i32,
    /// Queues to read.
    pub read_queue_nums: i32,
    /// Unit bits.
    #[serde(default)]
    pub topic_sys_flag: i32,
    /// Queues to write.
    pub write_queue_nums: i32,
}

/// Body of the response to GET_BROKER_CLUSTER_INFO.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// Brokers by name.
    #[serde(default, deserialize_with = "null_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker names by cluster.
    #[serde(default, deserialize_with = "null_default")]
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}
