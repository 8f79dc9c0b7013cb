//! What is written is read back as it was, for every codec and for values that nobody thought of.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::BytesMut;
use escrow_protocol::batch::{self, BatchMessage};
use escrow_protocol::frame::{ExtFields, Frame, Serialization};
use escrow_protocol::header::*;
use escrow_protocol::message::{self, HeadPatch, Message};
use escrow_protocol::properties::{Properties, PropertiesBuilder};
use escrow_protocol::{ids, sysflag};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn serialization() -> impl Strategy<Value = Serialization> {
    prop_oneof![Just(Serialization::Json), Just(Serialization::RocketMq)]
}

fn ext_fields() -> impl Strategy<Value = ExtFields> {
    vec(("(?s).{1,12}", "(?s).{0,40}"), 0..20).prop_map(|fields| {
        fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    })
}

prop_compose! {
    fn frames()(
        code in any::<i16>(), language in 0..14_u8, version in any::<i16>(), opaque in any::<i32>(),
        flag in any::<i32>(), remark in option::of("(?s).{1,40}"), ext in ext_fields(),
        body in vec(any::<u8>(), 0..100), serialization in serialization(),
    ) -> Frame {
        let (code, version) = (i32::from(code), i32::from(version));
        Frame { code, language, version, opaque, flag, remark, ext, body: body.into(), serialization }
    }
}

fn through_the_wire(frame: &Frame) -> Frame {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    let decoded = Frame::decode(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    decoded
}

fn host() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|host| SocketAddr::new(host.ip(), host.port()))
}

proptest! {
    #[test]
    fn frame(frame in frames()) {
        prop_assert_eq!(through_the_wire(&frame), frame);
    }

    /// An independent JSON library reads our headers, and we read its.
    #[test]
    fn json_header_agrees_with_serde(frame in frames()) {
        let frame = Frame { serialization: Serialization::Json, ..frame };
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        let header = &bytes[8..bytes.len() - frame.body.len()];
        let value: serde_json::Value = serde_json::from_slice(header).unwrap();
        prop_assert_eq!(&value["code"], frame.code);
        prop_assert_eq!(value["remark"].as_str(), frame.remark.as_deref());
        let fields: BTreeMap<_, _> = frame.ext.iter().collect();
        if !fields.is_empty() {
            prop_assert_eq!(&value["extFields"], &serde_json::to_value(&fields).unwrap());
        }
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let (header, body) = (text.as_bytes(), frame.body.as_ref());
            let length = u32::try_from(4 + header.len() + body.len()).unwrap().to_be_bytes();
            let header_length = u32::try_from(header.len()).unwrap().to_be_bytes();
            let mut bytes = BytesMut::from(&[&length, &header_length, header, body].concat()[..]);
            prop_assert_eq!(Frame::decode(&mut bytes).unwrap().unwrap(), frame.clone());
        }
    }

    #[test]
    fn message(
        (queue_id, flag, sys_flag, reconsume_times) in any::<(i32, i32, i32, i32)>(),
        (queue_offset, physical_offset, born_timestamp, store_timestamp) in any::<(i64, i64, i64, i64)>(),
        prepared_transaction_offset in any::<i64>(), born_host in host(), store_host in host(),
        body in vec(any::<u8>(), 0..200), topic in "(?s).{0,140}", properties in "(?s).{0,100}",
    ) {
        let mut message = Message {
            queue_id, flag, queue_offset, physical_offset, sys_flag, born_timestamp, born_host, store_timestamp,
            store_host, reconsume_times, prepared_transaction_offset, body: &body, topic: &topic,
            properties: &properties,
        };
        let mut record = Vec::new();
        prop_assert_eq!(message::encode(&message, &mut record), Ok(message::encoded_len(&message)));
        message.sys_flag = sys_flag & !sysflag::HOST_MASK
            | if born_host.is_ipv6() { sysflag::BORN_HOST_V6 } else { 0 }
            | if store_host.is_ipv6() { sysflag::STORE_HOST_V6 } else { 0 };
        prop_assert_eq!(message::decode(&record), Ok(message));
        prop_assert!(message::view(&record).unwrap().body_is_intact());

        // A patch equals encoding the patched message.
        let patch = HeadPatch {
            queue_id: flag, queue_offset: physical_offset, physical_offset: queue_offset, sys_flag: flag,
            store_timestamp: born_timestamp, prepared_transaction_offset: store_timestamp,
        };
        message::patch_head(&mut record, &patch).unwrap();
        let patched = Message {
            queue_id: flag, queue_offset: physical_offset, physical_offset: queue_offset, sys_flag: flag,
            store_timestamp: born_timestamp, prepared_transaction_offset: store_timestamp, ..message
        };
        let mut expected = Vec::new();
        message::encode(&patched, &mut expected).unwrap();
        prop_assert_eq!(record, expected);
    }

    #[test]
    fn batch(messages in vec((any::<i32>(), vec(any::<u8>(), 0..50), "(?s).{0,50}"), 0..10)) {
        let messages: Vec<_> = messages
            .iter()
            .map(|(flag, body, properties)| BatchMessage { flag: *flag, body, properties })
            .collect();
        let mut bytes = Vec::new();
        for message in &messages {
            batch::encode(message, &mut bytes).unwrap();
        }
        prop_assert_eq!(batch::decode(&bytes).collect::<Result<Vec<_>, _>>(), Ok(messages));
    }

    #[test]
    fn properties(pairs in vec(("[^\u{1}\u{2}]{1,10}", "[^\u{1}\u{2}]{1,20}"), 0..10)) {
        let mut builder = PropertiesBuilder::new();
        let mut model = BTreeMap::new();
        for (name, value) in &pairs {
            builder.set(name, value).unwrap();
            model.insert(name.as_str(), value.as_str());
        }
        let text = builder.finish();
        prop_assert_eq!(Properties(&text).iter().collect::<BTreeMap<_, _>>(), model.clone());
        prop_assert_eq!(Properties(&text).iter().count(), model.len());
        for (name, value) in model {
            prop_assert_eq!(Properties(&text).get(name), Some(value));
        }
    }

    #[test]
    fn offset_message_id(host in host(), offset in any::<i64>()) {
        let id = ids::offset_message_id(host, offset);
        prop_assert_eq!(id.len(), if host.is_ipv4() { 32 } else { 56 });
        prop_assert_eq!(ids::decode_offset_message_id(&id), Ok((host, offset)));
    }
}

/// Values for the fields of one header, drawn once and handed out by type.
#[derive(Debug, Clone)]
struct Values {
    texts: Vec<String>,
    numbers: Vec<i64>,
    flags: Vec<bool>,
}

impl Values {
    fn text(&self, at: usize) -> &str {
        &self.texts[at]
    }

    fn long(&self, at: usize) -> i64 {
        self.numbers[at]
    }

    /// The low half of a number.
    fn int(&self, at: usize) -> i32 {
        (self.numbers[at] << 32 >> 32).try_into().unwrap()
    }

    fn some<T>(&self, at: usize, value: T) -> Option<T> {
        self.flags[at].then_some(value)
    }
}

prop_compose! {
    fn values()(
        texts in vec("(?s).{0,20}", 8), numbers in vec(any::<i64>(), 8), flags in vec(any::<bool>(), 12),
    ) -> Values {
        Values { texts, numbers, flags }
    }
}

/// Sends each header through a frame.
macro_rules! check {
    ($serialization:expr, $($name:ident $fields:tt)*) => {$(
        let header = $name $fields;
        let mut frame = Frame::request(1);
        frame.serialization = $serialization;
        header.encode(&mut frame.ext);
        let decoded = through_the_wire(&frame);
        prop_assert_eq!($name::decode(&decoded.ext), Ok(header));
    )*};
}

proptest! {
    #[test]
    fn transaction_and_send_headers(v in values(), serialization in serialization()) {
        check!(serialization,
            SendRequest {
                producer_group: v.text(0), topic: v.text(1), default_topic: v.text(2), default_topic_queues: v.int(0),
                queue_id: v.int(1), sys_flag: v.int(2), born_timestamp: v.long(3), flag: v.int(4),
                properties: v.some(0, v.text(3)), reconsume_times: v.some(1, v.int(5)), unit_mode: v.flags[2],
                reconsume_times_max: v.some(3, v.int(6)), batch: v.flags[4], broker_name: v.some(5, v.text(4)),
            }
            SendResponse {
                message_id: v.text(0), queue_id: v.int(0), queue_offset: v.long(1),
                transaction_id: v.some(0, v.text(1)), batch_unique_id: v.some(1, v.text(2)),
                recall_handle: v.some(2, v.text(3)), region: v.some(3, v.text(4)), trace_on: v.some(4, v.flags[5]),
            }
            EndTransaction {
                topic: v.some(0, v.text(0)), producer_group: v.text(1), half_queue_offset: v.long(0),
                commit_log_offset: v.long(1), commit_or_rollback: v.int(2), from_check: v.flags[1],
                message_id: v.text(2), transaction_id: v.some(2, v.text(3)), broker_name: v.some(3, v.text(4)),
            }
            CheckTransactionState {
                topic: v.some(0, v.text(0)), half_queue_offset: v.long(0), commit_log_offset: v.long(1),
                message_id: v.some(1, v.text(1)), transaction_id: v.some(2, v.text(2)),
                offset_message_id: v.some(3, v.text(3)), broker_name: v.some(4, v.text(4)),
                stored_at_ms: v.some(5, v.long(2)),
            }
            ResumeCheck { topic: v.some(0, v.text(0)), message_id: v.some(1, v.text(1)) }
        );
    }

    #[test]
    fn pull_and_query_headers(v in values(), serialization in serialization()) {
        check!(serialization,
            PullRequest {
                consumer_group: v.text(0), topic: v.text(1), queue_id: v.int(0), queue_offset: v.long(1),
                messages_max: v.int(2), sys_flag: v.int(3), commit_offset: v.long(4), suspend_timeout_ms: v.long(5),
                subscription: v.some(0, v.text(2)), subscription_version: v.long(6),
                expression_type: v.some(1, v.text(3)), bytes_max: v.some(2, v.int(7)),
                request_source: v.some(3, v.int(0)), proxy_forward_client_id: v.some(4, v.text(4)),
                broker_name: v.some(5, v.text(5)),
            }
            PullResponse {
                suggested_broker_id: v.long(0), next_begin_offset: v.long(1), min_offset: v.long(2),
                max_offset: v.long(3), offset_delta: v.some(0, v.long(4)), topic_sys_flag: v.some(1, v.int(5)),
                group_sys_flag: v.some(2, v.int(6)), forbidden_type: v.some(3, v.int(7)),
            }
            QueryMessage {
                topic: v.text(0), key: v.text(1), messages_max: v.int(0), begin_timestamp: v.long(1),
                end_timestamp: v.long(2), unique_key: v.flags[0],
            }
            QueryMessageResponse { index_last_update_timestamp: v.long(0), index_last_update_offset: v.long(1) }
            ViewMessage { topic: v.some(0, v.text(0)), offset: v.long(0) }
        );
    }

    #[test]
    fn offset_headers(v in values(), serialization in serialization()) {
        let boundary = if v.flags[0] { Boundary::Upper } else { Boundary::Lower };
        let broker_name = v.some(1, v.text(7));
        check!(serialization,
            QueryConsumerOffset {
                consumer_group: v.text(0), topic: v.text(1), queue_id: v.int(0),
                set_zero_if_not_found: v.some(2, v.flags[3]), broker_name,
            }
            UpdateConsumerOffset {
                consumer_group: v.text(0), topic: v.text(1), queue_id: v.int(0), commit_offset: v.long(1), broker_name,
            }
            SearchOffset { topic: v.text(0), queue_id: v.int(0), timestamp: v.long(1), boundary, broker_name }
            GetMaxOffset { topic: v.text(0), queue_id: v.int(0), committed: v.flags[2], broker_name }
            GetMinOffset { topic: v.text(0), queue_id: v.int(0), broker_name }
            GetEarliestStoreTime { topic: v.text(0), queue_id: v.int(0), broker_name }
            OffsetResponse { offset: v.long(0) }
            TimestampResponse { timestamp: v.long(0) }
        );
    }

    #[test]
    fn member_and_topic_headers(v in values(), serialization in serialization()) {
        check!(serialization,
            ConsumerSendBack {
                offset: v.long(0), group: v.text(0), delay_level: v.int(1), origin_message_id: v.some(0, v.text(1)),
                origin_topic: v.some(1, v.text(2)), unit_mode: v.flags[2], reconsume_times_max: v.some(3, v.int(2)),
                broker_name: v.some(4, v.text(3)),
            }
            UnregisterClient {
                client_id: v.text(0), producer_group: v.some(0, v.text(1)), consumer_group: v.some(1, v.text(2)),
                broker_name: v.some(2, v.text(3)),
            }
            GetConsumerList { consumer_group: v.text(0) }
            NotifyConsumerIdsChanged { consumer_group: v.text(0) }
            GetRouteInfo { topic: v.text(0), standard_json_only: v.some(0, v.flags[1]) }
            GetTopicsByCluster { cluster: v.text(0) }
            CreateTopic {
                topic: v.text(0), default_topic: v.some(0, v.text(1)), read_queues: v.int(0), write_queues: v.int(1),
                perm: v.int(2), filter_type: v.some(1, v.text(2)), topic_sys_flag: v.some(2, v.int(3)),
                order: v.flags[3], attributes: v.some(4, v.text(3)), force: v.flags[5],
            }
            DeleteTopic { topic: v.text(0) }
            DeleteTopicInNameServer { topic: v.text(0), cluster: v.some(0, v.text(1)) }
            TopicName { topic: v.text(0) }
        );
    }
}
