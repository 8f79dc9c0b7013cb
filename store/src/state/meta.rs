//! META records: those of the store's users, and the store's own, which keep the ends of sequences.

use super::State;
use crate::record::MetaBody;
use crate::record::header::records_max;

/// Keys of META records that are the store's own.
pub(crate) const OWN_META: &str = "\u{1}store/";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetaValue {
    pub(crate) value: Vec<u8>,
    /// The record that set it: carried forward before its segment leaves.
    pub(crate) at: u64,
}

/// Key of the record that keeps a queue's end when its last message leaves the log.
pub(crate) fn queue_tail_key(topic: &str, id: i32) -> String {
    format!("{OWN_META}queue/{id}/{topic}")
}

/// Key of the record that keeps a delay level's progress.
pub(crate) fn level_tail_key(level: u32) -> String {
    format!("{OWN_META}level/{level}")
}

/// Key of the record that keeps the next half sequence.
pub(crate) fn half_tail_key() -> String {
    format!("{OWN_META}half")
}

impl State {
    pub(crate) fn apply_meta(&mut self, meta: MetaBody<'_>, is_delete: bool, at: u64) {
        if let Some(own) = meta.key.strip_prefix(OWN_META) {
            self.apply_own_meta(own, meta.value, at);
        }
        if is_delete {
            self.meta.remove(meta.key);
        } else {
            self.meta.insert(
                meta.key.to_owned(),
                MetaValue {
                    value: meta.value.to_vec(),
                    at,
                },
            );
        }
    }

    /// Ends of sequences whose last record left the log.
    fn apply_own_meta(&mut self, key: &str, value: &[u8], at: u64) {
        let next = value.try_into().ok().map(u64::from_le_bytes);
        let Some(next) = next.filter(|next| *next <= records_max(at)) else {
            return;
        };
        if let Some((id, topic)) = key
            .strip_prefix("queue/")
            .and_then(|rest| rest.split_once('/'))
        {
            if let Ok(id) = id.parse() {
                self.queues.apply_tail(topic, id, next);
            }
        } else if let Some(level) = key
            .strip_prefix("level/")
            .and_then(|level| level.parse().ok())
        {
            let progress = self.schedule.entry(level).or_insert(0);
            *progress = (*progress).max(next);
        } else if key == "half" {
            self.shared.halfs.write().skip_to(next);
        }
    }

    pub(crate) fn apply_drop(&mut self, topic: &str) {
        self.queues.apply_drop(topic);
        // A topic that comes back begins at 0: its old ends must not be carried behind this record.
        let suffix = format!("/{topic}");
        self.meta
            .retain(|key, _| !(key.starts_with(OWN_META) && key.ends_with(&suffix)));
    }
}
