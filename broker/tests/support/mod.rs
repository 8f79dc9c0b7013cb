//! A broker in a temporary folder and a small client that speaks frames.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use escrow_broker::Broker;
use escrow_broker::config::Settings;
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::ids::decode_offset_message_id;
use escrow_protocol::message::{self, MessageView};
use escrow_protocol::properties::{self, name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing here takes as long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Settings for a test: free ports, quick checks, small files.
pub(crate) fn settings(folder: &Path) -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings::default();
    settings.data_dir = folder.to_owned();
    settings.namesrv_addr = free;
    settings.broker_addr = free;
    settings.admin_addr = free;
    settings.transaction_time_out = Some(Duration::from_millis(50));
    settings.transaction_check_interval = Some(Duration::from_millis(100));
    settings
}

/// A broker and the folder that it lives in.
pub(crate) struct Running {
    pub(crate) broker: Broker,
    pub(crate) folder: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start() -> Running {
        Running::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Running {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = settings(folder.path());
        change(&mut settings);
        let broker = Broker::start(settings).await.expect("the broker starts");
        Running { broker, folder }
    }

    /// Stops the broker and starts another on the same folder.
    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Running {
        self.broker.shutdown().await;
        let mut settings = settings(self.folder.path());
        change(&mut settings);
        let broker = Broker::start(settings)
            .await
            .expect("the broker starts again");
        Running {
            broker,
            folder: self.folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.addresses().broker
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    opaque: i32,
    /// Frames that came while another was waited for.
    early: Vec<Frame>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address)
            .await
            .expect("the broker listens");
        Client {
            stream,
            buffer: BytesMut::new(),
            opaque: 0,
            early: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .await
            .expect("the broker reads");
    }

    /// Sends a request without waiting; returns its opaque.
    pub(crate) async fn post(&mut self, mut frame: Frame) -> i32 {
        self.opaque += 1;
        frame.opaque = self.opaque;
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).expect("a frame within limits");
        self.raw(&bytes).await;
        self.opaque
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&mut self, frame: Frame) -> Frame {
        let opaque = self.post(frame).await;
        self.answer(opaque).await
    }

    /// The answer to an earlier request.
    pub(crate) async fn answer(&mut self, opaque: i32) -> Frame {
        self.wait_for(|frame| frame.is_response() && frame.opaque == opaque)
            .await
    }

    /// The next request of this code from the broker.
    pub(crate) async fn asked(&mut self, code: i32) -> Frame {
        self.wait_for(|frame| !frame.is_response() && frame.code == code)
            .await
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at);
        }
        loop {
            let frame = self.next().await.expect("the connection stays open");
            if wanted(&frame) {
                return frame;
            }
            self.early.push(frame);
        }
    }

    /// The next frame; `None` when the broker has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).expect("the broker sends frames") {
                return Some(frame);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("an answer within reason") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Whether an answer to this request came while others were waited for.
    pub(crate) fn has_answer(&self, opaque: i32) -> bool {
        self.early
            .iter()
            .any(|frame| frame.is_response() && frame.opaque == opaque)
    }
}

/// A request with these header fields.
pub(crate) fn frame(code: i32, fields: &[(&'static str, &str)]) -> Frame {
    let mut frame = Frame::request(code);
    for (name, value) in fields {
        frame.ext.insert(name, value);
    }
    frame
}

/// SEND_MESSAGE_V2 with these properties.
pub(crate) fn send(topic: &str, queue: i32, body: &[u8], props: &[(&str, &str)]) -> Frame {
    let mut text = String::new();
    for (name, value) in props {
        properties::append(&mut text, name, value);
    }
    let mut send = frame(
        request::SEND_MESSAGE_V2,
        &[
            ("a", "pg"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue.to_string()),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &text),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ],
    );
    send.body = Bytes::copy_from_slice(body);
    send
}

/// A half of producer group `pg`.
pub(crate) fn half(topic: &str, key: &str, body: &[u8]) -> Frame {
    let props = [
        (name::TRAN_MSG, "true"),
        (name::PGROUP, "pg"),
        (name::UNIQ_KEY, key),
    ];
    let mut frame = send(topic, 0, body, &props);
    frame.ext.insert("f", "4");
    frame
}

/// What a half's send was answered with, as a client needs it to end the transaction.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) commit_log_offset: i64,
    pub(crate) half_offset: i64,
    pub(crate) message_id: String,
    pub(crate) key: String,
}

impl Handle {
    pub(crate) fn of(answer: &Frame) -> Handle {
        assert_eq!(answer.code, 0, "half refused: {:?}", answer.remark);
        let field = |name| answer.ext.get(name).expect("the field is there").to_owned();
        let message_id = field("msgId");
        Handle {
            commit_log_offset: decode_offset_message_id(&message_id)
                .expect("an offset id")
                .1,
            half_offset: field("queueOffset").parse().expect("a number"),
            key: field("transactionId"),
            message_id,
        }
    }
}

pub(crate) const COMMIT: i32 = 8;
pub(crate) const ROLLBACK: i32 = 12;
pub(crate) const UNKNOWN: i32 = 0;

/// END_TRANSACTION as Java sends it, but with an answer wanted.
pub(crate) fn end(handle: &Handle, resolution: i32) -> Frame {
    frame(
        request::END_TRANSACTION,
        &[
            ("producerGroup", "pg"),
            ("tranStateTableOffset", &handle.half_offset.to_string()),
            ("commitLogOffset", &handle.commit_log_offset.to_string()),
            ("commitOrRollback", &resolution.to_string()),
            ("fromTransactionCheck", "false"),
            ("msgId", &handle.key),
            ("transactionId", &handle.key),
        ],
    )
}

/// The same END with one field replaced.
pub(crate) fn with(mut frame: Frame, field: &'static str, value: &str) -> Frame {
    frame.ext.insert(field, value);
    frame
}

/// PULL with the subscription in its header; waits up to `hold_ms` for a message.
pub(crate) fn pull(topic: &str, queue: i32, offset: i64, hold_ms: u64) -> Frame {
    frame(
        request::PULL_MESSAGE,
        &[
            ("consumerGroup", "cg"),
            ("topic", topic),
            ("queueId", &queue.to_string()),
            ("queueOffset", &offset.to_string()),
            ("maxMsgNums", "32"),
            ("sysFlag", if hold_ms > 0 { "6" } else { "4" }),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &hold_ms.to_string()),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ],
    )
}

/// The messages in an answer's body.
pub(crate) fn messages(answer: &Frame) -> Vec<MessageView<'_>> {
    message::decode_all(&answer.body)
        .map(|m| m.expect("a whole record"))
        .collect()
}

pub(crate) fn number(answer: &Frame, field: &str) -> i64 {
    let text = answer
        .ext
        .get(field)
        .unwrap_or_else(|| panic!("{field} is in {answer:?}"));
    text.parse()
        .unwrap_or_else(|_| panic!("{field} is a number: {text}"))
}

impl Client {
    pub(crate) async fn half(&mut self, topic: &str, key: &str, body: &[u8]) -> Handle {
        Handle::of(&self.call(half(topic, key, body)).await)
    }

    pub(crate) async fn end(&mut self, handle: &Handle, resolution: i32) -> Frame {
        self.call(end(handle, resolution)).await
    }

    /// The end of a queue as consumers see it.
    pub(crate) async fn max_offset(&mut self, topic: &str, queue: i32) -> i64 {
        let queue = queue.to_string();
        let fields = [("topic", topic), ("queueId", queue.as_str())];
        let answer = self.call(frame(request::GET_MAX_OFFSET, &fields)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        number(&answer, "offset")
    }

    /// All bodies that a consumer gets from a queue, from its start.
    pub(crate) async fn consume(&mut self, topic: &str, queue: i32) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        let mut offset = 0;
        loop {
            let answer = self.call(pull(topic, queue, offset, 0)).await;
            match answer.code {
                0 => bodies.extend(messages(&answer).iter().map(|m| m.message.body.to_vec())),
                20 | 21 => {}
                _ => return bodies,
            }
            offset = number(&answer, "nextBeginOffset");
        }
    }

    /// Answers a check with the header's own fields, as Java does.
    pub(crate) async fn resolve(&mut self, check: &Frame, resolution: i32) -> Frame {
        let field = |name| check.ext.get(name).unwrap_or_default().to_owned();
        let handle = Handle {
            commit_log_offset: field("commitLogOffset").parse().expect("a number"),
            half_offset: field("tranStateTableOffset").parse().expect("a number"),
            message_id: field("offsetMsgId"),
            key: field("transactionId"),
        };
        self.call(with(
            end(&handle, resolution),
            "fromTransactionCheck",
            "true",
        ))
        .await
    }
}

/// Properties of a record, by name.
pub(crate) fn properties_of(message: &MessageView<'_>) -> HashMap<String, String> {
    let all = message.message.properties();
    all.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
