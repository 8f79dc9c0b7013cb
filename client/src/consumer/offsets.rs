//! Where the offsets of a group are kept, and where a queue without one begins.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use escrow_protocol::body::MessageQueue;
use escrow_protocol::names;
use parking_lot::Mutex;

use super::settings::Start;
use crate::client::Client;
use crate::error::{Error, Result};

/// The offsets of a group, wherever they are.
pub(super) enum Offsets {
    /// At the brokers, common to all members.
    Group { client: Client, group: String },
    /// Here, for this member alone.
    Local { client: Client, table: LocalOffsets },
}

/// Where to begin on a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub(super) offset: i64,
    /// The group has this offset already.
    pub(super) is_stored: bool,
}

impl Offsets {
    /// Where to begin on `queue`. `is_new` says that the queue appeared after the consumer began.
    pub(super) async fn first(
        &self,
        queue: &MessageQueue,
        start: Start,
        is_new: bool,
    ) -> Result<First> {
        if let Some(offset) = self.read(queue).await? {
            return Ok(First {
                offset,
                is_stored: true,
            });
        }
        let client = self.client();
        // A retry queue holds the group's own failures: none of them may be passed over.
        let whole = is_new || names::retry_group(&queue.topic).is_some();
        let offset = match start {
            Start::At(time) if !whole => client.offset_at(queue, time).await?,
            Start::Last if !whole => client.max_offset(queue).await?,
            _ => client.min_offset(queue).await?,
        };
        Ok(First {
            offset: offset.max(0),
            is_stored: false,
        })
    }

    pub(super) async fn write(&self, queue: &MessageQueue, next: i64) -> Result<()> {
        match self {
            Self::Group { client, group } => client.commit_offset(group, queue, next).await,
            Self::Local { table, .. } => table.write(queue, next).await,
        }
    }

    async fn read(&self, queue: &MessageQueue) -> Result<Option<i64>> {
        match self {
            Self::Group { client, group } => client.group_offset(group, queue).await,
            Self::Local { table, .. } => Ok(table.read(queue)),
        }
    }

    fn client(&self) -> &Client {
        match self {
            Self::Group { client, .. } | Self::Local { client, .. } => client,
        }
    }
}

/// The offsets of a broadcasting consumer, which are nobody else's business.
#[derive(Debug, Clone)]
pub struct LocalOffsets {
    file: Option<PathBuf>,
    /// The lock is held while the file is written: a later state never lands before an earlier one.
    offsets: Arc<Mutex<BTreeMap<MessageQueue, i64>>>,
}

impl LocalOffsets {
    /// Offsets that are forgotten when the process ends: each start begins where [`Start`] says.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            file: None,
            offsets: Arc::default(),
        }
    }

    /// Offsets in a file of their own, which need not exist yet. Two consumers must not share one.
    ///
    /// # Errors
    /// [`Error::OffsetsFile`]: the file is there and cannot be read, or holds something else.
    pub async fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let read = path.clone();
        let offsets = blocking(&path, move || load(&read)).await?;
        Ok(Self {
            file: Some(path),
            offsets: Arc::new(Mutex::new(offsets)),
        })
    }

    fn read(&self, queue: &MessageQueue) -> Option<i64> {
        self.offsets.lock().get(queue).copied()
    }

    async fn write(&self, queue: &MessageQueue, next: i64) -> Result<()> {
        let Some(path) = self.file.clone() else {
            self.offsets.lock().insert(queue.clone(), next);
            return Ok(());
        };
        let (queue, offsets, target) = (queue.clone(), Arc::clone(&self.offsets), path.clone());
        blocking(&path, move || {
            let mut offsets = offsets.lock();
            offsets.insert(queue, next);
            save(&target, &offsets)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    done.map_err(|source| Error::OffsetsFile {
        path: path.to_owned(),
        source,
    })
}

/// JSON: a list of pairs of queue and offset.
fn load(path: &Path) -> io::Result<BTreeMap<MessageQueue, i64>> {
    match std::fs::read(path) {
        Ok(text) => {
            let pairs: Vec<(MessageQueue, i64)> = serde_json::from_slice(&text)?;
            Ok(pairs.into_iter().collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// In one step: a crash leaves the old file or the new one.
fn save(path: &Path, offsets: &BTreeMap<MessageQueue, i64>) -> io::Result<()> {
    let pairs: Vec<(&MessageQueue, &i64)> = offsets.iter().collect();
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, serde_json::to_vec(&pairs)?)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            broker_name: "b".to_owned(),
            queue_id,
            topic: "T".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_file_keeps_offsets_and_memory_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offsets.json");
        let first = LocalOffsets::file(&path).await.unwrap();
        assert_eq!(first.read(&queue(0)), None);
        first.write(&queue(0), 5).await.unwrap();
        first.write(&queue(1), 7).await.unwrap();
        first.write(&queue(0), 6).await.unwrap();
        let second = LocalOffsets::file(&path).await.unwrap();
        assert_eq!(
            (second.read(&queue(0)), second.read(&queue(1))),
            (Some(6), Some(7))
        );
        let memory = LocalOffsets::in_memory();
        memory.write(&queue(0), 5).await.unwrap();
        assert_eq!(memory.read(&queue(0)), Some(5));
        assert_eq!(LocalOffsets::in_memory().read(&queue(0)), None);
    }

    #[tokio::test]
    async fn a_file_that_holds_something_else_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offsets.json");
        std::fs::write(&path, "no offsets").unwrap();
        let error = LocalOffsets::file(&path).await.unwrap_err();
        assert!(error.to_string().contains("offsets.json"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no offsets");
    }
}
