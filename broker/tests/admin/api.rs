//! Asking the API.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{self, Running};

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"]
            .as_str()
            .expect("an error says why")
            .to_owned()
    }
}

/// Sends a request with these further header lines; the connection closes behind it.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the admin API listens");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    timeout(support::PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("in time")
        .expect("it answers");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Answer {
        status,
        body: body.to_owned(),
    }
}

pub(crate) fn admin(running: &Running) -> SocketAddr {
    running.broker.addresses().admin
}

pub(crate) async fn get(running: &Running, path: &str) -> Answer {
    http(admin(running), "GET", path, &["Host: localhost"], "").await
}

pub(crate) async fn post(running: &Running, path: &str, body: &Value) -> Answer {
    let headers = ["Host: localhost", "Content-Type: application/json"];
    http(admin(running), "POST", path, &headers, &body.to_string()).await
}

pub(crate) fn word() -> Value {
    json!({ "reason": "the order was paid", "operator": "kim" })
}

/// A broker that does not check by itself while a test looks.
pub(crate) async fn quiet() -> Running {
    Running::start_with(|settings| settings.transaction_time_out = None).await
}

pub(crate) async fn rows(running: &Running, query: &str) -> Vec<Value> {
    let answer = get(running, &format!("/api/pending?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["rows"].as_array().expect("rows").clone()
}

pub(crate) fn keys(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["unique_key"].as_str().expect("a key"))
        .collect()
}
