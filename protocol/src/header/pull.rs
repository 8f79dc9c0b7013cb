//! PULL_MESSAGE and LITE_PULL_MESSAGE.

use super::field::header;

header! {
    /// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
    PullRequest<'a> {
        /// Who consumes.
        required consumer_group: &'a str = "consumerGroup",
        /// Topic to read.
        required topic: &'a str = "topic",
        /// Queue to read.
        required queue_id: i32 = "queueId",
        /// First queue offset wanted.
        required queue_offset: i64 = "queueOffset",
        /// Most messages wanted.
        required messages_max: i32 = "maxMsgNums",
        /// Bits of [`crate::sysflag::pull`].
        required sys_flag: i32 = "sysFlag",
        /// Offset to store for the group, if the flag says so.
        required commit_offset: i64 = "commitOffset",
        /// Longest wait for a message, if the flag allows one.
        required suspend_timeout_ms: i64 = "suspendTimeoutMillis",
        /// Filter expression, if the flag says so.
        optional subscription: &'a str = "subscription",
        /// Version of the subscription.
        required subscription_version: i64 = "subVersion",
        /// `TAG` or `SQL92`.
        optional expression_type: &'a str = "expressionType",
        /// Most bytes wanted.
        optional bytes_max: i32 = "maxMsgBytes",
        /// Proxy or SDK.
        optional request_source: i32 = "requestSource",
        /// Client behind a proxy.
        optional proxy_forward_client_id: &'a str = "proxyFrowardClientId",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// Response to a pull. Java reads the first four with every code from 0 and 19 to 21.
    PullResponse {
        /// Broker to pull from next: 0 is the master.
        required suggested_broker_id: i64 = "suggestWhichBrokerId",
        /// Queue offset to go on from.
        required next_begin_offset: i64 = "nextBeginOffset",
        /// First offset of the queue.
        required min_offset: i64 = "minOffset",
        /// End of the queue.
        required max_offset: i64 = "maxOffset",
        /// Shift of a static topic's queue.
        optional offset_delta: i64 = "offsetDelta",
        /// System flag of the topic.
        optional topic_sys_flag: i32 = "topicSysFlag",
        /// System flag of the group.
        optional group_sys_flag: i32 = "groupSysFlag",
        /// Why NO_PERMISSION: 1 broker, 2 group, 3 topic, 4 broadcasting, 5 subscription.
        optional forbidden_type: i32 = "forbiddenType",
    }
}
