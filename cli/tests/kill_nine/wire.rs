//! One blocking connection that speaks remoting frames. It builds its headers field by field, so that it does not
//! share a mistake with the broker's own codecs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use escrow_protocol::frame::Frame;

pub(crate) const SEND_MESSAGE_V2: i32 = 310;
pub(crate) const PULL_MESSAGE: i32 = 11;
pub(crate) const END_TRANSACTION: i32 = 37;
pub(crate) const CHECK_TRANSACTION_STATE: i32 = 39;

/// A silent broker is a failure, not something to wait for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Wire {
    stream: TcpStream,
    inbox: BytesMut,
    opaque: i32,
    /// Checks that came while a reply was awaited, and when.
    pub(crate) checks: Vec<(Instant, Frame)>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Wire {
            stream,
            inbox: BytesMut::new(),
            opaque: 0,
            checks: Vec::new(),
        })
    }

    /// Sends all requests in one write, then waits for all their replies, in the order of the requests.
    ///
    /// # Errors
    /// The connection ended; which requests were served is then unknown.
    pub(crate) fn call_all(&mut self, requests: Vec<Frame>) -> io::Result<Vec<Frame>> {
        let first = self.opaque;
        let count = requests.len();
        self.send(requests)?;
        let mut replies: Vec<Option<Frame>> = (0..count).map(|_| None).collect();
        let mut missing = count;
        while missing > 0 {
            let frame = self.receive()?;
            if !frame.is_response() {
                self.checks.push((Instant::now(), frame));
                continue;
            }
            let slot = usize::try_from(frame.opaque - first).map_err(io::Error::other)?;
            assert!(replies[slot].is_none(), "two replies for one request");
            replies[slot] = Some(frame);
            missing -= 1;
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// Sends all requests in one write and waits for nothing.
    pub(crate) fn send(&mut self, requests: Vec<Frame>) -> io::Result<()> {
        let mut out = BytesMut::new();
        for mut request in requests {
            request.opaque = self.opaque;
            self.opaque += 1;
            request.encode(&mut out).map_err(io::Error::other)?;
        }
        self.stream.write_all(&out)
    }

    pub(crate) fn call(&mut self, request: Frame) -> io::Result<Frame> {
        Ok(self.call_all(vec![request])?.remove(0))
    }

    /// Waits for the next frame.
    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.inbox).map_err(io::Error::other)? {
                return Ok(frame);
            }
            let mut chunk = [0; 64 * 1024];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.extend_from_slice(&chunk[..read]);
        }
    }
}

/// A request with these header fields.
pub(crate) fn request(code: i32, fields: &[(&'static str, String)]) -> Frame {
    let mut frame = Frame::request(code);
    for (name, value) in fields {
        frame.ext.insert(name, value);
    }
    frame
}

/// Asks for what a queue holds from `offset` on, at once.
pub(crate) fn pull(group: &str, topic: &str, queue: i32, offset: i64) -> Frame {
    let fields = [
        ("consumerGroup", group.to_owned()),
        ("topic", topic.to_owned()),
        ("queueId", queue.to_string()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", "32".to_owned()),
        ("sysFlag", "4".to_owned()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", "0".to_owned()),
        ("subscription", "*".to_owned()),
        ("subVersion", "0".to_owned()),
        ("expressionType", "TAG".to_owned()),
    ];
    request(PULL_MESSAGE, &fields)
}

/// A response field that must be there, as a number.
pub(crate) fn number(frame: &Frame, name: &str) -> i64 {
    let text = frame
        .ext
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {frame:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}
