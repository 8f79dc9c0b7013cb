//! As much of HTTP as it takes to talk to the admin API over one connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer of the API. Of one without an end, only the head.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Connects when it has to.
pub(super) struct Http {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub(super) fn to(address: SocketAddr) -> Http {
        Http {
            address,
            stream: None,
        }
    }

    /// Sends a request and reads the answer to it.
    pub(super) fn ask(&mut self, method: &str, request: &[u8]) -> Answer {
        // A kept connection may have been closed in between: then once more on a new one.
        let kept = self.stream.take();
        let answered = kept.and_then(|stream| self.ask_on(stream, method, request));
        answered.unwrap_or_else(|| {
            let stream = TcpStream::connect(self.address).expect("the admin API listens");
            let patience = Some(Duration::from_secs(10));
            stream.set_read_timeout(patience).expect("it is no zero");
            stream.set_nodelay(true).expect("it is TCP");
            self.ask_on(BufReader::new(stream), method, request)
                .expect("an answer, in time")
        })
    }

    fn ask_on(
        &mut self,
        mut stream: BufReader<TcpStream>,
        method: &str,
        request: &[u8],
    ) -> Option<Answer> {
        stream.get_mut().write_all(request).ok()?;
        let (mut status, mut length, mut is_kept) = (0, None, true);
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest.get(..3)?.parse().ok()?;
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().ok();
            } else if text == "connection: close" {
                is_kept = false;
            }
        }
        let length = if method == "HEAD" { Some(0) } else { length };
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        if length.is_some() && is_kept {
            self.stream = Some(stream);
        }
        Some(Answer { status, body })
    }
}
