//! The data folder: one process at a time, one broker name for ever, one store id.
//!
//! The lock is an advisory lock on a file of its own, held while [`DataFolder`] lives and released by the
//! operating system however the process ends. What the store keeps in the folder is its own business.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Advertised;

const LOCK_FILE: &str = "escrow.lock";
const IDENTITY_FILE: &str = "identity.json";

/// The newest folder layout that this version reads.
const FORMAT: u32 = 1;

/// What the folder says about the broker that lives in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    format: u32,
    /// Made once, when the folder is first used.
    pub(crate) store_id: String,
    pub(crate) broker_name: String,
    pub(crate) broker_cluster_name: String,
}

/// Why a data folder cannot be used. Each is one line that names the folder.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process uses the folder.
    #[error("data folder {} is in use by another escrow process{}", folder.display(), of(holder))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// What the lock file says about the holder.
        holder: Option<u32>,
    },
    /// The folder cannot be created, read or written.
    #[error("data folder {}: cannot {action}: {source}", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A newer version wrote the folder.
    #[error(
        "data folder {} has format {found}, this version reads up to {FORMAT}: use a newer escrow",
        folder.display()
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The identity file makes no sense.
    #[error("data folder {}: {IDENTITY_FILE} is damaged: {reason}", folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder belongs to another broker or cluster.
    #[error(
        "data folder {} belongs to {what} `{kept}`, not `{given}`: start with the old name or another folder",
        folder.display()
    )]
    OtherName {
        /// The folder.
        folder: PathBuf,
        /// "broker" or "cluster".
        what: &'static str,
        /// The name in the folder.
        kept: String,
        /// The name in the settings.
        given: String,
    },
}

fn of(holder: &Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// A locked data folder.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    pub(crate) identity: Identity,
    /// Held for its lock only.
    _lock: File,
}

impl DataFolder {
    /// Creates the folder if needed, locks it, and checks or writes its identity.
    pub(crate) fn open(
        path: &Path,
        broker: &str,
        cluster: &str,
    ) -> Result<DataFolder, IdentityError> {
        let unusable = |action, source| IdentityError::Unusable {
            folder: path.to_owned(),
            action,
            source,
        };
        escrow_store::make_folder(path).map_err(|error| unusable("create it", error))?;
        let lock = lock(path)?;
        let identity = match fs::read_to_string(path.join(IDENTITY_FILE)) {
            Ok(text) => check(path, &text, broker, cluster)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let identity = Identity {
                    format: FORMAT,
                    store_id: uuid::Uuid::new_v4().simple().to_string(),
                    broker_name: broker.to_owned(),
                    broker_cluster_name: cluster.to_owned(),
                };
                let text = serde_json::to_string_pretty(&identity).unwrap_or_default();
                replace_file(&path.join(IDENTITY_FILE), text.as_bytes())
                    .map_err(|error| unusable("write its identity", error))?;
                identity
            }
            Err(error) => return Err(unusable("read its identity", error)),
        };
        Ok(DataFolder {
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(folder: &Path) -> Result<File, IdentityError> {
    let unusable = |source| IdentityError::Unusable {
        folder: folder.to_owned(),
        action: "write to it",
        source,
    };
    let path = folder.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only makes the message better, so a failure costs nothing.
            let _ = file.read_to_string(&mut holder);
            return Err(IdentityError::InUse {
                folder: folder.to_owned(),
                holder: holder.trim().parse().ok(),
            });
        }
        Err(fs::TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

fn check(
    folder: &Path,
    text: &str,
    broker: &str,
    cluster: &str,
) -> Result<Identity, IdentityError> {
    let damaged = |reason: String| IdentityError::Damaged {
        folder: folder.to_owned(),
        reason,
    };
    // The format is looked at first: a newer one may have other fields.
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64);
    let found = found.ok_or_else(|| damaged("it names no format".to_owned()))?;
    if found > u64::from(FORMAT) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(IdentityError::Newer {
            folder: folder.to_owned(),
            found,
        });
    }
    let identity: Identity =
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    for (what, kept, given) in [
        ("broker", &identity.broker_name, broker),
        ("cluster", &identity.broker_cluster_name, cluster),
    ] {
        if kept != given {
            return Err(IdentityError::OtherName {
                folder: folder.to_owned(),
                what,
                kept: kept.clone(),
                given: given.to_owned(),
            });
        }
    }
    Ok(identity)
}

/// Replaces a file so that a crash leaves the old or the new content, whole.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The rename itself is durable once the folder is.
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The address that clients are told and that goes into message ids. `bound` is what the broker listens on,
/// with the real port. Settings that would advertise 0.0.0.0 have been refused before.
pub(crate) fn advertised(bound: SocketAddr, setting: Option<Advertised>) -> SocketAddr {
    match setting {
        Some(advertised) => SocketAddr::new(advertised.ip, advertised.port.unwrap_or(bound.port())),
        None => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataFolder, IdentityError> {
        DataFolder::open(path, "broker-a", "DefaultCluster")
    }

    #[test]
    fn a_new_folder_gets_an_identity_that_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let first = open(&path).unwrap().identity;
        assert_eq!(first.store_id.len(), 32);
        assert_eq!(open(&path).unwrap().identity, first);
    }

    #[test]
    fn a_second_process_is_told_who_holds_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let held = open(home.path()).unwrap();
        let message = open(home.path()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            message.ends_with(&format!("in use by another escrow process (pid {pid})")),
            "{message}"
        );
        drop(held);
        open(home.path()).unwrap();
    }

    #[test]
    fn another_broker_or_cluster_name_is_refused() {
        let home = tempfile::tempdir().unwrap();
        drop(open(home.path()).unwrap());
        let message = DataFolder::open(home.path(), "broker-b", "DefaultCluster")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("belongs to broker `broker-a`, not `broker-b`"),
            "{message}"
        );
        let message = DataFolder::open(home.path(), "broker-a", "Other")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("belongs to cluster `DefaultCluster`, not `Other`"),
            "{message}"
        );
    }

    #[test]
    fn a_newer_or_damaged_folder_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(IDENTITY_FILE);
        fs::write(&file, "{\"format\":2,\"whatever\":true}").unwrap();
        assert!(matches!(
            open(home.path()),
            Err(IdentityError::Newer { found: 2, .. })
        ));
        for text in ["", "[]", "{\"format\":1}", "{\"format\":-1}", "\u{0}\u{0}"] {
            fs::write(&file, text).unwrap();
            assert!(
                matches!(open(home.path()), Err(IdentityError::Damaged { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_folder_is_refused_in_one_line() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let message = open(&file).unwrap_err().to_string();
        assert!(
            message.contains("cannot create it") && !message.contains('\n'),
            "{message}"
        );
    }

    #[test]
    fn the_advertised_address_takes_the_bound_port_unless_it_names_one() {
        let bound: SocketAddr = "0.0.0.0:4000".parse().unwrap();
        let ip = [10, 0, 0, 5].into();
        assert_eq!(
            advertised(bound, Some(Advertised { ip, port: None })).to_string(),
            "10.0.0.5:4000"
        );
        assert_eq!(
            advertised(bound, Some(Advertised { ip, port: Some(7) })).to_string(),
            "10.0.0.5:7"
        );
        let loopback: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(advertised(loopback, None), loopback);
    }
}
