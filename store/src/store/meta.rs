//! Durable keys, and the end of a topic.

use super::{Store, check_name};
use crate::commit_log::Head;
use crate::record::meta::META_DELETE;
use crate::record::{Kind, MetaBody};
use crate::state::{MetaValue, OWN_META};
use crate::{Error, PhysicalOffset};

impl Store {
    /// Sets a durable key: topics, groups and the like.
    ///
    /// # Errors
    /// As [`Store::append_message`]; refused for lack of space only when the reserve is gone.
    pub fn set_meta(
        &mut self,
        now_ms: i64,
        key: &str,
        value: &[u8],
    ) -> Result<PhysicalOffset, Error> {
        self.append_meta(now_ms, MetaBody { key, value }, 0)
    }

    /// Removes a durable key.
    ///
    /// # Errors
    /// As [`Store::set_meta`].
    pub fn delete_meta(&mut self, now_ms: i64, key: &str) -> Result<PhysicalOffset, Error> {
        self.append_meta(now_ms, MetaBody { key, value: &[] }, META_DELETE)
    }

    pub(crate) fn append_meta(
        &mut self,
        now_ms: i64,
        meta: MetaBody<'_>,
        flags: u16,
    ) -> Result<PhysicalOffset, Error> {
        self.log.check_usable()?;
        self.space.check_op()?;
        check_name("key", meta.key)?;
        let head = Head {
            flags,
            subject: crate::key_hash(meta.key),
            ..Head::of(Kind::Meta)
        };
        let span = self
            .log
            .append(head, now_ms, meta.len(), |_, out| meta.put(out))?;
        self.note(&span);
        self.state
            .apply_meta(meta, flags & META_DELETE != 0, span.offset);
        Ok(PhysicalOffset(span.end))
    }

    /// The value of a key.
    pub fn meta(&self, key: &str) -> Option<&[u8]> {
        self.state.meta.get(key).map(|meta| meta.value.as_slice())
    }

    /// Keys that begin with `prefix` and their values, sorted.
    pub fn meta_iter(&self, prefix: &str) -> impl Iterator<Item = (&str, &[u8])> {
        let from = self.state.meta.range::<str, _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ));
        let pairs = from.map(|(key, MetaValue { value, .. })| (key.as_str(), value.as_slice()));
        pairs
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| !key.starts_with(OWN_META))
    }

    /// Ends a topic: its queues go, and begin at 0 if it comes back. Undecided halfs stay.
    ///
    /// # Errors
    /// As [`Store::set_meta`].
    pub fn drop_topic(&mut self, now_ms: i64, topic: &str) -> Result<PhysicalOffset, Error> {
        self.log.check_usable()?;
        self.space.check_op()?;
        check_name("topic", topic)?;
        let head = Head {
            subject: crate::hash::topic_hash(topic),
            ..Head::of(Kind::DropTopic)
        };
        let span = self.log.append(head, now_ms, topic.len(), |_, out| {
            out.extend_from_slice(topic.as_bytes())
        })?;
        self.note(&span);
        self.state.apply_drop(topic);
        Ok(PhysicalOffset(span.end))
    }
}
