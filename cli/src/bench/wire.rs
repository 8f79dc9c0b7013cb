//! Frames of the load generator, written once and patched per message.
//!
//! The generator shares its machine with the broker it measures, so it must not spend what the broker needs:
//! a send is a copy of a template and four patches, a reply is scanned for the four values we want. What
//! goes out is byte for byte what the Java client sends: JSON header, SEND_MESSAGE_V2, END_TRANSACTION oneway.

use std::io::Write as _;

use bytes::BytesMut;
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use memchr::memmem::Finder;

/// Hex characters of a unique key that are the same for all messages of one run.
pub(super) const KEY_PREFIX_LEN: usize = 20;
const KEY_COUNTER_LEN: usize = 12;
const OPAQUE_LEN: usize = 10;
const BORN_LEN: usize = 13;
/// Length word and header word.
const PREFIX: usize = 8;
/// Added to a slot number, so that every opaque has the same number of digits.
const OPAQUE_BASE: u32 = 1_000_000_000;

/// What every message of a run has in common.
pub(super) struct Shape<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) broker_name: &'a str,
    /// Half messages, or plain ones.
    pub(super) transactional: bool,
    /// [`KEY_PREFIX_LEN`] upper-case hex characters, unique to the run.
    pub(super) key_prefix: &'a str,
    pub(super) body: &'a [u8],
}

/// A SEND_MESSAGE_V2 frame with holes for what differs from message to message.
pub(super) struct SendTemplate {
    before_queue: Vec<u8>,
    after_queue: Vec<u8>,
    /// Places of the holes in `after_queue`.
    born: usize,
    key: usize,
    opaque: usize,
    body_len: usize,
}

/// What differs from message to message.
#[derive(Clone, Copy)]
pub(super) struct Each {
    pub(super) queue_id: u32,
    pub(super) slot: u32,
    pub(super) born_ms: u64,
    /// Counts within the run.
    pub(super) key: u64,
}

impl SendTemplate {
    pub(super) fn new(shape: &Shape<'_>) -> Self {
        let Shape {
            group,
            topic,
            broker_name,
            key_prefix,
            body,
            ..
        } = shape;
        let sys_flag = if shape.transactional { 4 } else { 0 };
        let mut before_queue = vec![0; PREFIX];
        before_queue.extend_from_slice(
            format!(r#"{{"code":310,"extFields":{{"a":"{group}","b":"{topic}","c":"TBW102","d":"4","e":""#)
                .as_bytes(),
        );
        let mut after_queue = Vec::new();
        let mut push = |text: &str| {
            after_queue.extend_from_slice(text.as_bytes());
            after_queue.len()
        };
        let born = push(&format!(r#"","f":"{sys_flag}","g":""#));
        push(&"0".repeat(BORN_LEN));
        let key = push(&format!(
            r#"","h":"0","i":"KEYS\u0001order\u0002UNIQ_KEY\u0001{key_prefix}"#
        ));
        push(&"0".repeat(KEY_COUNTER_LEN));
        push(r"\u0002WAIT\u0001true\u0002TAGS\u0001bench");
        if shape.transactional {
            push(&format!(
                r"\u0002TRAN_MSG\u0001true\u0002PGROUP\u0001{group}"
            ));
        }
        let opaque = push(&format!(
            r#"","j":"0","k":"false","m":"false","n":"{broker_name}"}},"flag":0,"language":"JAVA","opaque":"#
        ));
        push(&"0".repeat(OPAQUE_LEN));
        push(r#","serializeTypeCurrentRPC":"JSON","version":513}"#);
        after_queue.extend_from_slice(body);
        Self {
            before_queue,
            after_queue,
            born,
            key,
            opaque,
            body_len: body.len(),
        }
    }

    /// Appends one message.
    pub(super) fn write(&self, out: &mut Vec<u8>, each: Each) {
        let start = out.len();
        out.extend_from_slice(&self.before_queue);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}", each.queue_id);
        let rest = out.len();
        out.extend_from_slice(&self.after_queue);
        let header_len = out.len() - start - PREFIX - self.body_len;
        put_lengths(out, start, header_len);
        let holes = &mut out[rest..];
        put_decimal(&mut holes[self.born..self.born + BORN_LEN], each.born_ms);
        put_hex(&mut holes[self.key..self.key + KEY_COUNTER_LEN], each.key);
        let opaque = u64::from(OPAQUE_BASE + each.slot);
        put_decimal(&mut holes[self.opaque..self.opaque + OPAQUE_LEN], opaque);
    }
}

/// An END_TRANSACTION frame (COMMIT, oneway), written around what the half's reply said.
pub(super) struct EndTemplate {
    before_half_offset: Vec<u8>,
    before_key: Vec<u8>,
    between_keys: Vec<u8>,
    before_opaque: Vec<u8>,
    key_prefix: Vec<u8>,
}

impl EndTemplate {
    pub(super) fn new(shape: &Shape<'_>) -> Self {
        let Shape {
            group,
            topic,
            broker_name,
            ..
        } = shape;
        Self {
            before_half_offset: format!(
                r#"{{"code":37,"extFields":{{"topic":"{topic}","producerGroup":"{group}","tranStateTableOffset":""#
            )
            .into_bytes(),
            before_key:
                br#"","commitOrRollback":"8","fromTransactionCheck":"false","msgId":""#.to_vec(),
            between_keys: br#"","transactionId":""#.to_vec(),
            before_opaque: format!(
                r#"","bname":"{broker_name}"}},"flag":2,"language":"JAVA","opaque":"#
            )
            .into_bytes(),
            key_prefix: shape.key_prefix.as_bytes().to_vec(),
        }
    }

    /// Appends the END of the half that `reply` acknowledged.
    pub(super) fn write(&self, out: &mut Vec<u8>, slot: u32, key: u64, reply: &Reply) {
        let start = out.len();
        let mut counter = [0; KEY_COUNTER_LEN];
        put_hex(&mut counter, key);
        let mut opaque = [0; OPAQUE_LEN];
        put_decimal(&mut opaque, u64::from(OPAQUE_BASE + slot));
        out.extend_from_slice(&[0; PREFIX]);
        out.extend_from_slice(&self.before_half_offset);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}", reply.queue_offset);
        out.extend_from_slice(br#"","commitLogOffset":""#);
        let _ = write!(out, "{}", reply.physical_offset);
        out.extend_from_slice(&self.before_key);
        out.extend_from_slice(&self.key_prefix);
        out.extend_from_slice(&counter);
        out.extend_from_slice(&self.between_keys);
        out.extend_from_slice(&self.key_prefix);
        out.extend_from_slice(&counter);
        out.extend_from_slice(&self.before_opaque);
        out.extend_from_slice(&opaque);
        out.extend_from_slice(br#","serializeTypeCurrentRPC":"JSON","version":513}"#);
        let header_len = out.len() - start - PREFIX;
        put_lengths(out, start, header_len);
    }
}

/// What the generator wants to know of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: i32,
    pub(super) slot: u32,
    /// Position in the queue; of a half, in the half queue.
    pub(super) queue_offset: u64,
    /// Read out of the message id.
    pub(super) physical_offset: u64,
    /// The server's reason, if it refused.
    pub(super) remark: Option<String>,
}

/// One frame that came in.
#[derive(Debug, PartialEq)]
pub(super) enum Arrived {
    Reply(Reply),
    /// The server asks something.
    Request(Box<Frame>),
}

/// Reads the frames that servers send.
pub(super) struct Scanner {
    success: Finder<'static>,
    response: Finder<'static>,
    opaque: Finder<'static>,
    queue_offset: Finder<'static>,
    message_id: Finder<'static>,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            success: Finder::new(br#""code":0,"#),
            response: Finder::new(br#""flag":1,"#),
            opaque: Finder::new(br#""opaque":"#),
            queue_offset: Finder::new(br#""queueOffset":""#),
            message_id: Finder::new(br#""msgId":""#),
        }
    }

    /// Takes the first whole frame of `bytes`: the frame and its length; `None` if it is not all there.
    pub(super) fn take(&self, bytes: &[u8]) -> anyhow::Result<Option<(Arrived, usize)>> {
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, h1, h2, h3] = *prefix;
        let total = 4 + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let header_len = u32::from_be_bytes([0, h1, h2, h3]) as usize;
        if bytes.len() < total {
            return Ok(None);
        }
        let frame = &bytes[..total];
        let quick = if kind == 0 {
            frame
                .get(PREFIX..PREFIX + header_len)
                .and_then(|header| self.quick(header))
        } else {
            None
        };
        let arrived = match quick {
            Some(reply) => Arrived::Reply(reply),
            None => thorough(frame)?,
        };
        Ok(Some((arrived, total)))
    }

    /// A successful send reply in JSON without spaces, as both brokers write it; anything else is `None`.
    fn quick(&self, header: &[u8]) -> Option<Reply> {
        self.success.find(header)?;
        self.response.find(header)?;
        let after = |finder: &Finder<'_>| {
            let at = finder.find(header)? + finder.needle().len();
            header.get(at..)
        };
        let opaque = u32::try_from(decimal(after(&self.opaque)?)?).ok()?;
        Some(Reply {
            code: 0,
            slot: opaque.checked_sub(OPAQUE_BASE)?,
            queue_offset: decimal(after(&self.queue_offset)?)?,
            physical_offset: physical_offset(after(&self.message_id)?)?,
            remark: None,
        })
    }
}

/// Reads any frame, by the ordinary codec.
fn thorough(bytes: &[u8]) -> anyhow::Result<Arrived> {
    let mut buffer = BytesMut::from(bytes);
    let frame = Frame::decode(&mut buffer)?
        .ok_or_else(|| anyhow::anyhow!("a frame shorter than its length word says"))?;
    if !frame.is_response() {
        return Ok(Arrived::Request(Box::new(frame)));
    }
    let field = |name| frame.ext.get(name).unwrap_or_default().as_bytes();
    Ok(Arrived::Reply(Reply {
        code: frame.code,
        slot: u32::try_from(frame.opaque)
            .ok()
            .and_then(|opaque| opaque.checked_sub(OPAQUE_BASE))
            .unwrap_or(u32::MAX),
        queue_offset: decimal(field("queueOffset")).unwrap_or_default(),
        physical_offset: physical_offset(field("msgId")).unwrap_or_default(),
        remark: frame.remark,
    }))
}

/// Whether a request of the server is the question for a transaction's outcome.
pub(super) fn is_check(frame: &Frame) -> bool {
    frame.code == request::CHECK_TRANSACTION_STATE
}

/// The last 16 of the 32 (or 56) hex characters of an offset message id.
fn physical_offset(text: &[u8]) -> Option<u64> {
    let len = text
        .iter()
        .position(|c| !c.is_ascii_hexdigit())
        .unwrap_or(text.len());
    let tail = text.get(len.checked_sub(16)?..len)?;
    u64::from_str_radix(std::str::from_utf8(tail).ok()?, 16).ok()
}

fn decimal(text: &[u8]) -> Option<u64> {
    let mut value = None;
    for digit in text.iter().take_while(|c| c.is_ascii_digit()) {
        value = Some(value.unwrap_or(0u64) * 10 + u64::from(digit - b'0'));
    }
    value
}

fn put_decimal(hole: &mut [u8], mut value: u64) {
    for digit in hole.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn put_hex(hole: &mut [u8], mut value: u64) {
    for digit in hole.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(value % 16) as usize];
        value /= 16;
    }
}

/// Fills the two leading words of the frame that begins at `start` and ends with `out`.
fn put_lengths(out: &mut [u8], start: usize, header_len: usize) {
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    let header = u32::try_from(header_len).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&header.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape<'a>(transactional: bool) -> Shape<'a> {
        Shape {
            group: "bench-group",
            topic: "Bench",
            broker_name: "broker-a",
            transactional,
            key_prefix: "7F000001000100000001",
            body: b"hello",
        }
    }

    fn decode(bytes: &[u8]) -> Frame {
        let mut buffer = BytesMut::from(bytes);
        let frame = Frame::decode(&mut buffer).unwrap().unwrap();
        assert!(buffer.is_empty(), "one whole frame");
        frame
    }

    #[test]
    fn a_half_is_a_frame_with_the_fields_of_a_java_producer() {
        let mut out = Vec::new();
        let each = Each {
            queue_id: 3,
            slot: 7,
            born_ms: 1_795_478_400_005,
            key: 0xABC,
        };
        SendTemplate::new(&shape(true)).write(&mut out, each);
        let frame = decode(&out);
        assert_eq!((frame.code, frame.opaque), (310, 1_000_000_007));
        assert!(!frame.is_oneway());
        let expected = [
            ("a", "bench-group"),
            ("b", "Bench"),
            ("e", "3"),
            ("f", "4"),
            ("g", "1795478400005"),
            ("n", "broker-a"),
        ];
        for (name, value) in expected {
            assert_eq!(frame.ext.get(name), Some(value), "{name}");
        }
        assert_eq!(
            frame.ext.get("i"),
            Some(
                "KEYS\u{1}order\u{2}UNIQ_KEY\u{1}7F000001000100000001000000000ABC\u{2}WAIT\u{1}true\u{2}TAGS\u{1}bench\
                 \u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}bench-group"
            )
        );
        assert_eq!(&frame.body[..], b"hello");
    }

    #[test]
    fn a_plain_message_has_no_transaction_marks() {
        let mut out = Vec::new();
        let each = Each {
            queue_id: 49_999,
            slot: 0,
            born_ms: 1,
            key: 1,
        };
        SendTemplate::new(&shape(false)).write(&mut out, each);
        let frame = decode(&out);
        assert_eq!(frame.ext.get("e"), Some("49999"));
        assert_eq!(frame.ext.get("f"), Some("0"));
        assert!(!frame.ext.get("i").unwrap().contains("TRAN_MSG"));
    }

    #[test]
    fn an_end_names_the_half_as_its_reply_did() {
        let reply = Reply {
            code: 0,
            slot: 7,
            queue_offset: 12,
            physical_offset: 4096,
            remark: None,
        };
        let mut out = Vec::new();
        EndTemplate::new(&shape(true)).write(&mut out, 7, 0xABC, &reply);
        let frame = decode(&out);
        assert_eq!(frame.code, request::END_TRANSACTION);
        assert!(frame.is_oneway());
        let key = "7F000001000100000001000000000ABC";
        let expected = [
            ("topic", "Bench"),
            ("producerGroup", "bench-group"),
            ("tranStateTableOffset", "12"),
            ("commitLogOffset", "4096"),
            ("commitOrRollback", "8"),
            ("fromTransactionCheck", "false"),
            ("msgId", key),
            ("transactionId", key),
            ("bname", "broker-a"),
        ];
        for (name, value) in expected {
            assert_eq!(frame.ext.get(name), Some(value), "{name}");
        }
    }

    fn framed(header: &str) -> Vec<u8> {
        let mut bytes = vec![0; PREFIX];
        bytes.extend_from_slice(header.as_bytes());
        put_lengths(&mut bytes, 0, header.len());
        bytes
    }

    #[test]
    fn a_reply_is_read_alike_by_the_quick_and_the_thorough_way() {
        let compact = framed(
            r#"{"code":0,"extFields":{"queueId":"1","msgId":"7F00000100002A9F0000000000001234","queueOffset":"56"},"flag":1,"language":"JAVA","opaque":1000000009,"serializeTypeCurrentRPC":"JSON","version":513}"#,
        );
        let spaced = framed(
            r#"{"code": 0, "flag": 1, "opaque": 1000000009, "extFields": {"queueOffset": "56", "msgId": "7F00000100002A9F0000000000001234"}}"#,
        );
        for frame in [compact, spaced] {
            let (arrived, taken) = Scanner::new().take(&frame).unwrap().unwrap();
            assert_eq!(taken, frame.len());
            let expected = Reply {
                code: 0,
                slot: 9,
                queue_offset: 56,
                physical_offset: 0x1234,
                remark: None,
            };
            assert_eq!(arrived, Arrived::Reply(expected));
        }
    }

    #[test]
    fn a_frame_that_is_not_all_there_is_left_alone() {
        let frame = framed(r#"{"code":0,"flag":1,"opaque":1000000000}"#);
        for len in 0..frame.len() {
            assert!(Scanner::new().take(&frame[..len]).unwrap().is_none());
        }
    }

    #[test]
    fn a_refusal_keeps_code_and_reason() {
        let frame =
            framed(r#"{"code":2,"flag":1,"opaque":1000000000,"remark":"[REJECTREQUEST]busy"}"#);
        let (arrived, _) = Scanner::new().take(&frame).unwrap().unwrap();
        let Arrived::Reply(reply) = arrived else {
            panic!("not a reply: {arrived:?}");
        };
        assert_eq!((reply.code, reply.slot), (2, 0));
        assert_eq!(reply.remark.as_deref(), Some("[REJECTREQUEST]busy"));
    }
}
