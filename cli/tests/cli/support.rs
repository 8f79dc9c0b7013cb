//! Starting `escrow` and looking at what it did.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A start or a stop that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test, with nothing of our environment that could change its settings.
pub(crate) fn escrow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_escrow"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ESCROW_") || name == "DATABASE_URL" || name == "NAMESRV_ADDR" {
            command.env_remove(&*name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// `escrow serve` on `folder` and free ports.
pub(crate) fn serve_command(folder: &Path) -> Command {
    let mut command = escrow();
    command.arg("serve").arg("--data-dir").arg(folder);
    for flag in ["--namesrv-addr", "--broker-addr", "--admin-addr"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command
}

/// A process that has said it is ready; killed when dropped.
pub(crate) struct Running {
    process: Option<Child>,
    stdout: BufReader<ChildStdout>,
    /// All that it logs; read along, so that a full pipe never stops it.
    stderr: Option<JoinHandle<String>>,
    pub(crate) ready_line: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = process.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            // What is cut off by an end in the middle of a character is no loss.
            let _ = log.read_to_string(&mut text);
            text
        });
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready_line = String::new();
        stdout.read_line(&mut ready_line).unwrap();
        if ready_line.is_empty() {
            process.wait().unwrap();
            panic!("not ready: {}", stderr.join().unwrap());
        }
        Self {
            process: Some(process),
            stdout,
            stderr: Some(stderr),
            ready_line,
        }
    }

    /// What follows `name=` in the ready line.
    pub(crate) fn field(&self, name: &str) -> String {
        let word = self
            .ready_line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.unwrap_or_else(|| panic!("no {name} in {:?}", self.ready_line))
            .to_owned()
    }

    /// Sends a signal and waits for the end: exit code, the rest of stdout, and all of stderr.
    pub(crate) fn stop(mut self, signal: Signal) -> Stopped {
        let mut process = self.process.take().unwrap();
        let pid = Pid::from_child(&process);
        kill_process(pid, signal).unwrap();
        let since = Instant::now();
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let status = process.wait().unwrap();
        Stopped {
            code: status.code(),
            took: since.elapsed(),
            stdout,
            stderr: self.stderr.take().unwrap().join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A broker process that has said it is ready; killed when dropped.
pub(crate) struct Served {
    process: Running,
    pub(crate) ready_line: String,
    pub(crate) namesrv: String,
    pub(crate) broker: String,
    pub(crate) admin: String,
}

impl Served {
    pub(crate) fn on(folder: &Path) -> Self {
        Self::start(&mut serve_command(folder))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let process = Running::start(command);
        Self {
            ready_line: process.ready_line.clone(),
            namesrv: process.field("namesrv"),
            broker: process.field("broker"),
            admin: process.field("admin"),
            process,
        }
    }

    pub(crate) fn stop(self, signal: Signal) -> Stopped {
        self.process.stop(signal)
    }
}

pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command that is expected to be refused: its one line on stderr.
pub(crate) fn refusal(command: &mut Command) -> String {
    let mut process = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if since.elapsed() > PATIENCE {
            process.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = process.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "not refused: {stderr}");
    assert!(
        output.status.code().is_some(),
        "ended by a signal: {stderr}"
    );
    assert!(output.stdout.is_empty(), "nothing on stdout");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one clear line, not: {stderr}");
    stderr
}

/// What a command that succeeds prints.
pub(crate) fn printed(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A plain HTTP GET: status code and body.
pub(crate) fn http_get(address: &str, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}
