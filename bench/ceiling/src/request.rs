//! As much of a request as must be read to answer it.

use bytes::BytesMut;
use escrow_protocol::frame::{Frame, FrameError};
use memchr::memmem::Finder;

/// Length word and header word.
const PREFIX: usize = 8;

/// What a frame asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    /// SEND_MESSAGE_V2.
    Send(Send),
    /// END_TRANSACTION, oneway: nothing to answer.
    End,
    /// Anything else: rare, and read by the ordinary codec.
    Other(Box<Frame>),
}

/// A send: what its reply repeats.
#[derive(Debug, PartialEq)]
pub(crate) struct Send {
    pub(crate) opaque: u32,
    pub(crate) queue_id: u32,
    /// Where in the frame the unique key begins and ends.
    pub(crate) key: (usize, usize),
    /// A half, which becomes visible by its END only.
    pub(crate) half: bool,
}

/// Finds requests in what was read from a socket.
pub(crate) struct Scanner {
    send: Finder<'static>,
    end: Finder<'static>,
    opaque: Finder<'static>,
    queue_id: Finder<'static>,
    half: Finder<'static>,
    key: Finder<'static>,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            send: Finder::new(br#"{"code":310,"#),
            end: Finder::new(br#"{"code":37,"#),
            opaque: Finder::new(br#""opaque":"#),
            queue_id: Finder::new(br#""e":""#),
            half: Finder::new(br#""f":"4""#),
            key: Finder::new(br"UNIQ_KEY\u0001"),
        }
    }

    /// Reads the first whole frame of `bytes`: what it asks and its length; `None` if it is not all there.
    pub(crate) fn take(&self, bytes: &[u8]) -> Result<Option<(Request, usize)>, FrameError> {
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, _, h1, h2, h3] = *prefix;
        let total = 4 + u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let header_len = u32::from_be_bytes([0, h1, h2, h3]) as usize;
        let Some(frame) = bytes.get(..total) else {
            return Ok(None);
        };
        let header = frame.get(PREFIX..PREFIX + header_len).unwrap_or_default();
        let request = if header.starts_with(self.end.needle()) {
            Request::End
        } else if let Some(send) = self.send(header) {
            Request::Send(send)
        } else {
            let mut copy = BytesMut::from(frame);
            match Frame::decode(&mut copy)? {
                Some(frame) => Request::Other(Box::new(frame)),
                None => return Ok(None),
            }
        };
        Ok(Some((request, total)))
    }

    fn send(&self, header: &[u8]) -> Option<Send> {
        if !header.starts_with(self.send.needle()) {
            return None;
        }
        let after = |finder: &Finder<'_>| Some(finder.find(header)? + finder.needle().len());
        let key = after(&self.key)?;
        let key_len = header.get(key..)?.iter().position(|byte| *byte == b'\\')?;
        Some(Send {
            opaque: decimal(header.get(after(&self.opaque)?..)?),
            queue_id: decimal(header.get(after(&self.queue_id)?..)?),
            key: (PREFIX + key, PREFIX + key + key_len),
            half: self.half.find(header).is_some(),
        })
    }
}

fn decimal(text: &[u8]) -> u32 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value: u32, digit| {
        value.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use escrow_protocol::code::request;
    use escrow_protocol::frame::ExtFields;

    use super::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        bytes.to_vec()
    }

    fn send(sys_flag: &str) -> Frame {
        let mut ext = ExtFields::new();
        ext.insert("e", "11");
        ext.insert("f", sys_flag);
        ext.insert("i", "UNIQ_KEY\u{1}7F01\u{2}WAIT\u{1}true");
        Frame {
            opaque: 1_000_000_007,
            ext,
            ..Frame::request(request::SEND_MESSAGE_V2).with_body(&b"body"[..])
        }
    }

    #[test]
    fn a_send_is_known_with_its_key_and_a_half_from_a_plain_message() {
        for (sys_flag, half) in [("4", true), ("0", false)] {
            let bytes = encoded(&send(sys_flag));
            let (request, length) = Scanner::new().take(&bytes).unwrap().unwrap();
            let Request::Send(send) = request else {
                panic!("not a send: {request:?}");
            };
            assert_eq!(length, bytes.len());
            assert_eq!((send.opaque, send.queue_id), (1_000_000_007, 11));
            assert_eq!(send.half, half);
            assert_eq!(&bytes[send.key.0..send.key.1], b"7F01");
        }
    }

    #[test]
    fn an_end_is_known_and_anything_else_is_decoded() {
        let scanner = Scanner::new();
        let end = encoded(&Frame::request(request::END_TRANSACTION).oneway());
        assert_eq!(
            scanner.take(&end).unwrap().unwrap(),
            (Request::End, end.len())
        );
        let heartbeat = Frame::request(request::HEART_BEAT);
        let bytes = encoded(&heartbeat);
        let (request, _) = scanner.take(&bytes).unwrap().unwrap();
        assert_eq!(request, Request::Other(Box::new(heartbeat)));
    }

    #[test]
    fn a_frame_that_is_not_all_there_is_left_alone() {
        let bytes = encoded(&send("4"));
        for len in 0..bytes.len() {
            assert!(Scanner::new().take(&bytes[..len]).unwrap().is_none());
        }
    }
}
