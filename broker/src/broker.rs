//! A whole broker: started, addressed, shut down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use escrow_coordinator::CheckRequest;
use escrow_store::{FileDisk, RecoveryReport, Store};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::{DataFolder, IdentityError};
use crate::offsets::OffsetsError;
use crate::remoting::dispatch::Role;
use crate::remoting::server;
use crate::shared::{Phase, Shared};
use crate::{admin, check_sender, chores, delay};

/// How long a shutdown may take; what is not finished by then is dropped.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Why a broker did not start. Each is one line that says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] IdentityError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// Whose address.
        what: &'static str,
        /// The address of the settings.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("store: {0}")]
    Store(#[from] escrow_store::Error),
    /// The store's folder cannot be used.
    #[error("store folder {}: {source}", folder.display())]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Stored metadata is of no use to this version.
    #[error("stored metadata: {0}")]
    Metadata(String),
    /// The consumer offsets cannot be read.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Where a broker listens; the real ports if port 0 was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The name server.
    pub namesrv: SocketAddr,
    /// The broker itself.
    pub broker: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
}

/// The three listening sockets.
struct Listeners {
    namesrv: TcpListener,
    broker: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Listeners, StartError> {
        Ok(Listeners {
            namesrv: bind("name server", settings.namesrv_addr).await?,
            broker: bind("broker", settings.broker_addr).await?,
            admin: bind("admin", settings.admin_addr).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses, StartError> {
        Ok(Addresses {
            namesrv: local("name server", &self.namesrv)?,
            broker: local("broker", &self.broker)?,
            admin: local("admin", &self.admin)?,
        })
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| StartError::Listen {
        what,
        address,
        source,
    })
}

fn local(what: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let local = listener.local_addr();
    local.map_err(|source| StartError::Listen {
        what,
        address: unknown,
        source,
    })
}

/// A running broker. Dropping it stops nothing in good order: call [`Broker::shutdown`].
pub struct Broker {
    shared: Arc<Shared>,
    addresses: Addresses,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    /// The log thread and the maintenance thread; the second ends with the first.
    threads: [std::thread::JoinHandle<()>; 2],
    /// Held for its lock.
    _folder: DataFolder,
}

impl Broker {
    /// Opens the data folder, listens and serves. Sends are accepted when this returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running then.
    pub async fn start(settings: Settings) -> Result<Broker, StartError> {
        let folder = DataFolder::open(
            &settings.data_dir,
            &settings.broker_name,
            &settings.broker_cluster_name,
        )?;
        let listeners = Listeners::bind(&settings).await?;
        let addresses = listeners.addresses()?;
        let store = open_store(&settings, folder.path()).await?;
        let (checks, due_checks) = mpsc::unbounded_channel();
        let (shared, threads) = Shared::start(settings, &folder, addresses.broker, store, checks)?;
        let mut broker = Broker {
            shared: Arc::new(shared),
            addresses,
            listeners: Vec::new(),
            background: Vec::new(),
            threads,
            _folder: folder,
        };
        broker.spawn(listeners, due_checks);
        Ok(broker)
    }

    fn spawn(&mut self, listeners: Listeners, checks: mpsc::UnboundedReceiver<CheckRequest>) {
        let shared = &self.shared;
        self.background
            .push(tokio::spawn(check_sender::run(Arc::clone(shared), checks)));
        self.background
            .push(tokio::spawn(chores::run(Arc::clone(shared))));
        for (queue, delay) in delay::levels(&shared.settings) {
            let level = delay::run_level(Arc::clone(shared), queue, delay);
            self.background.push(tokio::spawn(level));
        }
        let admin = admin::serve(Arc::clone(shared), listeners.admin);
        self.listeners.push(tokio::spawn(admin));
        for (role, listener) in [
            (Role::Broker, listeners.broker),
            (Role::NameServer, listeners.namesrv),
        ] {
            let listening = server::listen(Arc::clone(shared), role, listener);
            self.listeners.push(tokio::spawn(listening));
        }
    }

    /// A broker of the crate's own tests, on free ports.
    #[cfg(test)]
    pub(crate) async fn start_in(folder: &Path) -> Broker {
        let free = ([127, 0, 0, 1], 0).into();
        let settings = Settings {
            data_dir: folder.to_owned(),
            namesrv_addr: free,
            broker_addr: free,
            admin_addr: free,
            ..Settings::default()
        };
        Broker::start(settings).await.expect("the broker starts")
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where this broker listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Stops in good order, in ten seconds at most: nothing more is accepted or read, what was
    /// read is answered, everything is synced and checkpointed.
    pub async fn shutdown(self) {
        if tokio::time::timeout(SHUTDOWN_MAX, self.drain())
            .await
            .is_err()
        {
            tracing::error!("shutdown not complete after {} s", SHUTDOWN_MAX.as_secs());
        }
    }

    async fn drain(mut self) {
        let shared = &self.shared;
        shared.phase.advance(Phase::Draining);
        // Requests in work, long polls among them, still need the log thread.
        shared.tasks.finish().await;
        chores::save_offsets(shared).await;
        shared.log.close();
        let threads = self.threads;
        let ended = tokio::task::spawn_blocking(|| threads.map(std::thread::JoinHandle::join));
        if !ended
            .await
            .is_ok_and(|ended| ended.iter().all(Result::is_ok))
        {
            tracing::error!("a thread of the store has ended by a panic");
        }
        shared.phase.advance(Phase::Closing);
        for task in self.listeners.drain(..).chain(self.background.drain(..)) {
            let _ = task.await;
        }
    }
}

/// Opens the store on the blocking pool: recovery reads the log.
async fn open_store(settings: &Settings, folder: &Path) -> Result<Store, StartError> {
    let path = folder.join("store");
    let settings = store_settings(settings);
    let now_ms = Clock::new().wall_ms();
    let opened = tokio::task::spawn_blocking(move || {
        let disk = FileDisk::open(&path).map_err(|source| StartError::Disk {
            folder: path,
            source,
        })?;
        Store::open(Arc::new(disk), settings, now_ms).map_err(StartError::Store)
    });
    let (store, report) = match opened.await {
        Ok(opened) => opened?,
        Err(panicked) => return Err(StartError::Thread(std::io::Error::other(panicked))),
    };
    tell(&report);
    Ok(store)
}

/// What an operator has to know of an open.
fn tell(report: &RecoveryReport) {
    tracing::info!(
        records = report.records,
        bytes = report.bytes,
        "log replayed"
    );
    if let Some(why) = &report.rebuilt {
        tracing::warn!(why, "derived files rebuilt from the whole log");
    }
    if let Some(cut) = &report.cut {
        tracing::warn!("the log's end was not whole and has been cut: {cut}");
    }
    for damage in &report.damaged {
        tracing::error!("part of the log cannot be read: {damage}");
    }
    if !report.parked.is_empty() {
        let halfs = report.parked.len();
        tracing::error!(halfs, "halfs parked: damage may hide what became of them");
    }
}

fn store_settings(settings: &Settings) -> escrow_store::Settings {
    /// Segments are whole pages.
    const PAGE: u64 = 4096;
    /// What a record needs beyond its body: head, topic, properties.
    const SLACK: u64 = 64 * 1024;
    let largest = settings.max_message_size.0 + SLACK;
    escrow_store::Settings {
        segment_bytes: settings.segment_size.0 / PAGE * PAGE,
        record_bytes_max: usize::try_from(largest).unwrap_or(usize::MAX),
        file_reserved: settings.file_reserved_time,
        delete_hours: settings
            .delete_when
            .as_ref()
            .map_or_else(Vec::new, |hours| hours.0.clone()),
        // Checked to be below a hundred.
        used_percent_clean: settings
            .disk_max_used_space_ratio
            .and_then(|ratio| u8::try_from(ratio).ok()),
        free_bytes_clean: settings.free_space_clean.0,
        free_bytes_refuse: settings.free_space_refuse.0,
        free_bytes_reserve: settings.free_space_reserve.0,
        ..escrow_store::Settings::default()
    }
}
