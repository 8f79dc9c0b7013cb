use super::*;

fn hex(text: &str) -> BytesMut {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let value = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(value).collect()
}

fn with_words(serialization: u8, header: &[u8], body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32((4 + header.len() + body.len()) as u32);
    bytes.put_u32(u32::from(serialization) << 24 | header.len() as u32);
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes
}

fn decode_json(header: &str) -> Result<Frame, FrameError> {
    Frame::decode(&mut with_words(0, header.as_bytes(), b"")).map(Option::unwrap)
}

fn decode_ext(ext: &str) -> Result<Frame, FrameError> {
    decode_json(&format!(r#"{{"extFields":{ext}}}"#))
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

/// A frame that uses every field.
fn full_frame(serialization: Serialization) -> Frame {
    let mut frame = Frame::request(310)
        .with_remark("a \"remark\"")
        .with_body(&b"body"[..]);
    frame.opaque = -5;
    frame.serialization = serialization;
    frame.ext.insert("b", "topic");
    frame.ext.insert("i", "KEYS\u{1}ä\\b\u{2}");
    frame.ext.insert("empty", "");
    frame
}

#[test]
fn a_binary_response_has_the_known_bytes() {
    let mut golden = hex("00000019 01000015 0000 00 0201 00000007 00000001 00000000 00000000");
    let mut frame = Frame::request(0);
    (frame.language, frame.opaque, frame.flag) = (language::JAVA, 7, 1);
    frame.serialization = Serialization::RocketMq;
    assert_eq!(encoded(&frame), golden);
    assert_eq!(Frame::decode(&mut golden), Ok(Some(frame)));
    assert!(golden.is_empty());
}

#[test]
fn binary_fields_have_the_known_bytes() {
    let mut frame = Frame::request(310).with_remark("r");
    frame.serialization = Serialization::RocketMq;
    frame.ext.insert("b", "T");
    let golden =
        "00000022 0100001e 0136 0c 0201 00000000 00000000 00000001 72 00000008 0001 62 00000001 54";
    assert_eq!(encoded(&frame), hex(golden));
}

#[test]
fn a_json_response_has_the_known_bytes() {
    let mut request = Frame::request(10);
    request.opaque = 7;
    let mut response = Frame::response_to(&request, 0);
    let header = r#"{"code":0,"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":513}"#;
    assert_eq!(encoded(&response), with_words(0, header.as_bytes(), b""));
    response.ext.insert("i", "a\u{1}\"\\\u{2}ä");
    let header = concat!(
        r#"{"code":0,"extFields":{"i":"a\u0001\"\\\u0002ä"},"flag":1,"language":"JAVA","opaque":7,"#,
        r#""serializeTypeCurrentRPC":"JSON","version":513}"#
    );
    assert_eq!(encoded(&response), with_words(0, header.as_bytes(), b""));
}

#[test]
fn the_words_of_a_json_frame_are_plain_lengths() {
    let header = format!(r#"{{"remark":"{}"}}"#, "x".repeat(110));
    assert_eq!(header.len(), 123);
    let bytes = with_words(0, header.as_bytes(), b"");
    assert_eq!(bytes[..8], hex("0000007f 0000007b")[..]);
    assert_eq!(decode_json(&header).unwrap().remark.unwrap().len(), 110);
}

#[test]
fn every_field_survives_both_serializations() {
    for serialization in [Serialization::Json, Serialization::RocketMq] {
        let frame = full_frame(serialization);
        let mut bytes = encoded(&frame);
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
        assert!(bytes.is_empty());
    }
}

#[test]
fn frames_follow_each_other_and_wait_for_their_last_byte() {
    for serialization in [Serialization::Json, Serialization::RocketMq] {
        let frame = full_frame(serialization);
        let one = encoded(&frame);
        for cut in 0..one.len() {
            let mut bytes = BytesMut::from(&one[..cut]);
            assert_eq!(Frame::decode(&mut bytes), Ok(None), "cut at {cut}");
            assert_eq!(bytes, one[..cut], "an incomplete frame is left alone");
        }
        let mut bytes = BytesMut::from(&[&one[..], &one[..], &one[..5]].concat()[..]);
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame.clone())));
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
        assert_eq!(Frame::decode(&mut bytes), Ok(None));
    }
}

#[test]
fn a_code_too_big_for_the_binary_header_is_sent_as_json() {
    let mut frame = Frame::request(200_050);
    frame.serialization = Serialization::RocketMq;
    let decoded = Frame::decode(&mut encoded(&frame)).unwrap().unwrap();
    assert_eq!(
        (decoded.code, decoded.serialization),
        (200_050, Serialization::Json)
    );
}

#[test]
fn lying_lengths_are_found_before_anything_waits_for_the_bytes() {
    let decode = |words: &str| Frame::decode(&mut hex(words));
    assert_eq!(decode("ffffffff"), Err(FrameError::TooShort(-1)));
    assert_eq!(decode("80000000"), Err(FrameError::TooShort(i32::MIN)));
    assert_eq!(decode("00000003"), Err(FrameError::TooShort(3)));
    assert_eq!(
        decode("00fffffd"),
        Err(FrameError::TooLong(FRAME_BYTES_MAX + 1))
    );
    assert_eq!(decode("7fffffff"), Err(FrameError::TooLong(0x8000_0003)));
    assert_eq!(decode("00fffffc"), Ok(None), "the limit itself is allowed");
    assert_eq!(
        decode("00000010 0000000d"),
        Err(FrameError::HeaderTooLong {
            header: 13,
            frame: 16
        })
    );
    assert_eq!(decode("00000010 0000000c"), Ok(None));
    assert_eq!(
        decode("00000010 02000001"),
        Err(FrameError::UnknownSerialization(2))
    );
}

#[test]
fn a_frame_over_the_limit_is_not_sent() {
    let frame = Frame::request(10).with_body(vec![0; FRAME_BYTES_MAX]);
    let mut bytes = BytesMut::from(&b"before"[..]);
    assert!(matches!(
        frame.encode(&mut bytes),
        Err(FrameError::TooLong(_))
    ));
    assert_eq!(&bytes[..], b"before");
}

#[test]
fn a_json_header_may_look_odd() {
    let odd = r#" { "version" : 317 , "code":"10","extFields" : { "n" : -1.5e3 , "t":true,"none":null,
        "nested":{"a":["}\"",{}]},"a\u0062":"\u0001\n\/\ud83d\ude00","dup":"1","dup":"2" },
        "language":"GO","other":[[],{"x":"]"},null],"flag":null,"opaque":2147483647,"remark":null } "#;
    let frame = decode_json(odd).unwrap();
    assert_eq!(
        (frame.code, frame.version, frame.flag, frame.opaque),
        (10, 317, 0, i32::MAX)
    );
    assert_eq!((frame.language, frame.remark), (language::GO, None));
    let fields = [
        ("n", "-1.5e3"),
        ("t", "true"),
        ("nested", r#"{"a":["}\"",{}]}"#),
        ("ab", "\u{1}\n/\u{1F600}"),
        ("dup", "2"),
    ];
    assert_eq!(frame.ext.iter().collect::<Vec<_>>(), fields);
}

#[test]
fn language_is_a_name_or_an_ordinal() {
    let language = |text: &str| {
        decode_json(&format!(r#"{{"language":{text}}}"#))
            .unwrap()
            .language
    };
    assert_eq!(language(r#""JAVA""#), language::JAVA);
    assert_eq!(language(r#""RUST""#), language::RUST);
    assert_eq!(language("9"), language::GO);
    for unknown in [r#""COBOL""#, "200", "-1", "null", "[]"] {
        assert_eq!(language(unknown), language::OTHER);
    }
}

#[test]
fn halves_of_surrogate_pairs_become_replacement_characters() {
    for (escaped, expected) in [
        (r"\ud83d", "\u{FFFD}"),
        (r"\ud83dx", "\u{FFFD}x"),
        (r"\ud83d\n", "\u{FFFD}\n"),
        (r"\ud83d\u0041", "\u{FFFD}A"),
        (r"\ude00", "\u{FFFD}"),
        (r"\ud83d\ud83d\ude00", "\u{FFFD}\u{1F600}"),
    ] {
        let frame = decode_ext(&format!(r#"{{"k":"{escaped}"}}"#)).unwrap();
        assert_eq!(frame.ext.get("k"), Some(expected), "{escaped}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let bad = [
        "",
        " ",
        "null",
        "[]",
        "{",
        r#"{"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1"#,
        r#"{"a":1}x"#,
        r#"{"code":"x"}"#,
        r#"{"code":2147483648}"#,
        r#"{"code":1.5}"#,
        r#"{"code":{}}"#,
        r#"{a:1}"#,
        r#"{"a":nul}"#,
        r#"{"a":tru}"#,
        r#"{"a":-}"#,
        r#"{"a":1e}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\"#,
        r#"{"a":"b"#,
        r#"{"a":[}"#,
        r#"{"a":[["]"#,
        r#"{"extFields":[]}"#,
        r#"{"extFields":"a"}"#,
        r#"{"extFields":{"a"}}"#,
        r#"{"a":+1}"#,
    ];
    for header in bad {
        assert!(
            matches!(decode_json(header), Err(FrameError::Json(_))),
            "{header}"
        );
    }
    let not_utf8 = Frame::decode(&mut with_words(0, b"{\"a\":\"\xFF\"}", b""));
    assert_eq!(not_utf8, Err(FrameError::NotUtf8(6)));
    let deep = format!(r#"{{"a":{}"#, "[".repeat(1_000_000));
    assert!(
        decode_json(&deep).is_err(),
        "depth does not exhaust the stack"
    );
}

#[test]
fn an_absurd_number_of_fields_is_refused() {
    let field = |index: usize| format!(r#""{index}":"""#);
    let fields = |count: usize| (0..count).map(field).collect::<Vec<_>>().join(",");
    assert!(decode_ext(&format!("{{{}}}", fields(EXT_FIELDS_MAX))).is_ok());
    let too_many = fields(EXT_FIELDS_MAX + 1);
    assert_eq!(
        decode_ext(&format!("{{{too_many}}}")),
        Err(FrameError::TooManyFields)
    );

    let mut frame = Frame::request(1);
    frame.serialization = Serialization::RocketMq;
    (0..=EXT_FIELDS_MAX).for_each(|index| frame.ext.insert(&index.to_string(), ""));
    assert_eq!(
        Frame::decode(&mut encoded(&frame)),
        Err(FrameError::TooManyFields)
    );
}

#[test]
fn lying_lengths_in_a_binary_header_are_refused() {
    let head = "0136 0c 0201 00000000 00000000";
    let decode =
        |rest: &str| Frame::decode(&mut with_words(1, &hex(&format!("{head} {rest}")), b""));
    let negative = |what| Err(FrameError::NegativeLength(what));
    assert_eq!(decode("ffffffff"), negative("remark"));
    assert_eq!(decode("00000000 ffffffff"), negative("extFields"));
    assert_eq!(decode("00000000 00000002 ffff"), negative("field name"));
    assert_eq!(
        decode("00000000 00000007 0001 61 ffffffff"),
        negative("field value")
    );
    assert!(matches!(decode("7fffffff"), Err(FrameError::Binary(_))));
    assert!(matches!(
        decode("00000000 7fffffff"),
        Err(FrameError::Binary(_))
    ));
    assert!(matches!(
        decode("00000000 00000007 0001 61 00000001"),
        Err(FrameError::Binary(_))
    ));
    assert!(matches!(
        decode("00000001 ff 00000000"),
        Err(FrameError::NotUtf8(_))
    ));
    let nameless = decode("00000000 00000007 0000 00000001 61")
        .unwrap()
        .unwrap();
    assert!(
        nameless.ext.is_empty(),
        "nobody can ask for a field without a name"
    );
}

#[test]
fn responses_and_oneway_requests_are_told_apart() {
    let request = Frame::request(34).oneway();
    assert!(request.is_oneway() && !request.is_response());
    let response = Frame::response_to(&request, 0);
    assert!(response.is_response() && !response.is_oneway());
}
