//! How far every consumer group has consumed every queue, and the file that keeps it.
//!
//! Offsets live in memory and are written as one snapshot every few seconds and at shutdown; a crash loses
//! what came since, which redelivers. The previous snapshot is kept beside the current one.
//!
//! | line | content |
//! |---|---|
//! | 1 | `{"format":1,"crc32c":…}`, the CRC-32C of line 2 |
//! | 2 | `{"offsetTable":{"topic@group":{"queue":offset}}}`, Apache's form of `consumerOffset.json` |

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::identity::replace_file;

const FILE: &str = "consumer-offsets.json";
const PREVIOUS_FILE: &str = "consumer-offsets.previous.json";
const DAMAGED_FILE: &str = "consumer-offsets.damaged.json";
const LINK_FILE: &str = "consumer-offsets.link";
const FORMAT: u32 = 1;

/// Topics and groups hold no `@`, so it separates them.
const SEPARATOR: char = '@';

/// Group, topic, queue. Nested so that a lookup allocates nothing.
type Table = HashMap<String, HashMap<String, BTreeMap<i32, i64>>>;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    crc32c: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct Snapshot {
    #[serde(rename = "offsetTable")]
    offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Why the offsets cannot be read at start.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The operating system refused.
    #[error("consumer offsets {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Neither the snapshot nor the one before it makes sense.
    #[error(
        "consumer offsets {}: {reason}; move it away to let every group start anew, or put a good copy there",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// All consumer offsets.
#[derive(Debug)]
pub(crate) struct ConsumerOffsets {
    folder: PathBuf,
    table: RwLock<Table>,
    /// What the file holds, so that nothing is written while nothing changes.
    written: parking_lot::Mutex<Vec<u8>>,
}

impl ConsumerOffsets {
    /// Reads the snapshot in `folder`. An offset beyond `visible_end(topic, queue)` is clamped to it: the
    /// messages it counted were lost with the page cache, and waiting for the queue to grow past it would
    /// skip new ones. Offsets of topics that are gone (`None`) are dropped.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged as well as its predecessor: starting without it would make
    /// consumers skip or repeat messages silently.
    pub(crate) fn open(
        folder: &Path,
        visible_end: impl Fn(&str, i32) -> Option<i64>,
    ) -> Result<ConsumerOffsets, OffsetsError> {
        let snapshot = load(folder)?;
        let mut table = Table::new();
        for (key, queues) in snapshot.offset_table {
            let Some((topic, group)) = key.split_once(SEPARATOR) else {
                continue;
            };
            for (queue, offset) in queues {
                let Some(end) = visible_end(topic, queue) else {
                    tracing::info!(
                        topic,
                        group,
                        queue,
                        offset,
                        "offset of a missing topic dropped"
                    );
                    continue;
                };
                if offset > end {
                    tracing::warn!(
                        topic,
                        group,
                        queue,
                        offset,
                        end,
                        "consumer offset clamped to the queue's end"
                    );
                }
                let topics = table.entry(group.to_owned()).or_default();
                topics
                    .entry(topic.to_owned())
                    .or_default()
                    .insert(queue, offset.min(end));
            }
        }
        let written = parking_lot::Mutex::default();
        Ok(ConsumerOffsets {
            folder: folder.to_owned(),
            table: RwLock::new(table),
            written,
        })
    }

    /// The next offset that the group will consume; `None` if it never said.
    pub(crate) fn get(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        self.table
            .read()
            .get(group)?
            .get(topic)?
            .get(&queue)
            .copied()
    }

    /// Takes what a group commits. Offsets may go back: that is how they are reset. Negative ones mean
    /// nothing and are ignored.
    pub(crate) fn commit(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        if offset < 0 {
            return;
        }
        let mut table = self.table.write();
        if let Some(slot) = table
            .get_mut(group)
            .and_then(|topics| topics.get_mut(topic))
            .and_then(|queues| queues.get_mut(&queue))
        {
            *slot = offset;
            return;
        }
        let topics = table.entry(group.to_owned()).or_default();
        topics
            .entry(topic.to_owned())
            .or_default()
            .insert(queue, offset);
    }

    /// Forgets a topic that was deleted: its queues start at 0 when it comes again.
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.table.write().retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
    }

    /// Everything, by group and topic.
    pub(crate) fn all(&self) -> Vec<(String, String, BTreeMap<i32, i64>)> {
        let table = self.table.read();
        let mut all = Vec::new();
        for (group, topics) in table.iter() {
            all.extend(
                topics
                    .iter()
                    .map(|(topic, queues)| (group.clone(), topic.clone(), queues.clone())),
            );
        }
        all.sort();
        all
    }

    /// Writes the snapshot if anything changed since the last one. Blocks on the disk.
    ///
    /// # Errors
    /// The disk refused; the next call tries again.
    pub(crate) fn save(&self) -> io::Result<()> {
        let mut written = self.written.lock();
        let body = self.encode()?;
        if *written == body {
            return Ok(());
        }
        let head = Head {
            format: FORMAT,
            crc32c: crc(&body),
        };
        let mut content = serde_json::to_vec(&head)?;
        content.push(b'\n');
        content.extend_from_slice(&body);
        content.push(b'\n');
        let path = self.folder.join(FILE);
        keep_previous(&self.folder)?;
        replace_file(&path, &content)?;
        *written = body;
        Ok(())
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut snapshot = Snapshot::default();
        for (group, topics) in self.table.read().iter() {
            for (topic, queues) in topics {
                snapshot
                    .offset_table
                    .insert(format!("{topic}{SEPARATOR}{group}"), queues.clone());
            }
        }
        Ok(serde_json::to_vec(&snapshot)?)
    }
}

/// Gives the current file its second name, without a moment in which it has none.
fn keep_previous(folder: &Path) -> io::Result<()> {
    let link = folder.join(LINK_FILE);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(folder.join(FILE), &link) {
        Ok(()) => fs::rename(&link, folder.join(PREVIOUS_FILE)),
        // The first save; or a file system without links, where there is no predecessor then.
        Err(_) => Ok(()),
    }
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

fn load(folder: &Path) -> Result<Snapshot, OffsetsError> {
    let path = folder.join(FILE);
    let first = match read(&path) {
        Ok(snapshot) => return Ok(snapshot),
        Err(first) => first,
    };
    match read(&folder.join(PREVIOUS_FILE)) {
        Ok(snapshot) => {
            tracing::error!(error = %first, "the snapshot before it is used; groups may consume messages again");
            // Out of the way, or the next save would make it the predecessor of the new one.
            if let Err(source) = fs::rename(&path, folder.join(DAMAGED_FILE))
                && source.kind() != ErrorKind::NotFound
            {
                return Err(OffsetsError::Io { path, source });
            }
            Ok(snapshot)
        }
        Err(second) if is_missing(&first) && is_missing(&second) => Ok(Snapshot::default()),
        Err(_) => Err(first),
    }
}

fn is_missing(error: &OffsetsError) -> bool {
    matches!(error, OffsetsError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

fn read(path: &Path) -> Result<Snapshot, OffsetsError> {
    let content = fs::read(path).map_err(|source| OffsetsError::Io {
        path: path.to_owned(),
        source,
    })?;
    parse(&content).map_err(|reason| OffsetsError::Damaged {
        path: path.to_owned(),
        reason,
    })
}

fn parse(content: &[u8]) -> Result<Snapshot, String> {
    let mut lines = content.splitn(3, |byte| *byte == b'\n');
    let head: Head = serde_json::from_slice(lines.next().unwrap_or_default())
        .map_err(|error| error.to_string())?;
    if head.format != FORMAT {
        return Err(format!(
            "it has format {}, this version reads {FORMAT}",
            head.format
        ));
    }
    let body = lines.next().unwrap_or_default();
    if crc(body) != head.crc32c {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> ConsumerOffsets {
        ConsumerOffsets::open(folder, |_, _| Some(i64::MAX)).unwrap()
    }

    fn of_group(offsets: &ConsumerOffsets, group: &str) -> Vec<(String, i32, i64)> {
        let all = offsets.all().into_iter().filter(|(of, ..)| of == group);
        all.flat_map(|(_, topic, queues)| {
            queues
                .into_iter()
                .map(move |(queue, at)| (topic.clone(), queue, at))
        })
        .collect()
    }

    #[test]
    fn what_was_committed_last_is_found_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        assert_eq!(offsets.get("g", "t", 0), None);
        offsets.commit("g", "t", 0, 5);
        offsets.commit("g", "t", 0, 3);
        offsets.commit("g", "%RETRY%g", 0, 9);
        offsets.commit("h", "t", 2, 7);
        offsets.commit("h", "t", 3, -1);
        offsets.save().unwrap();
        let offsets = open(home.path());
        assert_eq!(offsets.get("g", "t", 0), Some(3));
        assert_eq!(
            of_group(&offsets, "g"),
            [("%RETRY%g".to_owned(), 0, 9), ("t".to_owned(), 0, 3)]
        );
        assert_eq!(of_group(&offsets, "h"), [("t".to_owned(), 2, 7)]);
    }

    #[test]
    fn offsets_beyond_the_queue_are_clamped_and_those_of_missing_topics_dropped() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        offsets.commit("g", "short", 0, 50);
        offsets.commit("g", "long", 0, 50);
        offsets.commit("g", "gone", 0, 50);
        offsets.save().unwrap();
        let ends = |topic: &str, _| match topic {
            "short" => Some(20),
            "long" => Some(100),
            _ => None,
        };
        let offsets = ConsumerOffsets::open(home.path(), ends).unwrap();
        assert_eq!(
            of_group(&offsets, "g"),
            [("long".to_owned(), 0, 50), ("short".to_owned(), 0, 20)]
        );
    }

    #[test]
    fn a_deleted_topic_takes_its_offsets_along() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        offsets.commit("g", "t", 0, 5);
        offsets.commit("h", "t", 0, 5);
        offsets.commit("h", "u", 0, 6);
        offsets.forget_topic("t");
        assert_eq!(offsets.get("g", "t", 0), None);
        assert_eq!(of_group(&offsets, "h"), [("u".to_owned(), 0, 6)]);
    }

    #[test]
    fn the_file_has_apaches_form_behind_a_line_with_its_checksum() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        offsets.commit("g", "t", 0, 5);
        offsets.commit("g", "t", 1, 6);
        offsets.save().unwrap();
        let text = fs::read_to_string(home.path().join(FILE)).unwrap();
        assert_eq!(
            text,
            "{\"format\":1,\"crc32c\":1881036340}\n{\"offsetTable\":{\"t@g\":{\"0\":5,\"1\":6}}}\n"
        );
    }

    #[test]
    fn a_damaged_snapshot_is_replaced_by_the_one_before_it() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        offsets.commit("g", "t", 0, 5);
        offsets.save().unwrap();
        offsets.commit("g", "t", 0, 6);
        offsets.save().unwrap();
        let file = home.path().join(FILE);
        let good = fs::read(&file).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            fs::write(&file, &bad).unwrap();
            let found = open(home.path()).get("g", "t", 0);
            assert_eq!(found, Some(5), "byte {index} flipped");
        }
        fs::write(home.path().join(PREVIOUS_FILE), "").unwrap();
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        let error = ConsumerOffsets::open(home.path(), |_, _| Some(0))
            .unwrap_err()
            .to_string();
        assert!(error.contains("consumer-offsets.json"), "{error}");
    }

    #[test]
    fn nothing_is_written_while_nothing_changes() {
        let home = tempfile::tempdir().unwrap();
        let offsets = open(home.path());
        offsets.commit("g", "t", 0, 5);
        offsets.save().unwrap();
        fs::remove_file(home.path().join(FILE)).unwrap();
        offsets.save().unwrap();
        assert!(!home.path().join(FILE).exists());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&content);
        }

        #[test]
        fn what_is_written_is_read(commits in proptest::collection::vec((0..3, 0..3, 0..4, 0..100_i64), 0..40)) {
            let home = tempfile::tempdir().unwrap();
            let offsets = open(home.path());
            let mut model = BTreeMap::new();
            for (group, topic, queue, offset) in commits {
                offsets.commit(&format!("g{group}"), &format!("t{topic}"), queue, offset);
                model.insert((group, topic, queue), offset);
            }
            offsets.save().unwrap();
            let reopened = open(home.path());
            for ((group, topic, queue), offset) in model {
                proptest::prop_assert_eq!(reopened.get(&format!("g{group}"), &format!("t{topic}"), queue), Some(offset));
            }
            proptest::prop_assert_eq!(reopened.all(), offsets.all());
        }
    }
}
