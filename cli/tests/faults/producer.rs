//! A producer of one group whose every step the test takes itself, and the checks that reach it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use escrow_protocol::frame::Frame;

use crate::ledger::{Decision, Handle};
use crate::load::QUEUES;
use crate::wire::{
    CHECK_TRANSACTION_STATE, END_TRANSACTION, SEND_MESSAGE_V2, Wire, number, request,
};

static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

/// A half that this producer sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) handle: Handle,
    /// Before it was sent.
    pub(crate) at: Instant,
}

pub(crate) struct Producer {
    pub(crate) wire: Wire,
    group: String,
    topic: String,
}

impl Producer {
    pub(crate) fn connect(broker: SocketAddr, group: &str, topic: &str) -> io::Result<Producer> {
        Ok(Producer {
            wire: Wire::connect(broker)?,
            group: group.to_owned(),
            topic: topic.to_owned(),
        })
    }

    /// Sends halfs with bodies of this size, all in one write.
    pub(crate) fn halfs(&mut self, count: usize, body: usize) -> io::Result<Vec<Sent>> {
        let keys: Vec<String> = (0..count)
            .map(|_| format!("P{:08}", NEXT_KEY.fetch_add(1, Ordering::Relaxed)))
            .collect();
        let at = Instant::now();
        let requests = keys.iter().map(|key| self.half_request(key, body));
        let replies = self.wire.call_all(requests.collect())?;
        let sent = keys.into_iter().zip(replies).map(|(key, reply)| {
            assert_eq!(reply.code, 0, "half {key}: {reply:?}");
            let message_id = reply.ext.get("msgId").expect("msgId").to_owned();
            let handle = Handle {
                commit_log_offset: i64::from_str_radix(&message_id[16..], 16).unwrap(),
                message_id,
                half_offset: number(&reply, "queueOffset"),
            };
            Sent { key, handle, at }
        });
        Ok(sent.collect())
    }

    fn half_request(&self, key: &str, body: usize) -> Frame {
        let group = &self.group;
        let properties =
            format!("UNIQ_KEY\u{1}{key}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}");
        let fields = [
            ("a", group.clone()),
            ("b", self.topic.clone()),
            ("c", "TBW102".to_owned()),
            ("d", QUEUES.to_string()),
            ("e", "0".to_owned()),
            ("f", "4".to_owned()),
            ("g", "1700000000000".to_owned()),
            ("h", "0".to_owned()),
            ("i", properties),
            ("j", "0".to_owned()),
            ("k", "false".to_owned()),
            ("m", "false".to_owned()),
        ];
        request(SEND_MESSAGE_V2, &fields).with_body(vec![b'x'; body])
    }

    /// END_TRANSACTION of these halfs, all in one write.
    pub(crate) fn end(&mut self, halfs: &[Sent], decision: Decision) -> io::Result<Vec<Frame>> {
        let requests = halfs.iter().map(|half| {
            let answer = decision.wire();
            self.end_request(&half.key, &half.handle, answer, false)
        });
        let requests = requests.collect();
        self.wire.call_all(requests)
    }

    /// Says of a check that the transaction's fate is not known yet.
    pub(crate) fn answer_unknown(&mut self, check: &Check) -> io::Result<()> {
        const UNKNOWN: i32 = 0;
        let request = self.end_request(&check.key, &check.handle, UNKNOWN, true);
        self.wire.send(vec![request.oneway()])
    }

    fn end_request(&self, key: &str, handle: &Handle, answer: i32, is_checked: bool) -> Frame {
        let fields = [
            ("producerGroup", self.group.clone()),
            ("tranStateTableOffset", handle.half_offset.to_string()),
            ("commitLogOffset", handle.commit_log_offset.to_string()),
            ("commitOrRollback", answer.to_string()),
            ("fromTransactionCheck", is_checked.to_string()),
            ("msgId", handle.message_id.clone()),
            ("transactionId", key.to_owned()),
        ];
        request(END_TRANSACTION, &fields)
    }

    /// Waits for the next check.
    pub(crate) fn check(&mut self) -> io::Result<Check> {
        let (at, frame) = match self.wire.checks.is_empty() {
            true => {
                let frame = self.wire.receive()?;
                (Instant::now(), frame)
            }
            false => self.wire.checks.remove(0),
        };
        assert_eq!(frame.code, CHECK_TRANSACTION_STATE, "{frame:?}");
        Ok(Check {
            at,
            key: frame
                .ext
                .get("transactionId")
                .expect("transactionId")
                .to_owned(),
            handle: Handle {
                message_id: frame.ext.get("offsetMsgId").unwrap_or_default().to_owned(),
                commit_log_offset: number(&frame, "commitLogOffset"),
                half_offset: number(&frame, "tranStateTableOffset"),
            },
        })
    }
}

/// A check that came.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) at: Instant,
    pub(crate) key: String,
    handle: Handle,
}
