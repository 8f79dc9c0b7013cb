//! `escrow serve` as a process of its own, and what the machine says of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a broker is started.
#[derive(Clone)]
pub(crate) struct Setup {
    data: PathBuf,
    flags: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
    descriptors_max: Option<u64>,
}

impl Setup {
    /// On this data folder, synced, with checks half a second after the half and from then on.
    pub(crate) fn on(data: &Path) -> Setup {
        let setup = Setup {
            data: data.to_owned(),
            flags: Vec::new(),
            environment: Vec::new(),
            descriptors_max: None,
        };
        setup.checks_after(500)
    }

    /// The last one of a name counts.
    pub(crate) fn flag(mut self, name: &'static str, value: impl ToString) -> Setup {
        self.flags.retain(|(other, _)| *other != name);
        self.flags.push((name, value.to_string()));
        self
    }

    pub(crate) fn checks_after(self, ms: u64) -> Setup {
        self.flag("--transaction-time-out", ms)
            .flag("--transaction-check-interval", ms)
            .flag("--transaction-check-max", 1000)
    }

    pub(crate) fn environment(mut self, name: &'static str, value: impl ToString) -> Setup {
        self.environment.push((name, value.to_string()));
        self
    }

    /// At most so many file descriptors, sockets included.
    pub(crate) fn descriptors_max(mut self, count: u64) -> Setup {
        self.descriptors_max = Some(count);
        self
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_escrow");
        let mut command = match self.descriptors_max {
            None => Command::new(binary),
            Some(count) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {count} && exec \"$0\" \"$@\"");
                shell.args(["-c", &script, binary]);
                shell
            }
        };
        command.arg("serve").arg("--data-dir").arg(&self.data);
        for address in ["--namesrv-addr", "--broker-addr", "--admin-addr"] {
            command.args([address, "127.0.0.1:0"]);
        }
        for (name, value) in &self.flags {
            command.args([name, value.as_str()]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(&self) -> Serve {
        self.try_start()
            .unwrap_or_else(|log| panic!("the broker does not start: {log}"))
    }

    /// Starts it; the error is what it says when it cannot serve.
    pub(crate) fn try_start(&self) -> Result<Serve, String> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::default();
        let reader = read_along(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut ready = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        let mut serve = Serve {
            child,
            log,
            reader: Some(reader),
            broker: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        if ready.is_empty() {
            return Err(serve.end());
        }
        let address = |name: &str| {
            let mut words = ready.split_whitespace();
            let word = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.expect("an address").parse().expect("an address")
        };
        (serve.broker, serve.admin) = (address("broker"), address("admin"));
        Ok(serve)
    }
}

fn read_along(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// A broker that serves; killed with SIGKILL when dropped.
pub(crate) struct Serve {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) broker: SocketAddr,
    admin: SocketAddr,
}

impl Serve {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it with SIGKILL; gives all that it logged.
    pub(crate) fn kill(mut self) -> String {
        self.end()
    }

    fn end(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.log()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged this.
    pub(crate) fn await_log(&self, text: &str) {
        await_that(&format!("a log line with {text:?}"), || {
            self.log().contains(text)
        });
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib * 1024
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = self.proc("stat");
        // Behind the name in brackets, which may hold anything: fields 14 and 15 in ticks of 10 ms.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11);
        let ticks: u64 = fields
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// A GET of the admin API: status code and body.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let log = self.end();
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{log}");
        }
    }
}

/// Waits until something holds.
pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(
            since.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
