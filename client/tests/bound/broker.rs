//! An EscrowMQ broker in a temporary folder, and what it can be asked.

use std::time::Duration;

use bytes::Bytes;
use escrow_broker::config::Settings as BrokerSettings;
use escrow_broker::{Addresses, Broker};
use escrow_client::connection::Connection;
use escrow_client::{Client, Settings};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{PullRequest, PullResponse};
use escrow_protocol::message;
use escrow_protocol::properties::name;
use escrow_protocol::sysflag::pull;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Nothing here takes as long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TOPIC: &str = "Orders";

pub(crate) struct TestBroker {
    broker: Option<Broker>,
    pub(crate) addresses: Addresses,
    _folder: tempfile::TempDir,
}

impl TestBroker {
    /// Asks about a half after `first_check`, and from then on ten times a second.
    pub(crate) async fn start(first_check: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let mut settings = BrokerSettings::default();
        settings.data_dir = folder.path().to_owned();
        settings.namesrv_addr = free;
        settings.broker_addr = free;
        settings.admin_addr = free;
        settings.transaction_time_out = Some(first_check);
        settings.transaction_check_interval = Some(Duration::from_millis(100));
        settings.transaction_check_max = Some(100_000);
        let broker = Broker::start(settings).await.unwrap();
        Self {
            addresses: broker.addresses(),
            broker: Some(broker),
            _folder: folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let settings = Settings::new(&self.addresses.namesrv.to_string());
        Client::start(settings).await.unwrap()
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.shutdown().await;
        }
    }

    async fn status(&self) -> Value {
        let mut stream = TcpStream::connect(self.addresses.admin).await.unwrap();
        let ask = "GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Halfs that nobody has decided.
    pub(crate) async fn undecided(&self) -> u64 {
        let status = self.status().await;
        status["pending"].as_u64().unwrap() + status["parked"].as_u64().unwrap()
    }

    /// Waits until so many checks have been answered in all.
    pub(crate) async fn checked(&self, times: u64) {
        let answered = |status: &Value| status["since_start"]["checks_answered"].as_u64().unwrap();
        self.until(|status| answered(status) >= times).await;
    }

    /// Waits until so many halfs have been decided in all.
    pub(crate) async fn decided(&self, halfs: u64) {
        let total = |status: &Value, name: &str| status["since_start"][name].as_u64().unwrap();
        self.until(|status| total(status, "committed") + total(status, "rolled_back") >= halfs)
            .await;
    }

    /// Polls the status: the broker has no event for these things.
    async fn until(&self, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "not in time: {status}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every half is decided.
    pub(crate) async fn settled(&self) {
        self.until(|status| status["pending"] == 0 && status["parked"] == 0)
            .await;
    }

    /// Everything that consumers can see: id and body of each message, sorted by body.
    pub(crate) async fn delivered(&self, client: &Client) -> Vec<(String, Bytes)> {
        let connection = client.broker(&self.addresses.broker.to_string());
        let mut all = Vec::new();
        for queue in 0..4 {
            pull_queue(&connection, queue, &mut all).await;
        }
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    }

    /// The bodies of everything that consumers can see.
    pub(crate) async fn bodies(&self, client: &Client) -> Vec<String> {
        let delivered = self.delivered(client).await;
        let text = |body: Bytes| String::from_utf8(body.to_vec()).unwrap();
        delivered.into_iter().map(|(_, body)| text(body)).collect()
    }
}

async fn pull_queue(connection: &Connection, queue: i32, all: &mut Vec<(String, Bytes)>) {
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
        if reply.code != response::SUCCESS {
            // 17: not even the topic exists; 19 and 21: the end.
            return;
        }
        let header = PullResponse::decode(&reply.ext).unwrap();
        for record in message::decode_all(&reply.body) {
            let record = record.unwrap().message;
            let id = record.properties().get(name::UNIQ_KEY).unwrap();
            all.push((id.to_owned(), Bytes::copy_from_slice(record.body)));
        }
        offset = header.next_begin_offset;
    }
}

/// Runs `future`, which has failed if it takes longer than anything here may.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("done in time")
}
