//! Requests to the admin API of a running broker.

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use super::http::{Answer, Http};
use super::support::{Client, Handle, Running};

const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"];

/// `*` is what the input says.
const PATHS: [&str; 15] = [
    "*",
    "/health",
    "/metrics",
    "/api/status",
    "/api/topics",
    "/api/groups",
    "/api/groups/*/watermark",
    "/api/decisions?*",
    "/api/pending?*",
    "/api/pending/watch?*",
    "/api/pending/*",
    "/api/pending/*/commit",
    "/api/pending/*/rollback",
    "/api/pending/*/check",
    "/api/pending/*/resume",
];

/// Header lines that a careful, a careless or a hostile client sends.
const HEADERS: [&str; 8] = [
    "Host: localhost\r\nContent-Type: application/json\r\n",
    "Host: localhost\r\n",
    "Host: [::1]:1\r\nContent-Type: Application/JSON; charset=utf-8\r\n",
    "Host: evil.example\r\n",
    "Host: localhost\r\nHost: localhost\r\n",
    "Host: localhost\r\nOrigin: http://127.0.0.1:8088\r\nContent-Type: application/json\r\n",
    "Host: localhost\r\nOrigin: null\r\n",
    "Host: localhost\r\nContent-Type: text/plain\r\nAuthorization: Bearer x\r\n",
];

/// Halfs that `@` in a path can name.
const HALFS: usize = 16;

/// Three bytes choose method, path and headers; then the path's open part, up to a line break; then the body. `@` and a
/// character in the path are the id of a half.
pub(crate) fn admin(data: &[u8]) {
    let mut live = live();
    let (choice, rest) = data.split_at(data.len().min(3));
    let choose =
        |index: usize, of: usize| usize::from(choice.get(index).copied().unwrap_or(0)) % of;
    let (method, form) = (
        METHODS[choose(0, METHODS.len())],
        PATHS[choose(1, PATHS.len())],
    );
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (open, body) = rest.split_at(end.unwrap_or(rest.len()));
    let body = body.get(1..).unwrap_or_default();
    let path = form.replace('*', &written(open, &live.halfs));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let headers = HEADERS[choose(2, HEADERS.len())];
    let mut request = format!(
        "{method} {slash}{path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = live.http.ask(method, &request);
    check(method, &path, &answer);
    if method == "POST" && answer.status == 200 {
        live.renew();
    }
}

/// Every refusal has a status that says whose fault it is, never ours, and a reason.
fn check(method: &str, path: &str, answer: &Answer) {
    let status = answer.status;
    let known = [200, 400, 403, 404, 405, 409, 413, 414, 415, 503];
    assert!(known.contains(&status), "{method} {path}: {answer:?}");
    if status != 200 && method != "HEAD" && !answer.body.is_empty() {
        let body: serde_json::Value =
            serde_json::from_slice(&answer.body).expect("a refusal is JSON");
        assert!(body["error"].is_string(), "{method} {path}: {body}");
    }
}

/// A part of a path: what may not stand there as it is, is escaped.
fn written(open: &[u8], halfs: &[Handle]) -> String {
    let mut text = String::new();
    let mut bytes = open.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'@' => {
                let index = usize::from(bytes.next().copied().unwrap_or(0));
                text.push_str(&halfs[index % halfs.len()].message_id);
            }
            0x21..=0x7E if !b"\"#<>\\^`{|}".contains(byte) => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

struct Live {
    runtime: tokio::runtime::Runtime,
    /// Held for being there.
    _running: Running,
    client: Client,
    halfs: Vec<Handle>,
    next: usize,
    http: Http,
}

impl Live {
    fn start() -> Live {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be had");
        let (running, client, admin) = runtime.block_on(async {
            let running =
                Running::start_with(|settings| settings.transaction_time_out = None).await;
            let client = running.client().await;
            let admin: SocketAddr = running.broker.addresses().admin;
            (running, client, admin)
        });
        let mut live = Live {
            runtime,
            _running: running,
            client,
            halfs: Vec::new(),
            next: 0,
            http: Http::to(admin),
        };
        for _ in 0..HALFS {
            let half = live.half();
            live.halfs.push(half);
        }
        live
    }

    fn half(&mut self) -> Handle {
        let key = format!("K{}", self.next);
        self.next += 1;
        self.runtime
            .block_on(self.client.half("orders", &key, b"body"))
    }

    /// One that may have been decided is followed by one that is not.
    fn renew(&mut self) {
        let place = self.next % HALFS;
        self.halfs[place] = self.half();
    }
}

fn live() -> std::sync::MutexGuard<'static, Live> {
    static LIVE: OnceLock<Mutex<Live>> = OnceLock::new();
    let live = LIVE.get_or_init(|| Mutex::new(Live::start()));
    live.lock().expect("nobody panicked before")
}
