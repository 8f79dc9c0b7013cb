//! A running server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};

use crate::ports::free_ports;
use crate::process::{Removal, spawn};
use crate::{Engine, Error};

/// How long a server may take to answer, after a crash included.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A database server of our own.
pub struct Server {
    engine: Engine,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    databases: AtomicU32,
    running: Mutex<Option<Child>>,
    _removal: Removal,
}

impl Server {
    /// The one server of `engine` that all tests of this process share. Not to be crashed.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn shared(engine: Engine) -> Result<&'static Self, Error> {
        type Shared = OnceLock<Result<Server, Error>>;
        static POSTGRES: Shared = OnceLock::new();
        static MARIADB: Shared = OnceLock::new();
        let shared = match engine {
            Engine::Postgres => &POSTGRES,
            Engine::MariaDb => &MARIADB,
        };
        let started = shared.get_or_init(|| Self::start(engine, &[]));
        started.as_ref().map_err(Clone::clone)
    }

    /// Starts a server with `settings` besides our own, each as `name=value`. It ends when dropped.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub fn start(engine: Engine, settings: &[&str]) -> Result<Self, Error> {
        let prefix = format!("escrow-test-{}-", engine.name());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
        let folder = folder.map_err(failed("temporary folder"))?.keep();
        let removal = Removal::of(&folder).map_err(failed("sh"))?;
        if rustix::process::getuid().is_root() {
            let owner = format!("{0}:{0}", engine.user());
            run(Command::new("chown").arg(owner).arg(&folder), &folder)?;
        }
        run(&mut engine.install(&folder)?, &folder)?;
        let mut server = Self {
            engine,
            folder,
            port: 0,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            databases: AtomicU32::new(0),
            running: Mutex::new(None),
            _removal: removal,
        };
        // A free port may be taken before the server is up.
        let mut attempts = 3;
        loop {
            server.port = free_ports(1).map_err(failed("free port"))?;
            attempts -= 1;
            match server.restart() {
                Err(_) if attempts > 0 => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    /// The port it listens on, at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data folder, to be changed while the server is down.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A URL of `database`, as a user who may do everything.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.engine.url(self.port, database)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// The server refused or is down.
    pub async fn fresh_database(&self) -> Result<String, Error> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let home = self.url(self.engine.home());
        let created = async {
            match self.engine {
                Engine::Postgres => {
                    let mut connection = PgConnection::connect(&home).await?;
                    connection.execute(create).await?;
                    connection.close().await
                }
                Engine::MariaDb => {
                    let mut connection = MySqlConnection::connect(&home).await?;
                    connection.execute(create).await?;
                    connection.close().await
                }
            }
        };
        let refused = |error: sqlx::Error| Error::Create(error.to_string());
        created.await.map_err(refused)?;
        Ok(self.url(&name))
    }

    /// Ends it as a crash would, and waits until it is dead. What it had committed, it has.
    pub fn crash(&self) {
        if let Some(mut child) = self.running().take() {
            let signal = self.engine.crash_signal();
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                // It may be dead already.
                let _ = rustix::process::kill_process(pid, signal);
            }
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port and folder, after [`Self::crash`], and waits until it answers.
    ///
    /// # Errors
    /// It does not start; the end of its log is in the message.
    pub fn restart(&self) -> Result<(), Error> {
        self.crash();
        let mut command = self.engine.serve(&self.folder, self.port, &self.settings)?;
        let log = File::create(self.folder.join("log")).map_err(failed("log"))?;
        command.stdout(log.try_clone().map_err(failed("log"))?);
        command.stderr(log);
        let mut child = spawn(command).map_err(failed("setpriv"))?;
        let deadline = Instant::now() + READY_WITHIN;
        let started = loop {
            if self.engine.is_ready(self.port) {
                break Ok(());
            }
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break Err("ended");
            }
            if Instant::now() > deadline {
                break Err("does not answer");
            }
            sleep(Duration::from_millis(20));
        };
        *self.running() = Some(child);
        started.map_err(|what| {
            self.crash();
            Error::Start(format!(
                "{:?} {what}: {}",
                self.engine,
                log_end(&self.folder)
            ))
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn run(command: &mut Command, folder: &Path) -> Result<(), Error> {
    let output = command
        .current_dir(folder)
        .output()
        .map_err(failed("setpriv"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (&output.stdout, &output.stderr);
    let said = [out, err].map(|text| String::from_utf8_lossy(text).into_owned());
    Err(Error::Start(format!("{command:?}: {}", said.concat())))
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Start(format!("{what}: {error}"))
}

fn log_end(folder: &Path) -> String {
    let log = std::fs::read(folder.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
