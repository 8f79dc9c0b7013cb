//! Halfs whose check is due and which wait for somebody to ask, or for their turn.
//!
//! One queue per producer group, served in turn, so that a group with a million due halfs does not keep a
//! small one waiting; and one per connection that has as many checks in flight as it may.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use escrow_store::HalfSeq;

use crate::members::ConnectionId;
use crate::schedule::Tag;

/// A half's place in the queue of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Before the others: somebody wants it now, or it was asked about already.
    Next,
    /// After the older ones.
    InOrder,
}

/// Halfs in a line that is gone through from the oldest to the youngest, again and again. One that comes while that goes on
/// waits for the next time, whether it is older or younger: when more falls due than may be asked about, neither keeps the
/// other from its turn.
#[derive(Debug, Default)]
struct Line {
    /// Each half once, however many of its timers have come up.
    tags: BTreeSet<Tag>,
    /// Where this time goes on, and where it ends.
    here: Tag,
    end: Tag,
}

impl Line {
    /// Adds a half, or how far its checks have come if it is there: what was known of it before may be out of date.
    fn add(&mut self, tag: Tag) {
        let known = self.tags.range(Tag::all_of(tag.seq())).next().copied();
        if let Some(known) = known {
            self.tags.remove(&known);
        }
        self.tags.insert(tag);
    }

    /// Puts back what was taken last.
    fn put_back(&mut self, tag: Tag) {
        self.add(tag);
        self.here = self.here.min(tag);
        self.end = self.end.max(tag);
    }

    fn take(&mut self) -> Option<Tag> {
        let rest = (self.here <= self.end).then(|| self.tags.range(self.here..=self.end));
        let tag = match rest.and_then(|mut rest| rest.next().copied()) {
            Some(tag) => tag,
            None => {
                self.end = *self.tags.last()?;
                *self.tags.first()?
            }
        };
        self.tags.remove(&tag);
        self.here = tag.next();
        Some(tag)
    }

    fn holds(&self, seq: HalfSeq) -> bool {
        self.tags.range(Tag::all_of(seq)).next().is_some()
    }
}

#[derive(Debug, Default)]
struct Queue {
    first: VecDeque<Tag>,
    line: Line,
    in_turn: bool,
    nobody_since: Option<i64>,
}

/// Below this many halfs in the queues compaction is not worth its while.
const COMPACT_MIN: usize = 4096;

impl Queue {
    fn take(&mut self) -> Option<Tag> {
        self.first.pop_front().or_else(|| self.line.take())
    }

    fn len(&self) -> usize {
        self.first.len() + self.line.tags.len()
    }
}

/// A producer group whose halfs wait since nobody is connected who could be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingGroup {
    /// The group.
    pub group: String,
    /// About how many of its halfs are due; some may have been decided meanwhile.
    pub halfs: usize,
    /// Wall time in milliseconds since when.
    pub since_ms: i64,
}

/// The queues of due halfs.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    groups: HashMap<Arc<str>, Queue>,
    turn: VecDeque<Arc<str>>,
    backlogs: HashMap<ConnectionId, Line>,
    freed: VecDeque<ConnectionId>,
}

impl Ready {
    /// A half of `group` is due; `somebody` says whether anyone is there to be asked.
    pub(crate) fn push(&mut self, group: &str, tag: Tag, turn: Turn, somebody: bool, wall_ms: i64) {
        let name: Arc<str> = match self.groups.get_key_value(group) {
            Some((name, _)) => name.clone(),
            None => group.into(),
        };
        let queue = self.groups.entry(name.clone()).or_default();
        match turn {
            Turn::Next => queue.first.push_back(tag),
            Turn::InOrder => queue.line.add(tag),
        }
        if !somebody {
            queue.nobody_since.get_or_insert(wall_ms);
        } else if !queue.in_turn {
            queue.in_turn = true;
            queue.nobody_since = None;
            self.turn.push_back(name);
        }
    }

    /// Somebody is there to be asked for a group.
    pub(crate) fn wake(&mut self, group: &str) {
        if let Some((name, _)) = self.groups.get_key_value(group) {
            let name = name.clone();
            if let Some(queue) = self.groups.get_mut(&name) {
                queue.nobody_since = None;
                if !queue.in_turn {
                    queue.in_turn = true;
                    self.turn.push_back(name);
                }
            }
        }
    }

    /// The next half to ask about; its group goes to the end of the line.
    pub(crate) fn next(&mut self) -> Option<Tag> {
        while let Some(name) = self.turn.pop_front() {
            let Some(queue) = self.groups.get_mut(&name) else {
                continue;
            };
            let Some(tag) = queue.take() else {
                self.groups.remove(&name);
                continue;
            };
            self.turn.push_back(name);
            return Some(tag);
        }
        None
    }

    /// There is nobody to ask for a group: its half goes back to the front, and the group waits.
    pub(crate) fn nobody(&mut self, group: &str, tag: Tag, wall_ms: i64) {
        // It has just had its turn, so it is usually the last in line.
        if self.turn.back().is_some_and(|name| &**name == group) {
            self.turn.pop_back();
        } else {
            self.turn.retain(|name| &**name != group);
        }
        let queue = match self.groups.get_mut(group) {
            Some(queue) => queue,
            None => self.groups.entry(group.into()).or_default(),
        };
        queue.line.put_back(tag);
        queue.in_turn = false;
        queue.nobody_since.get_or_insert(wall_ms);
    }

    /// A half that waits for one connection to have room.
    pub(crate) fn push_backlog(&mut self, connection: ConnectionId, tag: Tag) {
        self.backlogs.entry(connection).or_default().add(tag);
    }

    /// A connection has room again.
    pub(crate) fn freed(&mut self, connection: ConnectionId) {
        if self.backlogs.contains_key(&connection) && !self.freed.contains(&connection) {
            self.freed.push_back(connection);
        }
    }

    /// The next half that waited for a connection which `has_room` now.
    pub(crate) fn next_backlogged(
        &mut self,
        has_room: impl Fn(ConnectionId) -> bool,
    ) -> Option<Tag> {
        while let Some(connection) = self.freed.front().copied() {
            if has_room(connection)
                && let Some(line) = self.backlogs.get_mut(&connection)
            {
                if let Some(tag) = line.take() {
                    return Some(tag);
                }
                self.backlogs.remove(&connection);
            }
            self.freed.pop_front();
        }
        None
    }

    /// What waited for a connection that is gone.
    pub(crate) fn take_backlog(&mut self, connection: ConnectionId) -> BTreeSet<Tag> {
        self.freed.retain(|other| *other != connection);
        self.backlogs.remove(&connection).unwrap_or_default().tags
    }

    /// Whether a half could be asked about, if the pace allows it.
    pub(crate) fn has_work(&self) -> bool {
        !self.turn.is_empty() || !self.freed.is_empty()
    }

    /// Drops what need not be asked about any more if there may be much of it, given how many halfs are
    /// undecided.
    pub(crate) fn compact_if_large(&mut self, undecided: usize, keep: impl Fn(Tag) -> bool) {
        if self.len() > undecided.saturating_add(undecided / 2).max(COMPACT_MIN) {
            self.retain(keep);
        }
    }

    fn retain(&mut self, keep: impl Fn(Tag) -> bool) {
        for line in self.backlogs.values_mut() {
            line.tags.retain(|tag| keep(*tag));
        }
        for queue in self.groups.values_mut() {
            queue.first.retain(|tag| keep(*tag));
            queue.line.tags.retain(|tag| keep(*tag));
        }
        self.groups
            .retain(|_, queue| queue.len() > 0 || queue.in_turn);
    }

    /// Halfs held in all queues; some may have been decided meanwhile.
    fn len(&self) -> usize {
        let queued: usize = self.groups.values().map(Queue::len).sum();
        queued
            + self
                .backlogs
                .values()
                .map(|line| line.tags.len())
                .sum::<usize>()
    }

    /// Since when nobody is there to be asked for a group whose halfs are due.
    pub(crate) fn nobody_since(&self, group: &str) -> Option<i64> {
        self.groups.get(group)?.nobody_since
    }

    /// Whether a half of `group` is in its queue, or waits for a connection to have room.
    pub(crate) fn holds(&self, group: &str, seq: HalfSeq) -> bool {
        let in_queue =
            |queue: &Queue| queue.line.holds(seq) || queue.first.iter().any(|tag| tag.seq() == seq);
        self.groups.get(group).is_some_and(in_queue)
            || self.backlogs.values().any(|line| line.holds(seq))
    }

    /// The groups with nobody to ask, by name.
    pub(crate) fn waiting_groups(&self) -> Vec<WaitingGroup> {
        let mut waiting: Vec<WaitingGroup> = self
            .groups
            .iter()
            .filter_map(|(name, queue)| {
                Some(WaitingGroup {
                    group: name.to_string(),
                    halfs: queue.len(),
                    since_ms: queue.nobody_since?,
                })
            })
            .collect();
        waiting.sort_by(|a, b| a.group.cmp(&b.group));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(seq: u64) -> Tag {
        Tag::new(HalfSeq(seq), 0, 0)
    }

    fn drain(ready: &mut Ready) -> Vec<u64> {
        std::iter::from_fn(|| ready.next().map(|tag| tag.seq().0)).collect()
    }

    #[test]
    fn groups_take_turns() {
        let mut ready = Ready::default();
        for seq in 0..4 {
            ready.push("large", tag(seq), Turn::InOrder, true, 0);
        }
        ready.push("small", tag(100), Turn::InOrder, true, 0);
        assert_eq!(drain(&mut ready), [0, 100, 1, 2, 3]);
        assert!(!ready.has_work());
    }

    #[test]
    fn a_group_with_nobody_waits_until_somebody_comes() {
        let mut ready = Ready::default();
        ready.push("g", tag(1), Turn::InOrder, false, 77);
        ready.push("g", tag(2), Turn::InOrder, false, 99);
        assert!(!ready.has_work());
        assert_eq!(ready.nobody_since("g"), Some(77));
        assert_eq!(
            ready.waiting_groups(),
            [WaitingGroup {
                group: "g".into(),
                halfs: 2,
                since_ms: 77
            }]
        );
        ready.wake("g");
        assert_eq!(ready.nobody_since("g"), None);
        assert_eq!(drain(&mut ready), [1, 2]);
    }

    #[test]
    fn a_half_that_found_nobody_keeps_its_place() {
        let mut ready = Ready::default();
        ready.push("g", tag(1), Turn::InOrder, true, 0);
        ready.push("g", tag(2), Turn::InOrder, true, 0);
        let Some(first) = ready.next() else {
            panic!("two are ready")
        };
        ready.nobody("g", first, 5);
        assert!(!ready.has_work());
        ready.wake("g");
        assert_eq!(drain(&mut ready), [1, 2]);
    }

    #[test]
    fn a_backlog_is_served_when_its_connection_has_room() {
        let mut ready = Ready::default();
        let connection = ConnectionId(1);
        ready.push_backlog(connection, tag(1));
        ready.push_backlog(connection, tag(2));
        assert!(!ready.has_work());
        ready.freed(connection);
        assert_eq!(ready.next_backlogged(|_| true), Some(tag(1)));
        assert_eq!(ready.next_backlogged(|_| false), None);
        assert!(!ready.has_work());
        ready.freed(connection);
        assert_eq!(ready.next_backlogged(|_| true), Some(tag(2)));
        assert_eq!(ready.next_backlogged(|_| true), None);
        assert_eq!(ready.len(), 0);
    }

    #[test]
    fn a_half_is_in_the_queue_of_its_group_once_and_older_ones_come_before_it() {
        let mut ready = Ready::default();
        for seq in [5, 3, 5, 4] {
            ready.push("g", tag(seq), Turn::InOrder, true, 0);
        }
        ready.push("g", Tag::new(HalfSeq(4), 0, 1), Turn::InOrder, true, 0);
        ready.push("g", tag(9), Turn::Next, true, 0);
        assert!(ready.holds("g", HalfSeq(5)) && ready.holds("g", HalfSeq(9)));
        assert!(!ready.holds("h", HalfSeq(5)));
        assert_eq!(drain(&mut ready), [9, 3, 4, 5]);
    }

    #[test]
    fn neither_older_nor_younger_halfs_keep_the_others_from_their_turn() {
        let mut ready = Ready::default();
        for seq in 10..20 {
            ready.push("g", tag(seq), Turn::InOrder, true, 0);
        }
        let mut taken = Vec::new();
        for young in 20..40 {
            let Some(tag) = ready.next() else {
                panic!("ten are always ready")
            };
            taken.push(tag.seq().0);
            // What was asked about is due again at once, and a younger one falls due.
            ready.push("g", tag, Turn::InOrder, true, 0);
            ready.push("g", Tag::new(HalfSeq(young), 0, 0), Turn::InOrder, true, 0);
        }
        let once: Vec<u64> = (10..20).chain(10..20).collect();
        assert_eq!(taken, once);
        let next = ready.next().map(|tag| tag.seq().0);
        assert_eq!(next, Some(20), "those that came meanwhile");
    }

    #[test]
    fn what_was_known_of_a_half_that_waits_is_replaced_by_what_is_known_now() {
        let mut ready = Ready::default();
        ready.push("g", tag(1), Turn::InOrder, true, 0);
        let answered = Tag::new(HalfSeq(1), 1, 0);
        ready.push("g", answered, Turn::InOrder, true, 0);
        assert_eq!(ready.next(), Some(answered));
        assert_eq!(ready.next(), None);
    }

    #[test]
    fn what_is_decided_can_be_swept_out() {
        let mut ready = Ready::default();
        for seq in 0..10 {
            ready.push("g", tag(seq), Turn::InOrder, false, 0);
        }
        ready.retain(|tag| tag.seq().0 == 3);
        assert_eq!(ready.len(), 1);
        ready.retain(|_| false);
        assert!(ready.waiting_groups().is_empty());
    }
}
