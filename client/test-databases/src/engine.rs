//! How one kind of server is installed, started and asked whether it is ready.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::process::as_user;

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL, the newest installed.
    Postgres,
    /// MariaDB.
    MariaDb,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    /// The operating system's user for it.
    pub(crate) fn user(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    /// What ends it as a crash would: all sessions at once, nothing written back.
    pub(crate) fn crash_signal(self) -> Signal {
        match self {
            // `pg_ctl stop -m immediate`.
            Self::Postgres => Signal::QUIT,
            Self::MariaDb => Signal::KILL,
        }
    }

    pub(crate) fn url(self, port: u16, database: &str) -> String {
        match self {
            Self::Postgres => format!("postgres://postgres@127.0.0.1:{port}/{database}"),
            Self::MariaDb => format!("mysql://escrow:escrow@127.0.0.1:{port}/{database}"),
        }
    }

    /// The database that is always there.
    pub(crate) fn home(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    /// Fills `folder/data`.
    pub(crate) fn install(self, folder: &Path) -> Result<Command, Error> {
        let data = folder.join("data");
        match self {
            Self::Postgres => {
                let mut command = as_user(self.user(), &postgres("initdb")?);
                command
                    .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
                    .args(["--no-sync", "-D"])
                    .arg(data);
                Ok(command)
            }
            Self::MariaDb => {
                let mut command = as_user(self.user(), &mariadb("mariadb-install-db")?);
                command
                    // A server that starts removes what it takes for another's leftovers in its folder for temporary tables.
                    .env("TMPDIR", folder)
                    .args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"])
                    .arg("--auth-root-authentication-method=normal")
                    .arg(option("--datadir", &data));
                Ok(command)
            }
        }
    }

    /// Serves `folder/data`; `settings` come last and win.
    pub(crate) fn serve(
        self,
        folder: &Path,
        port: u16,
        settings: &[String],
    ) -> Result<Command, Error> {
        let data = folder.join("data");
        let mut command;
        match self {
            Self::Postgres => {
                command = as_user(self.user(), &postgres("postgres")?);
                command.arg("-D").arg(data);
                // Survives the crash of the server, not that of the machine: tests need no more.
                let ours = [
                    "listen_addresses=127.0.0.1",
                    "unix_socket_directories=",
                    "fsync=off",
                    "full_page_writes=off",
                    "max_connections=200",
                    "max_prepared_transactions=10",
                    "shared_buffers=64MB",
                ];
                for setting in ours
                    .map(str::to_owned)
                    .iter()
                    .chain([&format!("port={port}")])
                    .chain(settings)
                {
                    command.arg("-c").arg(setting);
                }
            }
            Self::MariaDb => {
                let init = folder.join("init.sql");
                std::fs::write(
                    &init,
                    "CREATE USER IF NOT EXISTS escrow@'127.0.0.1' IDENTIFIED BY 'escrow';\n\
                     GRANT ALL PRIVILEGES ON *.* TO escrow@'127.0.0.1' WITH GRANT OPTION;\n",
                )
                .map_err(|error| Error::Start(error.to_string()))?;
                command = as_user(self.user(), &mariadb("mariadbd")?);
                command
                    .env("TMPDIR", folder)
                    .args(["--no-defaults", "--bind-address=127.0.0.1"])
                    .args(["--skip-name-resolve", "--max-connections=200"])
                    .arg("--innodb-flush-method=nosync")
                    .arg(format!("--port={port}"))
                    .arg(option("--socket", &folder.join("socket")))
                    .arg(option("--init-file", &init))
                    .arg(option("--datadir", &data))
                    .args(settings.iter().map(|setting| format!("--{setting}")));
            }
        }
        Ok(command)
    }

    pub(crate) fn is_ready(self, port: u16) -> bool {
        match self {
            Self::Postgres => postgres("pg_isready").is_ok_and(|program| {
                Command::new(program)
                    .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                    .stdin(Stdio::null())
                    .status()
                    .is_ok_and(|status| status.success())
            }),
            // It greets whoever connects, once it takes statements.
            Self::MariaDb => greets(port),
        }
    }
}

fn greets(port: u16) -> bool {
    let within = Duration::from_secs(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, within) else {
        return false;
    };
    stream.set_read_timeout(Some(within)).is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

/// A program of the newest PostgreSQL.
fn postgres(program: &'static str) -> Result<PathBuf, Error> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let version_of = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").join(program).exists())
        .max_by_key(|path| version_of(path))
        .map(|path| path.join("bin").join(program))
        .ok_or(Error::Missing {
            program,
            package: "postgresql",
        })
}

fn mariadb(program: &'static str) -> Result<PathBuf, Error> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .map(|folder| Path::new(folder).join(program))
        .into_iter()
        .find(|path| path.exists())
        .ok_or(Error::Missing {
            program,
            package: "mariadb-server",
        })
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
