//! Members of groups, and messages that a consumer sends back.

use super::field::header;
use crate::frame::ExtFields;

header! {
    /// CONSUMER_SEND_MSG_BACK (36): try this message again later.
    ConsumerSendBack<'a> {
        /// Physical offset of the message.
        required offset: i64 = "offset",
        /// Consumer group that failed.
        required group: &'a str = "group",
        /// 0: the broker chooses; below 0: to the dead letters.
        required delay_level: i32 = "delayLevel",
        /// Id of the message.
        optional origin_message_id: &'a str = "originMsgId",
        /// Topic of the message.
        optional origin_topic: &'a str = "originTopic",
        /// Unit mode.
        default(false) unit_mode: bool = "unitMode",
        /// Retries that this consumer allows.
        optional reconsume_times_max: i32 = "maxReconsumeTimes",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// UNREGISTER_CLIENT (35).
    UnregisterClient<'a> {
        /// Who leaves.
        required client_id: &'a str = "clientID",
        /// The producer group it leaves.
        optional producer_group: &'a str = "producerGroup",
        /// The consumer group it leaves.
        optional consumer_group: &'a str = "consumerGroup",
        /// Broker that the request is meant for.
        optional broker_name: &'a str = "bname",
    }
}

header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38).
    GetConsumerList<'a> {
        /// The group.
        required consumer_group: &'a str = "consumerGroup",
    }
}

header! {
    /// NOTIFY_CONSUMER_IDS_CHANGED (40), from broker to consumers, oneway.
    NotifyConsumerIdsChanged<'a> {
        /// The group.
        required consumer_group: &'a str = "consumerGroup",
    }
}

/// Field of a HEART_BEAT request, unknown to Apache: the producer groups, joined by `;`, whose checks this client can answer.
/// The response to it has the field too, as `true`: this broker takes note, and is one that keeps to its first decision.
pub const HEARTBEAT_CHECKS: &str = "escrowChecks";

/// Adds what a HEART_BEAT response says besides success: version 2 heartbeats are understood, and whether
/// the client must send its subscriptions again.
pub fn heartbeat_extras(ext: &mut ExtFields, subscriptions_wanted: bool) {
    ext.insert("IS_SUPPORT_HEART_BEAT_V2", "true");
    ext.insert(
        "IS_SUB_CHANGE",
        if subscriptions_wanted {
            "true"
        } else {
            "false"
        },
    );
}
