//! The broker: `escrow serve` as a process of its own, or the stock Apache broker, behind a proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use escrow_client::connection::Connection;
use escrow_client::{Client, Settings};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{PullRequest, PullResponse};
use escrow_protocol::message;
use escrow_protocol::sysflag::pull;
use escrow_test_databases::free_ports;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};

use crate::order_worker::TOPIC;
use crate::proxy::{Before, Proxy};
use crate::worker::PATIENCE;

/// First check and pause between checks: as short as they are allowed to be.
const SETTINGS: [&str; 6] = [
    "--transaction-time-out",
    "1s",
    "--transaction-check-interval",
    "1s",
    "--segment-size",
    "32MiB",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Escrow,
    Apache(Flush),
}

/// When Apache's broker acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Its default: after the write to mapped memory, which outlives the process.
    Mapped,
    /// Its option for throughput: after the write to a buffer of its own, which does not.
    OwnBuffer,
}

pub(crate) struct Broker {
    kind: Kind,
    folder: tempfile::TempDir,
    pub(crate) namesrv: String,
    broker: SocketAddr,
    /// Ours only.
    admin: Option<String>,
    running: Option<Running>,
}

struct Running {
    /// The broker, or the script that looks after Apache's processes.
    child: Child,
    /// Its end tells the script that nobody needs them any more.
    stdin: Option<ChildStdin>,
    broker: Pid,
}

impl Broker {
    /// Starts one. Clients are sent to the proxy.
    pub(crate) async fn start(kind: Kind) -> (Self, Proxy) {
        let folder = tempfile::Builder::new().prefix("escrow-crash-").tempdir();
        // Apache's broker also takes the ports beside its own.
        let first = free_ports(5).unwrap();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let mut broker = Self {
            kind,
            folder: folder.unwrap(),
            namesrv: address(first + 4),
            broker: address(first + 2).parse().unwrap(),
            admin: (kind == Kind::Escrow).then(|| address(first)),
            running: None,
        };
        let proxy = match kind {
            Kind::Escrow => Proxy::listen("127.0.0.1:0", Before::Broker).await,
            // Apache can only be told to advertise another address, not another port.
            Kind::Apache(_) => {
                let address = format!("127.0.0.2:{}", broker.broker.port());
                Proxy::listen(&address, Before::Broker).await
            }
        };
        broker.restart(&proxy).await;
        proxy.lead_to(broker.broker);
        (broker, proxy)
    }

    /// SIGKILL, to the broker alone.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            kill_process(running.broker, Signal::KILL).unwrap();
            running.child.wait().await.unwrap();
        }
    }

    /// Starts it again where it was, and waits until it is ready.
    pub(crate) async fn restart(&mut self, proxy: &Proxy) {
        let mut command = match self.kind {
            Kind::Escrow => self.escrow(proxy.address),
            Kind::Apache(flush) => self.apache(proxy.address, flush),
        };
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(self.kind == Kind::Escrow)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_default();
        assert!(line.contains(" ready "), "{line:?}: {}", self.log());
        let field = |name: &str| {
            let word = line.split(' ').find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("no {name} in {line:?}"))
                .to_owned()
        };
        self.namesrv = field("namesrv=");
        self.broker = field("broker=").parse().unwrap();
        self.admin = self.admin.is_some().then(|| field("admin="));
        let pid = match self.kind {
            Kind::Escrow => child.id().unwrap(),
            Kind::Apache(_) => field("pid=").parse().unwrap(),
        };
        self.running = Some(Running {
            stdin: child.stdin.take(),
            child,
            broker: Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        });
    }

    /// Whether a decision that is repeated must publish nothing, and a decision that was durable can be relied on.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == Kind::Escrow
    }

    fn escrow(&self, proxy: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_escrow"));
        command
            .arg("serve")
            .args(SETTINGS)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--namesrv-addr", &self.namesrv])
            .args(["--broker-addr", &self.broker.to_string()])
            .args(["--admin-addr", self.admin.as_deref().unwrap()])
            .args(["--advertised-addr", &proxy.to_string()]);
        command
    }

    fn apache(&self, proxy: SocketAddr, flush: Flush) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/apache/serve");
        let (_, namesrv_port) = self.namesrv.split_once(':').unwrap();
        let mut command = Command::new(script);
        command
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--namesrv-port", namesrv_port])
            .args(["--broker-port", &self.broker.port().to_string()])
            .args(["--heap", "512m", "--short", "--until-stdin-ends"]);
        // The address that is advertised is the proxy's. Halfs are not thrown out for being asked about once a second.
        let mut settings = vec![
            format!("brokerIP1={}", proxy.ip()),
            "bindAddress=127.0.0.1".to_owned(),
            "transactionCheckMax=1000".to_owned(),
        ];
        if flush == Flush::OwnBuffer {
            let more = ["transientStorePoolEnable=true", "transientStorePoolSize=2"];
            settings.extend(more.map(str::to_owned));
        }
        for setting in settings {
            command.args(["--set", &setting]);
        }
        command
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ours: waits until no half is undecided.
    pub(crate) async fn settled(&self) {
        let deadline = Instant::now() + PATIENCE;
        // Polls: the broker has no event for this.
        loop {
            let status = self.http("GET", "/api/status", "").await;
            if status["pending"] == 0 && status["parked"] == 0 {
                return;
            }
            if Instant::now() > deadline {
                let pending = self.http("GET", "/api/pending?limit=5", "").await;
                panic!("not in time: {status}\n{pending:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ours: how many differences `escrow verify` finds between markers and decisions.
    pub(crate) async fn verify(&self, group: &str) -> u32 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_escrow"));
        command
            .args(["verify", "--json", "--since", "1d", "--leave-out", "0s"])
            .args(["--group", group])
            .args(["--broker-admin", self.admin.as_deref().unwrap()]);
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let sum = text.lines().last().unwrap_or_else(|| panic!("{error}"));
        let sum: Value = serde_json::from_str(sum).unwrap();
        assert!(sum["markers"].as_u64() > Some(0), "{sum}");
        for nothing in ["pending", "unjudged", "unreadable_bytes"] {
            assert_eq!(sum[nothing], 0, "{sum}");
        }
        u32::try_from(sum["differences"].as_u64().unwrap()).unwrap()
    }

    /// Ours: how often somebody contradicted a decision, since it started.
    pub(crate) async fn conflicts(&self) -> u64 {
        let status = self.http("GET", "/api/status", "").await;
        status["since_start"]["conflicts"].as_u64().unwrap()
    }

    /// Ours: decides as an operator would.
    pub(crate) async fn operator(&self, tx_id: &str, what: &str) {
        let found = self
            .http("GET", &format!("/api/pending?key={tx_id}"), "")
            .await;
        let id = found["rows"][0]["id"].as_str().unwrap().to_owned();
        let word = r#"{"reason":"crash matrix","operator":"test"}"#;
        self.http("POST", &format!("/api/pending/{id}/{what}"), word)
            .await;
    }

    async fn http(&self, method: &str, path: &str, body: &str) -> Value {
        let admin = self.admin.as_deref().unwrap();
        let mut stream = TcpStream::connect(admin).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path}: {answer}"
        );
        serde_json::from_str(body).unwrap()
    }

    /// The bodies of everything that consumers can see.
    pub(crate) async fn delivered(&self) -> Vec<String> {
        let client = Client::start(Settings::new(&self.namesrv)).await.unwrap();
        let connection = client.broker(&self.broker.to_string());
        let mut bodies = Vec::new();
        for queue in 0..8 {
            pull_queue(&connection, queue, &mut bodies).await;
        }
        client.close().await;
        let text = |body: Bytes| String::from_utf8(body.to_vec()).unwrap();
        bodies.into_iter().map(text).collect()
    }
}

impl Drop for Broker {
    /// Apache's processes are ended by the script, which shall not leave files behind in the folder.
    fn drop(&mut self) {
        if let (Kind::Apache(_), Some(mut running)) = (self.kind, self.running.take()) {
            drop(running.stdin);
            let deadline = Instant::now() + Duration::from_secs(30);
            while running.child.try_wait().is_ok_and(|ended| ended.is_none())
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

async fn pull_queue(connection: &Connection, queue: i32, bodies: &mut Vec<Bytes>) {
    let mut offset = 0;
    loop {
        let mut frame = Frame::request(request::PULL_MESSAGE);
        PullRequest {
            consumer_group: "auditor",
            topic: TOPIC,
            queue_id: queue,
            queue_offset: offset,
            messages_max: 32,
            sys_flag: pull::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: 0,
            subscription: Some("*"),
            subscription_version: 0,
            expression_type: Some("TAG"),
            bytes_max: None,
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: None,
        }
        .encode(&mut frame.ext);
        let reply = connection.request(frame, PATIENCE).await.unwrap();
        let header = PullResponse::decode(&reply.ext);
        match reply.code {
            response::SUCCESS => {
                for record in message::decode_all(&reply.body) {
                    bodies.push(Bytes::copy_from_slice(record.unwrap().message.body));
                }
            }
            // A hole, which Apache's broker has after some crashes.
            response::PULL_OFFSET_MOVED | response::PULL_RETRY_IMMEDIATELY
                if header
                    .as_ref()
                    .is_ok_and(|header| header.next_begin_offset > offset) => {}
            // The end, or not even such a queue.
            _ => return,
        }
        offset = header.unwrap().next_begin_offset;
    }
}
