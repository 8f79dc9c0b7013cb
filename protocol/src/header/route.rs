//! Questions to the name server.

use super::field::header;

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    GetRouteInfo<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// The client reads standard JSON only. We send nothing else.
        optional standard_json_only: bool = "acceptStandardJsonOnly",
    }
}

header! {
    /// GET_TOPICS_BY_CLUSTER (224).
    GetTopicsByCluster<'a> {
        /// Cluster.
        required cluster: &'a str = "cluster",
    }
}
