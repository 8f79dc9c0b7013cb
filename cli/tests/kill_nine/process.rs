//! `escrow serve` as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed with SIGKILL when dropped.
pub(crate) struct Serve {
    child: Child,
    pub(crate) broker: SocketAddr,
}

const SETTINGS: &str =
    "transactionTimeOut = 500\ntransactionCheckInterval = 500\ntransactionCheckMax = 1000\n";

impl Serve {
    /// Starts on the folder and waits for the ready line.
    pub(crate) fn start(folder: &Path, transaction_flush: &str) -> Serve {
        let config = folder.join("escrow.toml");
        std::fs::write(&config, SETTINGS).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_escrow"))
            .args([
                "serve",
                "--namesrv-addr",
                "127.0.0.1:0",
                "--broker-addr",
                "127.0.0.1:0",
                "--admin-addr",
                "127.0.0.1:0",
            ])
            .args(["--transaction-flush", transaction_flush])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let broker = ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix("broker="));
        let broker = broker
            .unwrap_or_else(|| panic!("no ready line but {ready:?}"))
            .parse()
            .unwrap();
        Serve { child, broker }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
