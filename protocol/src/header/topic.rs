//! Creating and deleting topics.

use super::field::header;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17).
    CreateTopic<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Topic it takes after; not looked at.
        optional default_topic: &'a str = "defaultTopic",
        /// Queues that consumers read.
        required read_queues: i32 = "readQueueNums",
        /// Queues that producers write.
        required write_queues: i32 = "writeQueueNums",
        /// Bits of [`crate::sysflag::perm`].
        required perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        optional filter_type: &'a str = "topicFilterType",
        /// Unit bits.
        optional topic_sys_flag: i32 = "topicSysFlag",
        /// Globally ordered.
        default(false) order: bool = "order",
        /// `+key=value,-key`
        optional attributes: &'a str = "attributes",
        /// Overwrite whatever is there.
        default(false) force: bool = "force",
    }
}

header! {
    /// DELETE_TOPIC_IN_BROKER (215).
    DeleteTopic<'a> {
        /// Topic.
        required topic: &'a str = "topic",
    }
}

header! {
    /// DELETE_TOPIC_IN_NAMESRV (216).
    DeleteTopicInNameServer<'a> {
        /// Topic.
        required topic: &'a str = "topic",
        /// Only in this cluster.
        optional cluster: &'a str = "clusterName",
    }
}

header! {
    /// The header of every request that names a topic and nothing else that matters, such as
    /// GET_TOPIC_STATS_INFO (202) and GET_TOPIC_CONFIG (351).
    TopicName<'a> {
        /// Topic.
        required topic: &'a str = "topic",
    }
}
