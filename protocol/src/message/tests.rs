use super::*;
use crate::sysflag;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const GOLDEN: &str = concat!(
    "0000006cdaa320a73610a6860000000100000000000000000000000500000000000012340000000000000000000003e8",
    "7f0000010000270f00000000000007d07f00000100002a9f0000000000000000000000000000000568656c6c6f",
    "0154000b554e49515f4b4559014b02"
);

fn golden_message() -> Message<'static> {
    Message {
        queue_id: 1,
        flag: 0,
        queue_offset: 5,
        physical_offset: 0x1234,
        sys_flag: 0,
        born_timestamp: 1000,
        born_host: "127.0.0.1:9999".parse().unwrap(),
        store_timestamp: 2000,
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"hello",
        topic: "T",
        properties: "UNIQ_KEY\u{1}K\u{2}",
    }
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut record = Vec::new();
    let len = encode(message, &mut record).unwrap();
    assert_eq!(len, record.len());
    assert_eq!(len, encoded_len(message));
    record
}

#[test]
fn a_record_has_the_known_bytes() {
    let message = golden_message();
    let record = encoded(&message);
    assert_eq!(record.len(), 108);
    assert_eq!(hex(&record), GOLDEN);
    assert_eq!(decode(&record), Ok(message));
    let view = view(&record).unwrap();
    assert_eq!(
        (view.size, view.version, view.body_crc),
        (108, RecordVersion::V1, 0x3610_A686)
    );
    assert!(view.body_is_intact());
    assert_eq!(
        message.offset_message_id(),
        "7F00000100002A9F0000000000001234"
    );
    assert_eq!(message.properties().get("UNIQ_KEY"), Some("K"));
}

#[test]
fn a_property_added_to_a_record_is_as_if_it_had_been_encoded_with_it() {
    for before in ["", "a\u{1}1", "a\u{1}1\u{2}"] {
        let mut text = before.to_owned();
        crate::properties::append(&mut text, "b", "2");
        let message = |properties| Message {
            properties,
            ..golden_message()
        };
        let mut record = encoded(&message(before));
        append_property(&mut record, "b", "2").unwrap();
        assert_eq!(record, encoded(&message(&text)), "{before:?}");
    }
}

#[test]
fn a_property_without_room_leaves_the_record_as_it_was() {
    let long = format!("a\u{1}{}\u{2}", "x".repeat(32_761));
    let record = encoded(&Message {
        properties: &long,
        ..golden_message()
    });
    let mut grown = record.clone();
    assert!(append_property(&mut grown, "b", "2").is_err());
    assert_eq!(grown, record);
    assert!(append_property(&mut vec![0; 10], "b", "2").is_err());
}

#[test]
fn a_topic_over_127_bytes_takes_the_second_layout() {
    let topic = format!("%RETRY%{}", "g".repeat(120));
    let mut message = golden_message();
    message.topic = &topic;
    assert_eq!(view(&encoded(&message)).unwrap().version, RecordVersion::V1);
    let topic = format!("%RETRY%{}", "g".repeat(121));
    message.topic = &topic;
    let record = encoded(&message);
    assert_eq!(record[4..8], MAGIC_V2.to_be_bytes());
    assert_eq!(view(&record).unwrap().version, RecordVersion::V2);
    assert_eq!(decode(&record), Ok(message));
}

#[test]
fn the_host_bits_follow_the_hosts() {
    let v4: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
    for (born, store, bits) in [(v4, v4, 0), (v6, v4, 0x10), (v4, v6, 0x20), (v6, v6, 0x30)] {
        let message = Message {
            born_host: born,
            store_host: store,
            sys_flag: 0x301,
            ..golden_message()
        };
        let wrong = Message {
            sys_flag: 0x331 & !bits,
            ..message
        };
        assert_eq!(
            encoded(&message),
            encoded(&wrong),
            "a wrong host bit cannot get into a record"
        );
        let decoded = Message {
            sys_flag: 0x301 | bits,
            ..message
        };
        assert_eq!(decode(&encoded(&message)), Ok(decoded));
    }
}

#[test]
fn a_patch_changes_its_fields_and_nothing_else() {
    let v4: SocketAddr = "10.0.0.1:1".parse().unwrap();
    let v6: SocketAddr = "[::1]:2".parse().unwrap();
    let patch = HeadPatch {
        queue_id: 3,
        queue_offset: -4,
        physical_offset: 1 << 40,
        sys_flag: sysflag::TRANSACTION_COMMIT | sysflag::HOST_MASK,
        store_timestamp: 1_700_000_000_000,
        prepared_transaction_offset: 99,
    };
    for (born_host, store_host) in [(v4, v4), (v6, v4), (v4, v6), (v6, v6)] {
        let message = Message {
            born_host,
            store_host,
            ..golden_message()
        };
        let mut record = encoded(&message);
        patch_head(&mut record, &patch).unwrap();
        let expected = Message {
            queue_id: patch.queue_id,
            queue_offset: patch.queue_offset,
            physical_offset: patch.physical_offset,
            sys_flag: sysflag::TRANSACTION_COMMIT,
            store_timestamp: patch.store_timestamp,
            prepared_transaction_offset: patch.prepared_transaction_offset,
            ..message
        };
        assert_eq!(record, encoded(&expected));
    }
    let mut short = encoded(&golden_message());
    short.truncate(83);
    assert!(patch_head(&mut short, &patch).is_err());
}

#[test]
fn records_follow_each_other() {
    let one = golden_message();
    let two = Message {
        body: b"",
        topic: "other",
        ..one
    };
    let records = [encoded(&one), encoded(&two)].concat();
    let decoded: Vec<_> = decode_all(&records)
        .map(|record| record.unwrap().message)
        .collect();
    assert_eq!(decoded, [one, two]);
    assert_eq!(decode_all(b"").count(), 0);
    let cut: Vec<_> = decode_all(&records[..records.len() - 1]).collect();
    assert_eq!(cut.len(), 2);
    assert!(cut[0].is_ok() && cut[1].is_err());
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let record = encoded(&golden_message());
    for cut in 0..record.len() {
        assert!(
            matches!(decode(&record[..cut]), Err(MessageError::Short(_))),
            "cut at {cut}"
        );
    }
}

#[test]
fn lying_fields_are_refused() {
    let wrong = |at: usize, bytes: &[u8]| {
        let mut record = encoded(&golden_message());
        record[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&record).unwrap_err()
    };
    assert_eq!(
        wrong(0, &[0, 0, 0, 107]),
        MessageError::SizeMismatch {
            said: 107,
            has: 108
        }
    );
    assert_eq!(
        wrong(0, &[0xFF; 4]),
        MessageError::SizeMismatch { said: -1, has: 108 }
    );
    assert_eq!(
        wrong(4, &[0xCB, 0xD4, 0x31, 0x94]),
        MessageError::Magic(0xCBD4_3194)
    );
    assert_eq!(
        wrong(52, &[0, 1, 0, 0]),
        MessageError::Port {
            what: "born host",
            port: 65_536
        }
    );
    assert_eq!(
        wrong(68, &[0xFF; 4]),
        MessageError::Port {
            what: "store host",
            port: -1
        }
    );
    assert_eq!(
        wrong(84, &[0xFF; 4]),
        MessageError::NegativeLength("body length")
    );
    assert!(matches!(
        wrong(84, &[0x7F, 0xFF, 0xFF, 0xFF]),
        MessageError::Short(_)
    ));
    assert_eq!(
        wrong(93, &[0x80]),
        MessageError::NegativeLength("topic length")
    );
    assert_eq!(wrong(94, &[0xFF]), MessageError::NotUtf8("topic"));
    assert_eq!(
        wrong(95, &[0xFF; 2]),
        MessageError::NegativeLength("properties length")
    );
    assert_eq!(wrong(97, &[0xFF]), MessageError::NotUtf8("properties"));
}

#[test]
fn a_flipped_body_byte_is_seen_by_those_who_look() {
    let mut record = encoded(&golden_message());
    record[88] ^= 1;
    assert!(!view(&record).unwrap().body_is_intact());
}

#[test]
fn what_no_length_field_can_say_is_refused_before_a_byte_is_written() {
    let long = "x".repeat(32_768);
    let mut record = Vec::new();
    for message in [
        Message {
            properties: &long,
            ..golden_message()
        },
        Message {
            topic: &long,
            ..golden_message()
        },
    ] {
        assert!(matches!(
            encode(&message, &mut record),
            Err(MessageError::TooLong { .. })
        ));
        assert!(record.is_empty());
    }
    let longest = Message {
        properties: &long[1..],
        ..golden_message()
    };
    assert_eq!(decode(&encoded(&longest)), Ok(longest));
}
