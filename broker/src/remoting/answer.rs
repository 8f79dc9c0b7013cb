//! Answers in the form in which the log thread gives them, and the frames made of them.

use std::borrow::Cow;
use std::net::SocketAddr;

use escrow_protocol::code::response;
use escrow_protocol::frame::{ExtFields, Frame, Serialization, language};
use escrow_protocol::header::{HeaderError, SendResponse};
use escrow_protocol::ids::push_offset_message_id;
use escrow_protocol::names::DEFAULT_REGION;

use super::outbox::Outgoing;
use super::peer::Peer;
use crate::rpc_latency::Asked;

const FLAG_RESPONSE: i32 = 1;

/// What of a request is needed to answer it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead {
    pub(crate) opaque: i32,
    pub(crate) oneway: bool,
    pub(crate) serialization: Serialization,
}

impl RequestHead {
    pub(crate) fn of(request: &Frame) -> RequestHead {
        RequestHead {
            opaque: request.opaque,
            oneway: request.is_oneway(),
            serialization: request.serialization,
        }
    }

    /// An answer with this code and nothing else.
    pub(crate) fn answer(self, code: i32) -> Frame {
        Frame {
            language: language::JAVA,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            serialization: self.serialization,
            ..Frame::request(code)
        }
    }

    /// An answer that refuses the request and says why.
    pub(crate) fn refuse(self, refusal: Refusal) -> Frame {
        let mut frame = self.answer(refusal.code);
        frame.remark = Some(refusal.remark.into_owned());
        frame
    }
}

/// A response code other than success, and what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) remark: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code,
            remark: remark.into(),
        }
    }

    /// A header that does not say what it must.
    pub(crate) fn malformed(error: &HeaderError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

/// Where one message of a send came to stand, in the terms of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) physical: u64,
    pub(crate) unique_key: String,
}

/// An answer of the log thread.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: RequestHead,
    pub(crate) asked: Asked,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// A send: where its messages stand. More than one only for a batch.
    Sent {
        host: SocketAddr,
        queue_id: i32,
        /// Of the first message; for a half its place among all halfs.
        queue_offset: u64,
        messages: Vec<Stored>,
    },
    Success,
    Refused(Refusal),
}

impl Outcome {
    fn code(&self) -> i32 {
        match self {
            Outcome::Sent { .. } | Outcome::Success => response::SUCCESS,
            Outcome::Refused(refusal) => refusal.code,
        }
    }
}

impl Answer {
    pub(crate) fn into_frame(self) -> Frame {
        match self.outcome {
            Outcome::Success => self.head.answer(response::SUCCESS),
            Outcome::Refused(refusal) => self.head.refuse(refusal),
            Outcome::Sent {
                host,
                queue_id,
                queue_offset,
                messages,
            } => {
                let mut frame = self.head.answer(response::SUCCESS);
                frame.ext = ExtFields::with_capacity(6, 128 + 64 * messages.len());
                sent(&mut frame.ext, host, queue_id, queue_offset, &messages);
                frame
            }
        }
    }
}

/// The header of a successful send: all ids, comma-joined for a batch.
fn sent(ext: &mut ExtFields, host: SocketAddr, queue_id: i32, queue_offset: u64, m: &[Stored]) {
    let mut ids = String::with_capacity(m.len() * 33);
    for stored in m {
        if !ids.is_empty() {
            ids.push(',');
        }
        let offset = i64::try_from(stored.physical).unwrap_or(i64::MAX);
        push_offset_message_id(&mut ids, host, offset);
    }
    SendResponse {
        message_id: &ids,
        queue_id,
        queue_offset: i64::try_from(queue_offset).unwrap_or(i64::MAX),
        transaction_id: m.first().map(|stored| stored.unique_key.as_str()),
        batch_unique_id: None,
        recall_handle: None,
        // Java reads it without looking whether it is there.
        region: Some(DEFAULT_REGION),
        trace_on: Some(true),
    }
    .encode(ext);
}

/// What is to be answered once the log thread is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) head: RequestHead,
    pub(crate) asked: Asked,
}

impl ReplyTo {
    pub(crate) fn of(request: &Frame, arrived_ms: u64) -> ReplyTo {
        ReplyTo {
            head: RequestHead::of(request),
            asked: Asked::of(request, arrived_ms),
        }
    }

    /// What goes to the peer that asked; nothing if it wants no answer.
    pub(crate) fn outgoing(self, peer: &Peer, outcome: Outcome) -> Option<Outgoing> {
        if self.head.oneway {
            peer.unanswered(self.asked, outcome.code());
            return None;
        }
        Some(Outgoing::Answer(Answer {
            head: self.head,
            asked: self.asked,
            outcome,
        }))
    }
}

#[cfg(test)]
mod tests {
    use escrow_protocol::ids::decode_offset_message_id;

    use super::*;

    #[test]
    fn a_batch_is_answered_with_all_its_ids() {
        let host = ([127, 0, 0, 1], 10911).into();
        let request = Frame {
            opaque: 7,
            ..Frame::request(320)
        };
        let stored = |physical, key: &str| Stored {
            physical,
            unique_key: key.to_owned(),
        };
        let answer = Answer {
            head: RequestHead::of(&request),
            asked: Asked::of(&request, 0),
            outcome: Outcome::Sent {
                host,
                queue_id: 3,
                queue_offset: 5,
                messages: vec![stored(4096, "K1"), stored(5000, "K2")],
            },
        };
        let frame = answer.into_frame();
        assert!(frame.is_response());
        assert_eq!((frame.code, frame.opaque), (0, 7));
        let ids = frame.ext.get("msgId").expect("ids").split(',');
        let offsets: Vec<_> = ids
            .map(|id| decode_offset_message_id(id).map(|(_, at)| at))
            .collect();
        assert_eq!(offsets, [Ok(4096), Ok(5000)]);
        for (field, value) in [
            ("queueId", "3"),
            ("queueOffset", "5"),
            ("transactionId", "K1"),
            ("MSG_REGION", "DefaultRegion"),
            ("TRACE_ON", "true"),
        ] {
            assert_eq!(frame.ext.get(field), Some(value), "{field}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let request = Frame {
            opaque: 7,
            ..Frame::request(10)
        };
        let frame = RequestHead::of(&request).refuse(Refusal::new(13, "too large"));
        assert_eq!(
            (frame.code, frame.opaque, frame.remark.as_deref()),
            (13, 7, Some("too large"))
        );
    }
}
