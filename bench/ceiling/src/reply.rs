//! Replies, byte for byte those of a broker.

use std::net::SocketAddr;

use bytes::BytesMut;
use escrow_protocol::body::{self, BrokerData, QueueData, TopicRouteData};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::{Frame, FrameError};
use escrow_protocol::header::OffsetResponse;
use escrow_protocol::ids::offset_message_id;
use escrow_protocol::sysflag::perm;

/// The broker's name in the route.
const NAME: &str = "broker-a";
/// Hex characters of a message id that are the physical offset.
const OFFSET_LEN: usize = 16;

/// Writes replies to sends.
pub(crate) struct SendReplies {
    /// Up to the physical offset in the message id.
    head: Vec<u8>,
}

impl SendReplies {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let id = offset_message_id(address, 0);
        let host = id.get(..id.len() - OFFSET_LEN).unwrap_or_default();
        Self {
            head: format!(r#"{{"code":0,"extFields":{{"msgId":"{host}"#).into_bytes(),
        }
    }

    /// Appends the reply to one send.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        opaque: u32,
        queue_id: u32,
        physical: u64,
        key: &[u8],
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.head);
        for shift in (0..OFFSET_LEN).rev() {
            let nibble = (physical >> (4 * shift)) & 0xF;
            out.push(b"0123456789ABCDEF"[nibble as usize]);
        }
        out.extend_from_slice(br#"","queueId":""#);
        put_decimal(out, u64::from(queue_id));
        // A position that grows, of as many digits as a broker's.
        out.extend_from_slice(br#"","queueOffset":""#);
        put_decimal(out, physical / 1024);
        out.extend_from_slice(br#"","transactionId":""#);
        out.extend_from_slice(key);
        out.extend_from_slice(
            br#"","MSG_REGION":"DefaultRegion","TRACE_ON":"true"},"flag":1,"language":"JAVA","opaque":"#,
        );
        put_decimal(out, u64::from(opaque));
        out.extend_from_slice(br#","serializeTypeCurrentRPC":"JSON","version":513}"#);
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&(length - 4).to_be_bytes());
    }
}

fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the answer to anything but a send or an END; nothing for a oneway. `visible` is the number of messages that
/// a consumer could see, which is where the topic's one queue ends.
pub(crate) fn other(
    out: &mut Vec<u8>,
    asked: &Frame,
    address: SocketAddr,
    visible: u64,
) -> Result<(), FrameError> {
    if asked.is_oneway() {
        return Ok(());
    }
    let mut answer = Frame::response_to(asked, response::SUCCESS);
    match asked.code {
        request::GET_ROUTEINFO_BY_TOPIC => answer = answer.with_body(route(address)),
        request::GET_MAX_OFFSET => OffsetResponse {
            offset: i64::try_from(visible).unwrap_or(i64::MAX),
        }
        .encode(&mut answer.ext),
        _ => {}
    }
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes)?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Every topic is here, in one queue.
fn route(address: SocketAddr) -> Vec<u8> {
    let route = TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: [(0, address.to_string())].into(),
            broker_name: NAME.to_owned(),
            ..BrokerData::default()
        }],
        queue_datas: vec![QueueData {
            broker_name: NAME.to_owned(),
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 1,
            write_queue_nums: 1,
            topic_sys_flag: 0,
        }],
        ..TopicRouteData::default()
    };
    // Only a type without a JSON form cannot be encoded.
    body::encode(&route).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use escrow_protocol::header::SendResponse;

    use super::*;

    #[test]
    fn a_send_is_answered_with_the_bytes_of_a_broker() {
        let address = ([127, 0, 0, 1], 10911).into();
        let asked = Frame {
            opaque: 1_000_000_007,
            ..Frame::request(request::SEND_MESSAGE_V2)
        };
        let mut expected = Frame::response_to(&asked, response::SUCCESS);
        SendResponse {
            message_id: &offset_message_id(address, 0x12_3400),
            queue_id: 3,
            queue_offset: 0x12_3400 / 1024,
            transaction_id: Some("7F01"),
            batch_unique_id: None,
            recall_handle: None,
            region: Some("DefaultRegion"),
            trace_on: Some(true),
        }
        .encode(&mut expected.ext);
        let mut bytes = BytesMut::new();
        expected.encode(&mut bytes).unwrap();
        let mut out = Vec::new();
        SendReplies::new(address).write(&mut out, 1_000_000_007, 3, 0x12_3400, b"7F01");
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&bytes)
        );
    }
}
