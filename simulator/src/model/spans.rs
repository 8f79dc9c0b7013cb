//! Which bytes of the log say what, learnt from where the log ended before and after each request: so that a flipped bit can be
//! laid at somebody's door without knowing the format.

use std::collections::BTreeMap;

use super::{HalfId, QueueKey, Waited};

/// Whose record it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A half, or something that happened to it.
    Half(HalfId),
    /// A plain message.
    Plain(QueueKey, u64),
    /// The delivery of a delayed message.
    Delivery(Waited),
    /// A topic.
    Topic(u64),
    /// Halfs that retention carried forward, among others.
    Carried(Vec<HalfId>),
}

/// Log offsets and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    by_start: BTreeMap<u64, (u64, What)>,
}

impl Spans {
    pub(crate) fn add(&mut self, start: u64, end: u64, what: What) {
        if start < end {
            self.by_start.insert(start, (end, what));
        }
    }

    pub(crate) fn at(&self, offset: u64) -> Option<&What> {
        let (_, (end, what)) = self.by_start.range(..=offset).next_back()?;
        (offset < *end).then_some(what)
    }

    /// The log was cut: what lay behind is another's now.
    pub(crate) fn cut(&mut self, end: u64) {
        self.by_start.retain(|start, _| *start < end);
    }
}
