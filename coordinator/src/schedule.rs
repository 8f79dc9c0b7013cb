//! When each undecided half is due: one small timer per half in a binary heap.
//!
//! Timers are never removed singly. A half that was decided, or that has been answered since its timer was
//! set, leaves the timer behind; it is dropped when it comes up or when [`Schedule::compact`] sweeps. The
//! heap grows by a quarter at a time and is compacted when more than a third of it is left over, so a
//! pending half costs at most 16 x 1.25 x 1.5 = 30 bytes here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use escrow_store::HalfSeq;

/// A half together with how far its checks had come when the tag was made.
///
/// Layout of the word: sequence in bits 16.., answered UNKNOWNs modulo 256 in bits 8..16, silent rounds
/// in bits 0..8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(u64);

impl Tag {
    pub(crate) fn new(seq: HalfSeq, answered: u32, silent: u8) -> Self {
        Tag(seq.0 << 16 | u64::from(answered & 0xff) << 8 | u64::from(silent))
    }

    pub(crate) fn seq(self) -> HalfSeq {
        HalfSeq(self.0 >> 16)
    }

    /// Rounds of checks that nobody answered since the last answer.
    pub(crate) fn silent(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Whether the half has not been answered since.
    pub(crate) fn is_current(self, answered: u32) -> bool {
        u32::from(self.0.to_le_bytes()[1]) == answered & 0xff
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    due_ms: u64,
    tag: Tag,
}

/// Every half that waits for its next check.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<Timer>>,
    compact_at: usize,
}

/// Below this many timers compaction is not worth its while.
const COMPACT_MIN: usize = 4096;

impl Schedule {
    /// A schedule from all its timers at once, in linear time and in the same memory.
    pub(crate) fn from_timers(timers: Vec<(u64, Tag)>) -> Self {
        let timers = timers.into_iter();
        let timers = timers.map(|(due_ms, tag)| Reverse(Timer { due_ms, tag }));
        Schedule {
            heap: timers.collect::<Vec<_>>().into(),
            compact_at: COMPACT_MIN,
        }
    }

    /// Asks for `tag` at `due_ms`, besides whatever timers its half has already.
    pub(crate) fn push(&mut self, due_ms: u64, tag: Tag) {
        if self.heap.len() == self.heap.capacity() {
            let more = (self.heap.len() / 4).max(1024);
            self.heap.reserve_exact(more);
        }
        self.heap.push(Reverse(Timer { due_ms, tag }));
    }

    /// The earliest timer's time; the timer may turn out to be left over.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(timer)| timer.due_ms)
    }

    /// The earliest timer that has come up.
    pub(crate) fn pop_due(&mut self, mono_ms: u64) -> Option<Tag> {
        if self.next_due()? > mono_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer.tag)
    }

    /// Brings checks forward: `earlier` has each half once, in order, with its new time.
    ///
    /// A few get a second timer beside the one they have. For many all timers are gone through, so that they do
    /// not take twice the memory.
    pub(crate) fn bring_forward(&mut self, earlier: &[(Tag, u64)]) {
        if earlier.len() < self.heap.len() / 8 {
            for (tag, due_ms) in earlier {
                self.push(*due_ms, *tag);
            }
            return;
        }
        let mut timers = std::mem::take(&mut self.heap).into_vec();
        for Reverse(timer) in &mut timers {
            let found = earlier.binary_search_by_key(&timer.tag.seq(), |(tag, _)| tag.seq());
            if let Some((_, due_ms)) = found.ok().and_then(|at| earlier.get(at)) {
                timer.due_ms = timer.due_ms.min(*due_ms);
            }
        }
        self.heap = timers.into();
    }

    /// Drops left-over timers if there may be many, given how many halfs are undecided.
    pub(crate) fn compact_if_large(&mut self, undecided: usize, keep: impl Fn(Tag) -> bool) {
        let enough = undecided.saturating_add(undecided / 2).max(COMPACT_MIN);
        if self.heap.len() <= enough.max(self.compact_at) {
            return;
        }
        self.heap.retain(|Reverse(timer)| keep(timer.tag));
        let kept = self.heap.len();
        self.heap.shrink_to(kept + kept / 8);
        // What could not be dropped must not be looked at again at every push.
        self.compact_at = kept + kept / 2;
    }

    /// Calls `f` with every timer, in no order.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, Tag)) {
        for Reverse(timer) in &self.heap {
            f(timer.due_ms, timer.tag);
        }
    }

    /// Timers held, left-over ones included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Bytes that the timers occupy.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Timer>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(seq: u64) -> Tag {
        Tag::new(HalfSeq(seq), 0, 0)
    }

    #[test]
    fn a_timer_is_sixteen_bytes() {
        assert_eq!(size_of::<Timer>(), 16);
    }

    #[test]
    fn a_tag_tells_sequence_silence_and_whether_it_is_current() {
        let tag = Tag::new(HalfSeq(0x0000_ffff_ffff_fffe), 300, 7);
        assert_eq!(tag.seq(), HalfSeq(0x0000_ffff_ffff_fffe));
        assert_eq!(tag.silent(), 7);
        assert!(tag.is_current(300));
        assert!(!tag.is_current(301));
    }

    #[test]
    fn timers_come_up_in_order_and_not_before_their_time() {
        let mut schedule = Schedule::default();
        for (due, seq) in [(30, 3), (10, 1), (20, 2), (10, 0)] {
            schedule.push(due, tag(seq));
        }
        assert_eq!(schedule.next_due(), Some(10));
        assert_eq!(schedule.pop_due(9), None);
        let order: Vec<u64> =
            std::iter::from_fn(|| schedule.pop_due(29).map(|t| t.seq().0)).collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(schedule.pop_due(30), Some(tag(3)));
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn a_few_or_many_checks_are_brought_forward() {
        for (moved, timers) in [(2, 102), (50, 100)] {
            let mut schedule = Schedule::default();
            for seq in 0..100 {
                schedule.push(1_000 + seq, tag(seq));
            }
            let earlier: Vec<(Tag, u64)> = (0..moved).map(|seq| (tag(seq), 500 - seq)).collect();
            schedule.bring_forward(&earlier);
            assert_eq!(schedule.len(), timers);
            assert_eq!(schedule.next_due(), Some(501 - moved));
            let due = std::iter::from_fn(|| schedule.pop_due(999));
            assert_eq!(due.count(), usize::try_from(moved).unwrap_or(0));
        }
    }

    #[test]
    fn a_stream_of_decided_halfs_leaves_bounded_memory() {
        let mut schedule = Schedule::default();
        for seq in 0..200_000 {
            schedule.push(seq + 10_000, tag(seq));
            schedule.compact_if_large(10, |t| t.seq().0 + 10 > seq);
        }
        assert!(schedule.len() <= COMPACT_MIN + 1, "{}", schedule.len());
    }

    #[test]
    fn a_pending_half_costs_at_most_32_bytes_here() {
        let mut schedule = Schedule::default();
        let pending = 300_000;
        for seq in 0..pending {
            schedule.push(seq, tag(seq));
        }
        for seq in 0..pending {
            schedule.push(seq + 7, tag(seq));
            schedule.compact_if_large(300_000, |_| seq % 2 == 0);
            if schedule.len() > 450_001 {
                break;
            }
        }
        assert!(schedule.bytes() <= 32 * 300_000, "{}", schedule.bytes());
    }

    #[test]
    fn timers_that_must_stay_are_not_swept_at_every_push() {
        let mut schedule = Schedule::default();
        let looked = std::cell::Cell::new(0_u64);
        for seq in 0..50_000 {
            schedule.push(seq, tag(seq));
            schedule.compact_if_large(0, |_| {
                looked.set(looked.get() + 1);
                true
            });
        }
        assert!(looked.get() < 500_000, "{}", looked.get());
    }
}
