//! Walking through the decisions in the log.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::*;
use escrow_protocol::message;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::Loss;
use escrow_store::{
    DecisionPage, DecisionQuery, DecisionRecord, Durability, HalfPlaced, MemoryDisk, NewHalf, Op,
    OpKind, OpPlaced, Reader, Source, Store,
};

const ALL: DecisionQuery<'static> = DecisionQuery {
    group: None,
    since_ms: 0,
    from: None,
    decisions_max: 1_000,
    bytes_max: u64::MAX,
};

/// A half and what became of it, told apart by its key.
struct Case {
    half: HalfPlaced,
    op: OpPlaced,
    key: String,
}

fn half_of(store: &mut Store, group: &str, now: i64, key: &str) -> HalfPlaced {
    let properties = properties(key, "", "");
    let half = NewHalf {
        message: plain("T", 1, b"body", &properties),
        group,
        client_id: "client@1",
        immunity_ms: None,
    };
    store.append_half(now, &half, Durability::Synced).unwrap()
}

fn decide(
    store: &mut Store,
    half: &HalfPlaced,
    now: i64,
    kind: OpKind,
    source: Source,
) -> OpPlaced {
    let op = Op { source, ..op(kind) };
    store
        .append_op(now, half.seq, &op, Durability::Synced)
        .unwrap()
}

/// Halfs decided in the other order than they came, a second apart, with other records between.
fn cases(store: &mut Store, count: i64) -> Vec<Case> {
    let halfs: Vec<_> = (0..count)
        .map(|n| {
            let key = format!("U{n}");
            send(store, "other", 0, b"between");
            (half_of(store, "G", NOW, &key), key)
        })
        .collect();
    let decided = (1..).zip(halfs.into_iter().rev()).map(|(n, (half, key))| {
        let kind = match n % 2 {
            0 => OpKind::Rollback,
            _ => OpKind::Commit { queue_id: 1 },
        };
        let op = decide(store, &half, NOW + 1000 * n, kind, Source::Producer);
        Case { half, op, key }
    });
    let cases = decided.collect();
    settle(store);
    cases
}

fn key(record: &DecisionRecord) -> Option<String> {
    let message = message::decode(record.image.as_deref()?).unwrap();
    message.properties().get("UNIQ_KEY").map(str::to_owned)
}

fn pages(reader: &Reader, query: DecisionQuery<'_>) -> Vec<DecisionPage> {
    let mut pages = vec![reader.decisions(&query).unwrap()];
    while let Some(next) = pages.last().and_then(|page| page.next) {
        let from = Some(next);
        pages.push(reader.decisions(&DecisionQuery { from, ..query }).unwrap());
    }
    pages
}

fn all(reader: &Reader, query: DecisionQuery<'_>) -> Vec<DecisionRecord> {
    let pages = pages(reader, query).into_iter();
    pages.flat_map(|page| page.decisions).collect()
}

#[track_caller]
fn assert_lists(found: &[DecisionRecord], cases: &[Case]) {
    let expected: Vec<_> = cases
        .iter()
        .map(|case| (case.op.physical, Some(case.key.clone())))
        .collect();
    let found: Vec<_> = found
        .iter()
        .map(|record| (record.physical, key(record)))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn decisions_come_in_their_order_with_what_their_halfs_say() {
    let (mut store, _) = open(&MemoryDisk::new());
    let cases = cases(&mut store, 5);
    let found = all(&store.reader(), ALL);
    assert_lists(&found, &cases);
    assert_eq!(found[0].resolution, Resolution::Commit);
    assert_eq!(found[1].resolution, Resolution::Rollback);
    for (record, case) in found.iter().zip(&cases) {
        assert_eq!(record.seq, case.half.seq);
        assert_eq!(record.handle, Some(case.half.physical));
        assert_eq!(record.decided_at, case.op.store_timestamp);
        assert_eq!(record.stored_at, Some(NOW));
        assert_eq!(record.topic.as_deref(), Some("T"));
        assert_eq!(record.group.as_deref(), Some("G"));
        assert_eq!(record.source, Source::Producer);
    }
}

#[test]
fn pages_of_any_size_give_the_same_over_many_segments_and_a_restart() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open_with(&disk, short_segments());
    let cases = cases(&mut store, 40);
    assert!(store.reader().log_range().1.0 > 2 * (12 << 10));
    drop(store);
    let (store, _) = open_with(&disk.crash(Loss::All), short_segments());
    let reader = store.reader();
    for decisions_max in [1, 7, 1_000] {
        for bytes_max in [0, 100, 5_000, u64::MAX] {
            let query = DecisionQuery {
                decisions_max,
                bytes_max,
                ..ALL
            };
            assert_lists(&all(&reader, query), &cases);
            for page in pages(&reader, query) {
                assert!(page.decisions.len() <= decisions_max);
                assert_eq!((page.unreadable_bytes, page.kept_since), (0, Some(NOW)));
            }
        }
    }
}

#[test]
fn a_time_leaves_out_what_was_decided_before() {
    let (mut store, _) = open_with(&MemoryDisk::new(), short_segments());
    let cases = cases(&mut store, 40);
    for skipped in [0, 1, 20, 39, 40] {
        let since_ms = NOW + 1000 * i64::try_from(skipped + 1).unwrap();
        let query = DecisionQuery { since_ms, ..ALL };
        assert_lists(&all(&store.reader(), query), &cases[skipped..]);
    }
    let since_ms = NOW + 1000 * 39;
    let query = DecisionQuery { since_ms, ..ALL };
    let found = store.reader().decisions(&DecisionQuery {
        bytes_max: 12 << 10,
        ..query
    });
    assert_lists(&found.unwrap().decisions, &cases[38..]);
}

#[test]
fn a_group_leaves_out_the_others() {
    let (mut store, _) = open(&MemoryDisk::new());
    for (group, key) in [("A", "a1"), ("B", "b1"), ("A", "a2")] {
        let half = half_of(&mut store, group, NOW, key);
        decide(&mut store, &half, NOW, OpKind::Rollback, Source::Producer);
    }
    settle(&mut store);
    let query = DecisionQuery {
        group: Some("A"),
        ..ALL
    };
    let found = all(&store.reader(), query);
    let keys: Vec<_> = found.iter().filter_map(key).collect();
    assert_eq!(keys, ["a1", "a2"]);
}

#[test]
fn only_durable_decisions_are_listed_and_no_other_ops() {
    let (mut store, _) = open(&MemoryDisk::new());
    let half = half_of(&mut store, "G", NOW, "U");
    let unknown = OpKind::Answer {
        resolution: Resolution::Unknown,
    };
    decide(&mut store, &half, NOW, unknown, Source::Check);
    decide(&mut store, &half, NOW, OpKind::Park, Source::Policy);
    settle(&mut store);
    let decided = decide(&mut store, &half, NOW, OpKind::Rollback, Source::Operator);
    store.write().unwrap();
    let page = store.reader().decisions(&ALL).unwrap();
    assert_eq!((page.decisions.len(), page.next), (0, None));
    store.sync().unwrap();
    let attempted = OpKind::Conflict {
        attempted: Resolution::Commit,
    };
    decide(&mut store, &half, NOW, attempted, Source::Producer);
    settle(&mut store);
    let found = all(&store.reader(), ALL);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].physical, decided.physical);
    assert_eq!(found[0].source, Source::Operator);
}

/// Fills segments until the first ones may leave, and lets them.
fn let_the_beginning_leave(store: &mut Store, now: i64) {
    let segment = |store: &Store| store.end().0 / (12 << 10);
    let until = segment(store) + 2;
    while segment(store) < until {
        let filling = plain("fill", 0, &[1; 2000], "");
        store
            .append_message(now, &filling, Durability::Written)
            .unwrap();
    }
    settle(store);
    while store.retention_step(now).unwrap().is_unfinished {}
}

#[test]
fn a_decision_whose_half_has_left_says_what_it_still_knows() {
    const HOUR: i64 = 3_600_000;
    let (mut store, _) = open_with(&MemoryDisk::new(), short_segments());
    let half = half_of(&mut store, "G", NOW, "gone");
    let carried = half_of(&mut store, "G", NOW, "carried");
    let_the_beginning_leave(&mut store, NOW);
    let rollback = decide(
        &mut store,
        &half,
        NOW + 1,
        OpKind::Rollback,
        Source::Producer,
    );
    let_the_beginning_leave(&mut store, NOW + 2 * HOUR);
    // Its own segment has left, the decision's has not.
    let start = store.reader().log_range().0;
    assert!(
        half.physical < start && start < rollback.physical,
        "{start}"
    );
    let kind = OpKind::Commit { queue_id: 1 };
    decide(&mut store, &carried, NOW + 2 * HOUR, kind, Source::Check);
    settle(&mut store);
    let query = DecisionQuery {
        group: Some("G"),
        ..ALL
    };
    let found = all(&store.reader(), query);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].physical, rollback.physical);
    assert_eq!(found[0].handle, Some(half.physical));
    assert_eq!((&found[0].group, &found[0].image), (&None, &None));
    assert_eq!(key(&found[1]).as_deref(), Some("carried"));
    assert_eq!(found[1].handle, Some(carried.physical));
    assert_eq!(found[1].stored_at, Some(NOW), "not when it was carried");
    assert!(store.reader().decisions(&ALL).unwrap().kept_since > Some(NOW - 1));
}

#[test]
fn a_damaged_decision_is_listed_by_its_head_and_a_hole_is_counted() {
    let disk = MemoryDisk::new();
    let (mut store, _) = open(&disk);
    let cases = cases(&mut store, 4);
    store.mark_durable_if_idle(NOW).unwrap();
    let log = "log/00000000000000000000";
    let rot = |offset: u64, bytes: usize| {
        let mut log_bytes = disk.bytes(log).unwrap();
        let at = usize::try_from(offset).unwrap();
        for byte in &mut log_bytes[at..at + bytes] {
            *byte ^= 0x5A;
        }
        disk.set_bytes(log, log_bytes);
    };
    let reader = store.reader();
    // A byte of a body, a byte of a head, and a whole head.
    rot(cases[0].op.physical.0 + 80, 1);
    rot(cases[1].op.physical.0 + 30, 1);
    assert_lists(&all(&reader, ALL), &cases);
    rot(cases[2].op.physical.0, 72);
    let page = reader.decisions(&ALL).unwrap();
    let (left, found) = (&cases[3], &page.decisions);
    assert_lists(&found[..2], &cases[..2]);
    assert_eq!((found.len(), found[2].physical), (3, left.op.physical));
    let hole = cases[2].op.end.0 - cases[2].op.physical.0;
    assert_eq!(page.unreadable_bytes, hole);
}
