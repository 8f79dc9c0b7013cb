//! `escrow check-server` answers for services that sent a half and are gone.

mod answers;
mod life;
mod refusals;
mod servers;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use escrow_client::{Check, Client, Message, Resolution, Settings, TransactionProducer};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::{PATIENCE, Running, Served, escrow, http_get};

pub(super) const GROUP: &str = "order-service";
const TOPIC: &str = "Orders";

/// A broker that asks soon and often, and a folder for databases.
pub(super) struct Scene {
    pub(super) served: Served,
    folder: TempDir,
}

impl Scene {
    pub(super) fn set() -> Self {
        Self::set_with("200ms")
    }

    /// With a broker that asks after `immunity`.
    pub(super) fn set_with(immunity: &str) -> Self {
        let folder = tempdir().unwrap();
        let mut command = serve(&folder);
        command.args(["--transaction-time-out", immunity]);
        command.args([
            "--namesrv-addr",
            "127.0.0.1:0",
            "--broker-addr",
            "127.0.0.1:0",
        ]);
        let served = Served::start(&mut command);
        Self { served, folder }
    }

    pub(super) fn kill(self) -> Killed {
        let killed = Killed {
            folder: self.folder,
            namesrv: self.served.namesrv.clone(),
            broker: self.served.broker.clone(),
        };
        self.served.stop(Signal::KILL);
        killed
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A half of a service that sends it and is gone, with these properties; its transaction id.
    pub(super) async fn half(&self, properties: &[(&str, &str)]) -> String {
        let client = Client::start(Settings::new(&self.served.namesrv))
            .await
            .unwrap();
        let unsaid = |_: Check| async { Resolution::Unknown };
        let producer = TransactionProducer::new(&client, GROUP, unsaid);
        let mut message = Message::new(TOPIC, "an order");
        for (name, value) in properties {
            message = message.property(name, value).unwrap();
        }
        let half = producer.send_half(&message).await.unwrap();
        producer.leave().await;
        client.close().await;
        half.transaction_id().to_owned()
    }

    pub(super) fn api(&self, path: &str) -> Value {
        let (status, body) = http_get(&self.served.admin, path, &self.served.admin);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// How a transaction was decided.
    pub(super) async fn decision(&self, transaction: &str) -> String {
        eventually(&format!("a decision of {transaction}"), || {
            let page = self.api("/api/decisions?limit=500");
            let rows = page["decisions"].as_array().unwrap();
            let row = rows
                .iter()
                .find(|row| row["transaction_id"] == transaction)?;
            Some(row["outcome"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// What the last answer to a check of an undecided half said, once it contains `words`.
    pub(super) async fn unknown(&self, transaction: &str, words: &str) -> String {
        eventually(&format!("{words:?} said of {transaction}"), || {
            let page = self.api(&format!("/api/pending?key={transaction}"));
            let id = page["rows"][0]["id"].as_str()?.to_owned();
            let history = self.api(&format!("/api/pending/{id}"))["history"].to_string();
            history.contains(words).then_some(history)
        })
        .await
    }

    /// `escrow check-server` on a free port for these groups.
    pub(super) fn check_server(&self, groups: &[String]) -> Command {
        let mut command = escrow();
        command
            .args(["check-server", "-n", &self.served.namesrv])
            .args(["--admin-addr", "127.0.0.1:0", "--probe-interval", "200ms"]);
        for group in groups {
            command.args(["--group", group]);
        }
        command
    }
}

/// The folder of a broker that was killed, and where it was.
pub(super) struct Killed {
    folder: TempDir,
    namesrv: String,
    broker: String,
}

impl Killed {
    /// The same broker at the same addresses.
    pub(super) fn start(self) -> Scene {
        let mut command = serve(&self.folder);
        command.args(["--transaction-time-out", "200ms"]);
        command.args([
            "--namesrv-addr",
            &self.namesrv,
            "--broker-addr",
            &self.broker,
        ]);
        Scene {
            served: Served::start(&mut command),
            folder: self.folder,
        }
    }
}

fn serve(folder: &TempDir) -> Command {
    let mut command = escrow();
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.path().join("broker"));
    command.args(["--admin-addr", "127.0.0.1:0"]);
    command.args(["--transaction-check-interval", "200ms"]);
    command.args(["--transaction-check-max", "1000000"]);
    command
}

/// Tries again until there is something.
pub(super) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The health of a check server: status code and what it says.
pub(super) fn health(server: &Running) -> (u16, Value) {
    let admin = server.field("admin");
    let (status, body) = http_get(&admin, "/health", &admin);
    (status, serde_json::from_str(&body).unwrap())
}
