//! Every decoder of the crate on arbitrary bytes: none may panic, and what one accepts must survive being
//! written and read again. Shared by the property tests, the corpus test and the fuzz targets.

use bytes::BytesMut;
use escrow_protocol::body::{
    self, ClusterInfo, HeartbeatData, LockBatchRequest, TopicConfig, TopicRouteData,
};
use escrow_protocol::frame::{ExtFields, Frame};
use escrow_protocol::header::*;
use escrow_protocol::message::{self, HeadPatch};
use escrow_protocol::properties::{self, Properties};
use escrow_protocol::{batch, ids, names};

/// A name and a function that takes any bytes.
pub(crate) type Decoder = (&'static str, fn(&[u8]));

/// All of them, by the name of their corpus folder.
pub(crate) const ALL: [Decoder; 7] = [
    ("frame", frame),
    ("head", head),
    ("headers", headers),
    ("message", message),
    ("batch", batch),
    ("properties", properties),
    ("bodies", bodies),
];

/// Bytes as they come from a connection.
pub(crate) fn frame(data: &[u8]) {
    let mut src = BytesMut::from(data);
    while let Ok(Some(frame)) = Frame::decode(&mut src) {
        let mut bytes = BytesMut::new();
        frame
            .encode(&mut bytes)
            .expect("a frame that came in can go out");
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
    }
}

/// The header of one frame, JSON or (first byte odd) ROCKETMQ, behind words that fit it.
pub(crate) fn head(data: &[u8]) {
    let Some((form, header)) = data.split_first() else {
        return;
    };
    let Ok(len) = u32::try_from(header.len()) else {
        return;
    };
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&(len + 4).to_be_bytes());
    bytes.extend_from_slice(&(len | u32::from(form & 1) << 24).to_be_bytes());
    bytes.extend_from_slice(header);
    frame(&bytes);
}

/// Lines of `name=value`, read as each of the headers.
pub(crate) fn headers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ext: ExtFields = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    macro_rules! check {
        ($($name:ident)*) => {$(
            if let Ok(header) = $name::decode(&ext) {
                let mut again = ExtFields::new();
                header.encode(&mut again);
                assert_eq!($name::decode(&again), Ok(header));
            }
        )*};
    }
    check!(SendRequest SendResponse EndTransaction CheckTransactionState ResumeCheck PullRequest PullResponse);
    check!(QueryMessage QueryMessageResponse ViewMessage QueryConsumerOffset UpdateConsumerOffset SearchOffset);
    check!(GetMaxOffset GetMinOffset GetEarliestStoreTime OffsetResponse TimestampResponse ConsumerSendBack);
    check!(UnregisterClient GetConsumerList NotifyConsumerIdsChanged GetRouteInfo GetTopicsByCluster);
    check!(CreateTopic DeleteTopic DeleteTopicInNameServer TopicName);
}

/// Concatenated message records.
pub(crate) fn message(data: &[u8]) {
    let patch = HeadPatch {
        queue_id: 1,
        queue_offset: 2,
        physical_offset: 3,
        sys_flag: -1,
        store_timestamp: 4,
        prepared_transaction_offset: 5,
    };
    let _ = message::patch_head(&mut data.to_vec(), &patch);
    for view in message::decode_all(data).flatten() {
        let message = view.message;
        let mut record = Vec::new();
        message::encode(&message, &mut record).expect("a record that was read can be written");
        assert_eq!(message::decode(&record), Ok(message));
        message::patch_head(&mut record, &patch).expect("a whole record has a head");
        let patched = message::decode(&record).expect("a patched record is a record");
        assert_eq!((patched.queue_id, patched.store_timestamp), (1, 4));
        assert_eq!((patched.body, patched.topic), (message.body, message.topic));
    }
}

/// The body of a batch send.
pub(crate) fn batch(data: &[u8]) {
    for message in batch::decode(data).flatten() {
        let mut record = Vec::new();
        batch::encode(&message, &mut record).expect("a record that was read can be written");
        assert_eq!(batch::decode(&record).next(), Some(Ok(message)));
    }
}

/// A property string; and since it is text, everything else that is made from text.
pub(crate) fn properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (name, value) in Properties(&text).iter() {
        assert!(Properties(&text).get(name).is_some());
        let mut copy = text.to_string();
        properties::remove(&mut copy, name);
        assert_eq!(Properties(&copy).get(name), None);
        if properties::is_clean(value) {
            properties::set(&mut copy, name, value);
            assert_eq!(Properties(&copy).get(name), Some(value));
        }
    }
    if let Ok((host, offset)) = ids::decode_offset_message_id(&text) {
        assert_eq!(ids::offset_message_id(host, offset), text.to_uppercase());
    }
    ids::tags_hash(&text);
    let _ = (names::validate_topic(&text), names::validate_group(&text));
}

/// JSON bodies.
pub(crate) fn bodies(data: &[u8]) {
    macro_rules! check {
        ($($name:ident)*) => {$(
            if let Ok(decoded) = body::decode::<$name>(data) {
                let again = body::encode(&decoded).expect("a body that was read can be written");
                assert_eq!(body::decode::<$name>(&again).expect("what we wrote is readable"), decoded);
            }
        )*};
    }
    check!(HeartbeatData TopicRouteData ClusterInfo LockBatchRequest TopicConfig);
}
