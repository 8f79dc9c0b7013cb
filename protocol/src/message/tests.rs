use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const GOLDEN: &str = "0000006cdaa320a73610a6860000000100000000000000000000000500000000000012340000000000000000\
                      000003e87f0000010000270f00000000000007d07f00000100002a9f0000000000000000000000000000000568656c6c6f\
                      0154000b554e49515f4b4559014b02";

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

#[test]
fn a_record_has_the_known_bytes() {
    let message = golden_message();
    let mut record = Vec::new();
    assert_eq!(encode(&message, &mut record), Ok(108));
    assert_eq!(hex(&record), GOLDEN);
    assert_eq!(encoded_len(&message), 108);
    assert_eq!(decode(&record), Ok(message));
    assert!(view(&record).unwrap().body_is_intact());
    assert_eq!(
        message.offset_message_id(),
        "7F00000100002A9F0000000000001234"
    );
}
