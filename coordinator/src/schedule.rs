//! When each undecided half is due: one small timer per half, in a calendar.
//!
//! Timers of the present second are in a heap, later ones unordered in a list per second: so nothing here ever
//! takes long, however many halfs are pending. Timers are not removed singly. A half that was decided, or was
//! answered since its timer was set, leaves the timer behind; it is dropped when it comes up, or before by
//! [`Schedule::tidy`], which looks at a few timers whenever one is set. Lists grow by a quarter at a time and at
//! most about a third of the timers are left over, so a pending half costs less than 32 bytes here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::RangeInclusive;

use escrow_store::HalfSeq;

/// A half together with how far its checks had come when the tag was made.
///
/// Layout of the word: sequence in bits 16.., answered UNKNOWNs modulo 256 in bits 8..16, silent rounds
/// in bits 0..8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(u64);

impl Tag {
    pub(crate) fn new(seq: HalfSeq, answered: u32, silent: u8) -> Self {
        Tag(seq.0 << 16 | u64::from(answered & 0xff) << 8 | u64::from(silent))
    }

    pub(crate) fn seq(self) -> HalfSeq {
        HalfSeq(self.0 >> 16)
    }

    /// All tags that a half may have.
    pub(crate) fn all_of(seq: HalfSeq) -> RangeInclusive<Tag> {
        Tag(seq.0 << 16)..=Tag(seq.0 << 16 | 0xffff)
    }

    /// The one behind this.
    pub(crate) fn next(self) -> Tag {
        Tag(self.0.saturating_add(1))
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
    /// Timers before `horizon_ms`.
    near: BinaryHeap<Reverse<Timer>>,
    horizon_ms: u64,
    /// All others, by second.
    later: BTreeMap<u64, Vec<Timer>>,
    len: usize,
    /// Where tidying goes on: a second, and an index in its list.
    hand: (u64, usize),
}

/// Length of one list of the calendar.
const LIST_MS: u64 = 1_000;
/// Left-over timers that are not worth the tidying.
const LEFT_OVER_MIN: usize = 4_096;
/// Timers that tidying looks at in one call.
const TIDIED: usize = 8;

impl Schedule {
    /// Asks for `tag` at `due_ms`, besides whatever timers its half has already.
    pub(crate) fn push(&mut self, due_ms: u64, tag: Tag) {
        let timer = Timer { due_ms, tag };
        self.len += 1;
        if due_ms < self.horizon_ms {
            self.near.push(Reverse(timer));
            return;
        }
        let list = self.later.entry(due_ms / LIST_MS).or_default();
        if list.len() == list.capacity() {
            list.reserve_exact((list.len() / 4).max(4));
        }
        list.push(timer);
    }

    /// When to look for timers that have come up: not after the earliest, and hardly ever before it.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let near = self.near.peek().map(|Reverse(timer)| timer.due_ms);
        near.or_else(|| self.later.keys().next().map(|second| second * LIST_MS))
    }

    /// The earliest timer that has come up.
    pub(crate) fn pop_due(&mut self, mono_ms: u64) -> Option<Tag> {
        while self.next_due()? <= mono_ms {
            if let Some(Reverse(timer)) = self.near.pop() {
                self.len -= 1;
                return Some(timer.tag);
            }
            if let Some((second, list)) = self.later.pop_first() {
                self.horizon_ms = (second + 1) * LIST_MS;
                self.near = list.into_iter().map(Reverse).collect::<Vec<_>>().into();
            }
        }
        None
    }

    /// Looks at a few timers and drops those that need not be kept, if many are left over, given how many halfs
    /// are undecided.
    pub(crate) fn tidy(&mut self, undecided: usize, keep: impl Fn(Tag) -> bool) {
        if self.len <= undecided + undecided / 4 + LEFT_OVER_MIN {
            return;
        }
        for _ in 0..TIDIED {
            let (second, index) = self.hand;
            let Some((found, list)) = self.later.range_mut(second..).next() else {
                self.hand = (0, 0);
                return;
            };
            let (found, index) = (*found, if *found == second { index } else { 0 });
            match list.get(index) {
                Some(timer) if keep(timer.tag) => self.hand = (found, index + 1),
                Some(_) => {
                    list.swap_remove(index);
                    self.len -= 1;
                    self.hand = (found, index);
                }
                None => {
                    list.shrink_to(list.len() + list.len() / 4);
                    if list.is_empty() {
                        self.later.remove(&found);
                    }
                    self.hand = (found + 1, 0);
                }
            }
        }
    }

    /// Calls `f` with every timer, in no order.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, Tag)) {
        let near = self.near.iter().map(|Reverse(timer)| timer);
        for timer in near.chain(self.later.values().flatten()) {
            f(timer.due_ms, timer.tag);
        }
    }

    /// Bytes that the timers occupy.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let later: usize = self.later.values().map(Vec::capacity).sum();
        (self.near.capacity() + later) * size_of::<Timer>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(seq: u64) -> Tag {
        Tag::new(HalfSeq(seq), 0, 0)
    }

    fn drain(schedule: &mut Schedule, mono_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.pop_due(mono_ms).map(|tag| tag.seq().0)).collect()
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
        for (due, seq) in [(30_500, 4), (30, 3), (10, 1), (20, 2), (10, 0)] {
            schedule.push(due, tag(seq));
        }
        assert_eq!(drain(&mut schedule, 9), [0; 0]);
        assert_eq!(schedule.next_due(), Some(10));
        assert_eq!(drain(&mut schedule, 29), [0, 1, 2]);
        assert_eq!(drain(&mut schedule, 30), [3]);
        assert_eq!(drain(&mut schedule, 30_499), [0; 0]);
        assert_eq!(schedule.next_due(), Some(30_500));
        schedule.push(5, tag(5));
        schedule.push(30_400, tag(6));
        assert_eq!(drain(&mut schedule, 30_500), [5, 6, 4]);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn many_seconds_may_pass_between_two_looks() {
        let mut schedule = Schedule::default();
        for seq in 0..100 {
            schedule.push(seq * 997, tag(seq));
        }
        assert_eq!(
            drain(&mut schedule, 1_000_000),
            (0..100).collect::<Vec<_>>()
        );
        assert_eq!(schedule.len, 0);
    }

    #[test]
    fn a_stream_of_decided_halfs_leaves_bounded_memory() {
        let mut schedule = Schedule::default();
        for seq in 0..200_000 {
            schedule.push(seq / 50 + 10_000, tag(seq));
            schedule.tidy(10, |tag| tag.seq().0 + 10 > seq);
            let _ = drain(&mut schedule, seq / 50);
        }
        assert!(schedule.len <= LEFT_OVER_MIN * 2, "{}", schedule.len);
        assert!(
            schedule.bytes() <= LEFT_OVER_MIN * 4 * 16,
            "{}",
            schedule.bytes()
        );
    }

    #[test]
    fn a_pending_half_costs_at_most_32_bytes_here() {
        let pending: usize = 60_000;
        let mut schedule = Schedule::default();
        // Every half is answered again and again, so its former timers are left over.
        for round in 0..5_u32 {
            for seq in 0..60_000 {
                let due = 1_000_000 + seq + u64::from(round) * 77_000;
                schedule.push(due, Tag::new(HalfSeq(seq), round, 0));
                schedule.tidy(pending, |tag| {
                    let answered = if tag.seq().0 <= seq {
                        round
                    } else {
                        round.saturating_sub(1)
                    };
                    tag.is_current(answered)
                });
            }
            assert!(
                schedule.bytes() <= 32 * pending,
                "{} in round {round}",
                schedule.bytes()
            );
        }
    }

    #[test]
    fn tidying_keeps_what_is_to_be_kept() {
        let mut schedule = Schedule::default();
        for seq in 0..20_000 {
            schedule.push(seq, tag(seq));
            schedule.tidy(0, |tag| tag.seq().0 % 3 == 0);
        }
        for _ in 0..20_000 {
            schedule.tidy(0, |tag| tag.seq().0 % 3 == 0);
        }
        let kept = drain(&mut schedule, 20_000);
        let due = kept.iter().filter(|seq| *seq % 3 == 0).count();
        assert_eq!(due, 6_667);
        assert!(kept.is_sorted());
    }
}
