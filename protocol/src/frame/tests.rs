use super::*;

fn hex(text: &str) -> BytesMut {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

#[test]
fn a_binary_response_has_the_known_bytes() {
    let golden = hex("00000019 01000015 0000 00 01df 00000007 00000001 00000000 00000000");
    let mut frame = Frame::request(0);
    (frame.language, frame.opaque, frame.flag) = (language::JAVA, 7, 1);
    frame.serialization = Serialization::RocketMq;
    let mut encoded = BytesMut::new();
    frame.encode(&mut encoded).unwrap();
    assert_eq!(encoded, golden);
    assert_eq!(Frame::decode(&mut encoded), Ok(Some(frame)));
    assert!(encoded.is_empty());
}
