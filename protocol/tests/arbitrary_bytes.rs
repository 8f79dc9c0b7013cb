//! Nothing that a peer or a disk can hold makes a decoder panic.

mod decoders;

use bytes::BytesMut;
use escrow_protocol::frame::{Frame, Serialization};
use escrow_protocol::message::{self, Message};
use proptest::collection::vec;
use proptest::prelude::*;

/// A valid input for each decoder, from which the damaged ones are made.
fn sample(name: &str) -> Vec<u8> {
    let properties = "UNIQ_KEY\u{1}K\u{2}TAGS\u{1}a\u{2}";
    match name {
        "headers" => {
            b"a=g\nb=t\nc=d\nd=4\ne=0\nf=0\ng=1\nh=0\ni=p\ntopic=t\nqueueId=1\noffset=5\n".to_vec()
        }
        "message" => record("topic", properties),
        "batch" => [
            &[0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2][..],
            b"hi\0\0",
        ]
        .concat(),
        "properties" => properties.as_bytes().to_vec(),
        "head" => {
            br#"{"code":310,"flag":0,"language":"RUST","opaque":1,"extFields":{"a":"g"}}"#.to_vec()
        }
        "bodies" => {
            br#"{"clientID":"c","producerDataSet":[{"groupName":"g"}],"consumerDataSet":null}"#
                .to_vec()
        }
        _ => [frame(Serialization::Json), frame(Serialization::RocketMq)].concat(),
    }
}

fn record(topic: &str, properties: &str) -> Vec<u8> {
    let mut record = Vec::new();
    let message = Message {
        queue_id: 1,
        flag: 2,
        queue_offset: 3,
        physical_offset: 4,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: ([127, 0, 0, 1], 6).into(),
        store_timestamp: 7,
        store_host: ([127, 0, 0, 1], 8).into(),
        reconsume_times: 9,
        prepared_transaction_offset: 10,
        body: b"body",
        topic,
        properties,
    };
    message::encode(&message, &mut record).unwrap();
    record
}

fn frame(serialization: Serialization) -> Vec<u8> {
    let mut frame = Frame::request(310)
        .with_remark("r\"")
        .with_body(&b"body"[..]);
    frame.serialization = serialization;
    frame.ext.insert("a", "group");
    frame.ext.insert("i", "KEYS\u{1}k\u{2}");
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    bytes.to_vec()
}

proptest! {
    #[test]
    fn random_bytes(data in vec(any::<u8>(), 0..300)) {
        for (_, decode) in decoders::ALL {
            decode(&data);
        }
    }

    /// A header of random bytes behind words that fit it.
    #[test]
    fn random_headers(serialization in 0..2_u8, header in vec(any::<u8>(), 0..200)) {
        let len = u8::try_from(header.len()).unwrap();
        let data = [&[0, 0, 0, len + 4, serialization, 0, 0, len], header.as_slice()].concat();
        decoders::frame(&data);
    }

    /// Text that looks like JSON to a scanner.
    #[test]
    fn random_json(text in r#"([{}\[\],:"]|\\u00|\\|null|true|"code"|"extFields"|"a"|-1|é| ){0,40}"#) {
        let text = format!("{{{text}");
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        let header = &text.as_bytes()[..usize::from(len)];
        let data = [&[0, 0, 1, len.wrapping_add(4), 0, 0, 0, len], header, &[0; 300]].concat();
        decoders::frame(&data);
        decoders::bodies(text.as_bytes());
    }

    /// Good bytes, a few of which are damaged, then cut.
    #[test]
    fn damaged_bytes(damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>()) {
        for (name, decode) in decoders::ALL {
            let mut data = sample(name);
            decode(&data);
            for (at, byte) in &damage {
                let at = at.index(data.len());
                data[at] = *byte;
            }
            decode(&data);
            decode(&data[..cut.index(data.len())]);
        }
    }
}

/// Not a sample: every value of every byte.
#[test]
fn every_single_byte_replaced() {
    for (name, decode) in decoders::ALL {
        let good = sample(name);
        for at in 0..good.len() {
            let mut data = good.clone();
            for byte in 0..=u8::MAX {
                data[at] = byte;
                decode(&data);
            }
        }
    }
}
