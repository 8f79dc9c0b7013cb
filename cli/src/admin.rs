//! The operator's way into a running broker: its admin HTTP/JSON API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// More than any page the API serves.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which broker to talk to.
#[derive(Args, Debug, Clone)]
pub(crate) struct AdminArgs {
    /// Address of the admin API
    #[arg(
        long,
        global = true,
        env = "ESCROW_ADMIN_ADDR",
        default_value = "127.0.0.1:8088",
        value_name = "ADDR"
    )]
    admin_addr: String,
    /// File that holds the admin token, if the broker wants one
    #[arg(
        long,
        global = true,
        env = "ESCROW_ADMIN_TOKEN_FILE",
        value_name = "FILE"
    )]
    admin_token_file: Option<PathBuf>,
    /// Print what the API answers instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A client of the admin API.
pub(crate) struct Admin {
    address: String,
    token: Option<String>,
}

impl Admin {
    pub(crate) fn new(args: &AdminArgs) -> anyhow::Result<Self> {
        let token = match &args.admin_token_file {
            Some(path) => Some(read_token(path)?),
            None => None,
        };
        Ok(Self {
            address: args.admin_addr.clone(),
            token,
        })
    }

    /// The broker at `address`, with a token if it wants one.
    pub(crate) fn with_token(address: &str, token: Option<String>) -> Self {
        Self {
            address: address.to_owned(),
            token,
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A broker on this machine that wants no token.
    pub(crate) fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: None,
        }
    }

    /// Halfs that are neither committed nor rolled back: pending and parked ones.
    pub(crate) async fn undecided(&self) -> anyhow::Result<u64> {
        let status = self.get("/api/status").await?;
        let count = |name| status.get(name).and_then(Value::as_u64);
        match (count("pending"), count("parked")) {
            (Some(pending), Some(parked)) => Ok(pending + parked),
            _ => bail!(
                "the admin API at {} does not say what is pending",
                self.address
            ),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, bytes) = timeout(ANSWER_WITHIN, self.exchange(method, path, body))
            .await
            .with_context(|| {
                format!(
                    "no answer from the admin API at {} within {ANSWER_WITHIN:?}",
                    self.address
                )
            })??;
        let answer = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            return answer.with_context(|| {
                format!(
                    "{} is not the admin API of a broker: unreadable answer",
                    self.address
                )
            });
        }
        bail!("{}", refusal(status, answer.ok().as_ref(), &bytes));
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("cannot reach the admin API at {}", self.address))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; its error also reaches the request below.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("reading the answer of {}: {error}", self.address))?
            .to_bytes();
        Ok((status, bytes))
    }
}

/// Reads the token that the admin API asks for.
pub(crate) fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn refusal(status: StatusCode, answer: Option<&Value>, bytes: &[u8]) -> String {
    let reason = answer
        .and_then(|value| value.get("error"))
        .and_then(Value::as_str);
    match reason {
        Some(reason) => reason.to_owned(),
        None => format!(
            "the admin API answered {status}: {}",
            String::from_utf8_lossy(bytes).trim()
        ),
    }
}

/// Escapes a value for use in a path or query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_escaped() {
        assert_eq!(escape("order/42&x=ä"), "order%2F42%26x%3D%C3%A4");
        assert_eq!(escape("AZaz09-_.~"), "AZaz09-_.~");
    }

    #[test]
    fn a_refusal_is_told_in_the_brokers_own_words() {
        let answer = serde_json::json!({"error": "no such half"});
        assert_eq!(
            refusal(StatusCode::NOT_FOUND, Some(&answer), b""),
            "no such half"
        );
        assert_eq!(
            refusal(StatusCode::FORBIDDEN, None, b"foreign Host\n"),
            "the admin API answered 403 Forbidden: foreign Host"
        );
    }
}
