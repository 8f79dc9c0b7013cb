use super::*;
use crate::NameId;

pub(crate) fn entry(seq: u64) -> HalfEntry {
    HalfEntry {
        handle: PhysicalOffset(4096 + seq * 8),
        last_op: PhysicalOffset(0),
        store_timestamp: 1,
        unique_hash: seq,
        topic: NameId(0),
        group: NameId(1),
        client: NameId(2),
        queue_id: 3,
        size: 100,
        immunity: NO_IMMUNITY,
        tags: -4,
        answered: 0,
        state: HalfState::Pending,
        flags: 0,
    }
}

fn queue(halfs: u64) -> HalfQueue {
    let mut queue = HalfQueue::default();
    for seq in 0..halfs {
        queue.insert(HalfSeq(seq), entry(seq));
    }
    queue
}

fn state(queue: &HalfQueue, seq: u64) -> Option<HalfState> {
    match queue.locate(HalfSeq(seq)) {
        Where::Memory(row) => Some(row.entry.state),
        Where::File | Where::Nowhere | Where::Left => None,
    }
}

#[test]
fn the_first_decision_stands() {
    let mut queue = queue(2);
    queue.apply_op(HalfSeq(0), Kind::Commit, Source::Check, PhysicalOffset(100));
    queue.apply_op(
        HalfSeq(0),
        Kind::Rollback,
        Source::Check,
        PhysicalOffset(200),
    );
    queue.apply_op(HalfSeq(0), Kind::Park, Source::Check, PhysicalOffset(300));
    assert_eq!(state(&queue, 0), Some(HalfState::Committed));
    assert_eq!((queue.pending(), queue.parked()), (1, 0));
}

#[test]
fn an_op_applied_twice_counts_once() {
    let mut queue = queue(1);
    queue.apply_op(HalfSeq(0), Kind::Answer, Source::Check, PhysicalOffset(100));
    queue.apply_op(HalfSeq(0), Kind::Answer, Source::Check, PhysicalOffset(100));
    let Where::Memory(row) = queue.locate(HalfSeq(0)) else {
        panic!("in memory")
    };
    assert_eq!(row.entry.answered, 1);
}

#[test]
fn parked_halfs_come_back() {
    let mut queue = queue(1);
    queue.apply_op(HalfSeq(0), Kind::Park, Source::Check, PhysicalOffset(100));
    assert_eq!((queue.pending(), queue.parked()), (0, 1));
    queue.apply_op(HalfSeq(0), Kind::Resume, Source::Check, PhysicalOffset(200));
    assert_eq!((queue.pending(), queue.parked()), (1, 0));
}

#[test]
fn decided_entries_leave_memory_when_they_are_written() {
    let mut queue = queue(200);
    for seq in 0..150 {
        queue.apply_op(
            HalfSeq(seq),
            Kind::Rollback,
            Source::Check,
            PhysicalOffset(10_000 + seq),
        );
    }
    let pages: Vec<u64> = queue.take_dirty().iter().map(|page| page.number).collect();
    assert_eq!(pages, [0, 1, 2, 3]);
    queue.apply_op(
        HalfSeq(151),
        Kind::Commit,
        Source::Check,
        PhysicalOffset(20_000),
    );
    queue.written(pages.into_iter(), 200);
    // Page 2 (120..180) changed after it was taken.
    assert_eq!(queue.in_memory(), 200 - 120);
    assert_eq!(queue.locate(HalfSeq(5)), Where::File);
}

#[test]
fn an_answer_that_nobody_asked_for_does_not_count() {
    let mut queue = queue(1);
    queue.apply_op(
        HalfSeq(0),
        Kind::Answer,
        Source::Producer,
        PhysicalOffset(100),
    );
    let Where::Memory(row) = queue.locate(HalfSeq(0)) else {
        panic!("in memory")
    };
    assert_eq!(
        (row.entry.answered, row.entry.last_op),
        (0, PhysicalOffset(100))
    );
}

#[test]
fn the_oldest_undecided_of_a_group_is_found_in_steps_that_are_not_repeated() {
    let group = |group, seq| HalfEntry {
        group: NameId(group),
        ..entry(seq)
    };
    let mut queue = HalfQueue::default();
    queue.insert(HalfSeq(0), group(7, 0));
    for seq in 1..1000 {
        queue.insert(HalfSeq(seq), group(1, seq));
    }
    queue.insert(HalfSeq(1000), group(7, 1000));
    assert_eq!(
        queue.oldest_of(NameId(7), 1),
        Oldest::Half(HalfSeq(0), group(7, 0))
    );
    queue.apply_op(HalfSeq(0), Kind::Commit, Source::Check, PhysicalOffset(100));
    assert_eq!(queue.oldest_of(NameId(7), 600), Oldest::NotYet);
    let found = Oldest::Half(HalfSeq(1000), group(7, 1000));
    assert_eq!(queue.oldest_of(NameId(7), 600), found);
    assert_eq!(queue.oldest_of(NameId(7), 1), found);
    queue.apply_op(
        HalfSeq(1000),
        Kind::Rollback,
        Source::Check,
        PhysicalOffset(200),
    );
    assert_eq!(queue.oldest_of(NameId(7), 1), Oldest::None);
    assert_eq!(queue.oldest_of(NameId(8), 1), Oldest::None);
    queue.insert(HalfSeq(1001), group(7, 1001));
    assert_eq!(
        queue.oldest_of(NameId(7), 1),
        Oldest::Half(HalfSeq(1001), group(7, 1001))
    );
}

#[test]
fn undecided_halfs_are_counted_by_topic_and_group_whatever_happens_to_them() {
    let mut queue = queue(3);
    let counts = |queue: &HalfQueue| {
        let topics: Vec<_> = queue.undecided_by_topic().collect();
        (topics, queue.undecided_of(NameId(1)))
    };
    assert_eq!(counts(&queue), (vec![(NameId(0), 3)], 3));
    queue.apply_op(HalfSeq(0), Kind::Park, Source::Policy, PhysicalOffset(100));
    queue.apply_op(HalfSeq(1), Kind::Answer, Source::Check, PhysicalOffset(101));
    queue.relocate(HalfSeq(2), 9000, entry(2));
    assert_eq!(counts(&queue), (vec![(NameId(0), 3)], 3), "still undecided");
    queue.apply_op(HalfSeq(0), Kind::Commit, Source::Check, PhysicalOffset(102));
    queue.apply_op(
        HalfSeq(1),
        Kind::Rollback,
        Source::Check,
        PhysicalOffset(103),
    );
    queue.apply_op(
        HalfSeq(1),
        Kind::Conflict,
        Source::Check,
        PhysicalOffset(104),
    );
    assert_eq!(counts(&queue), (vec![(NameId(0), 1)], 1));
}
