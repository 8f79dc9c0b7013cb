//! `escrow check-server` as a process of its own.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Killed when dropped.
pub(crate) struct CheckServer {
    _child: Child,
    admin: String,
}

impl CheckServer {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(namesrv: &str, group: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_escrow"))
            .args(["check-server", "-n", namesrv, "--group", group])
            .args(["--admin-addr", "127.0.0.1:0", "--probe-interval", "200ms"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_default();
        let admin = line.split(' ').find_map(|word| word.strip_prefix("admin="));
        let admin = admin.unwrap_or_else(|| panic!("no admin in {line:?}"));
        Self {
            admin: admin.to_owned(),
            _child: child,
        }
    }

    /// It has committed some halfs and rolled back others; otherwise the matrix has not been what it says.
    pub(crate) async fn has_decided_both_ways(&self) {
        let mut stream = TcpStream::connect(&self.admin).await.unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).await.unwrap();
        for outcome in ["commit", "rollback"] {
            let name = format!("outcome=\"{outcome}\",reason=\"\"}} ");
            let value = metrics
                .lines()
                .find_map(|line| line.split_once(&name)?.1.parse().ok());
            assert!(value > Some(0_u64), "{metrics}");
        }
    }
}
