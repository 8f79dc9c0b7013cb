//! END_TRANSACTION: the order of its checks, the exact answers, and the first decision that wins.

use crate::world::{self, World, assert_decided, refusal};
use escrow_coordinator::{ConnectionId, Decision, EndOutcome, EndRefusal};
use escrow_protocol::ids::offset_message_id;
use escrow_protocol::transaction::Resolution::{Commit, Rollback, Unknown};
use escrow_store::OpRecordKind;

#[track_caller]
fn assert_refused(outcome: EndOutcome, code: i32, remark: &str) {
    let refusal = refusal(outcome);
    assert_eq!(refusal.code(), code);
    assert_eq!(refusal.to_string(), remark);
}

#[test]
fn commit_publishes_in_the_half_s_queue() {
    let mut world = World::new();
    let half = world.half(1, "k");
    match world.end(&half, Commit) {
        EndOutcome::Decided(decided) => {
            let published = decided.published.expect("published now");
            assert_eq!((published.topic.as_str(), published.queue_id), ("t", 2));
            assert_eq!(published.queue_offset.0, 0);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.delivered(2), ["k"]);
    assert_eq!(world.coordinator.counters().committed, 1);
}

#[test]
fn rollback_publishes_nothing() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert_decided(&world.end(&half, Rollback), Decision::Rollback, false);
    assert_eq!(world.delivered(2), [""; 0]);
    assert_eq!(world.coordinator.counters().rolled_back, 1);
}

#[test]
fn no_half_at_the_offset() {
    let mut world = World::new();
    let half = world.half(1, "k");
    for offset in [
        0,
        -1,
        i64::MAX,
        i64::try_from(half.handle.0).expect("small") + 8,
    ] {
        let outcome = world.end_with(&half, Commit, |end| end.commit_log_offset = offset);
        assert_refused(outcome, 1, "Find prepared transaction message failed");
    }
}

#[test]
fn an_op_record_is_no_half() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let at = match world.end(&half, Rollback) {
        EndOutcome::Decided(decided) => decided.durable_at,
        other => panic!("{other:?}"),
    };
    let entry = world.store.half(half.seq).expect("kept");
    assert!(entry.last_op < at);
    let op = i64::try_from(entry.last_op.0).expect("small");
    let outcome = world.end_with(&half, Commit, |end| end.commit_log_offset = op);
    assert_refused(outcome, 1, "Find prepared transaction message failed");
}

#[test]
fn another_group_is_found_out_before_another_half_offset() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let outcome = world.end_with(&half, Commit, |end| {
        end.group = "other";
        end.half_offset = 77;
    });
    assert_refused(outcome, 1, "The producer group wrong");
}

#[test]
fn another_half_offset_is_found_out_before_another_transaction_id() {
    let mut world = World::new();
    let half = world.half(1, "k");
    for offset in [77, -1] {
        let outcome = world.end_with(&half, Commit, |end| {
            end.half_offset = offset;
            end.transaction_id = "other";
        });
        assert_refused(outcome, 1, "The transaction state table offset wrong");
    }
}

#[test]
fn another_transaction_id() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let outcome = world.end_with(&half, Commit, |end| end.transaction_id = "other");
    assert_refused(outcome, 1, "The transaction id wrong");
    let outcome = world.end_with(&half, Commit, |end| {
        end.transaction_id = "";
        end.message_id = "other";
    });
    assert_refused(outcome, 1, "The transaction id wrong");
    assert_eq!(world.coordinator.counters().refused, 2);
    assert_eq!(world.store.op_history(half.seq).expect("readable").len(), 0);
}

#[test]
fn without_transaction_id_the_message_id_may_be_the_unique_key_the_offset_id_or_missing() {
    let host = "127.0.0.1:10911".parse().expect("an address");
    for n in 0..3 {
        let mut world = World::new();
        let half = world.half(1, "k");
        let offset = i64::try_from(half.handle.0).expect("small");
        let offset_id = offset_message_id(host, offset);
        let message_ids = ["k", &offset_id, ""];
        let id: &'static str = message_ids[n].to_owned().leak();
        let outcome = world.end_with(&half, Commit, |end| {
            end.transaction_id = "";
            end.message_id = id;
        });
        assert_decided(&outcome, Decision::Commit, false);
    }
    let mut world = World::new();
    let half = world.half(1, "k");
    let other: &'static str = offset_message_id(host, 12_345).leak();
    let outcome = world.end_with(&half, Commit, |end| {
        end.transaction_id = "";
        end.message_id = other;
    });
    assert_refused(outcome, 1, "The transaction id wrong");
}

#[test]
fn the_same_decision_again_succeeds_and_publishes_nothing() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.end(&half, Commit);
    assert_decided(&world.end(&half, Commit), Decision::Commit, true);
    assert_decided(&world.answer(4, &half, Commit), Decision::Commit, true);
    assert_eq!(world.delivered(2), ["k"]);
    let counters = world.coordinator.counters();
    assert_eq!((counters.committed, counters.repeated), (1, 2));
}

#[test]
fn the_opposite_decision_is_refused_with_604_and_kept_as_evidence() {
    for (first, opposite, word) in [
        (Commit, Rollback, "committed"),
        (Rollback, Commit, "rolled back"),
    ] {
        let mut world = World::new();
        let half = world.half(1, "k");
        world.end(&half, first);
        let delivered = world.delivered(2);
        world.run(5);
        let outcome = world.end_with(&half, opposite, |end| {
            end.connection = ConnectionId(3);
            end.client_id = "late";
            end.remark = "why not";
        });
        let refusal = refusal(outcome);
        assert_eq!(refusal.code(), 604);
        let EndRefusal::Opposite(told) = &refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(told.at_ms, Some(world::START_WALL));
        assert_eq!(told.client_id, "c1");
        let text = refusal.to_string();
        assert!(text.contains(word) && text.contains("producer"), "{text}");
        assert_eq!(world.delivered(2), delivered);
        let history = world.store.op_history(half.seq).expect("readable");
        let evidence = history.last().expect("kept");
        assert!(evidence.kind == OpRecordKind::Conflict, "{evidence:?}");
        assert_eq!(
            (evidence.client_id.as_str(), evidence.reason.as_str()),
            ("late", "why not")
        );
        assert_eq!(world.coordinator.counters().conflicts, 1);
        // And however often it is tried.
        assert_eq!(world::refusal(world.end(&half, opposite)).code(), 604);
        assert_decided(&world.end(&half, first), told.decision, true);
    }
}

#[test]
fn the_first_decision_stands_after_a_restart() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.end(&half, Commit);
    world.crash(1_000);
    assert_decided(&world.end(&half, Commit), Decision::Commit, true);
    assert_eq!(refusal(world.end(&half, Rollback)).code(), 604);
    assert_eq!(world.delivered(2), ["k"]);
    assert_eq!(world.run(3_600_000), []);
}

#[test]
fn a_decision_that_is_not_durable_has_never_been() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let topics = |_: &str| Some(4);
    let end = escrow_coordinator::EndRequest {
        group: "g",
        commit_log_offset: i64::try_from(half.handle.0).expect("small"),
        half_offset: 0,
        resolution: Commit,
        from_check: false,
        message_id: "k",
        transaction_id: "k",
        remark: "",
        connection: ConnectionId(1),
        client_id: "c1",
        address: "10.0.0.1:1",
    };
    let outcome = world
        .coordinator
        .end(&mut world.store, world.now, &end, &topics);
    assert_decided(&outcome, Decision::Commit, false);
    world.crash(1_000);
    assert_decided(&world.end(&half, Rollback), Decision::Rollback, false);
    assert_eq!(world.delivered(2), [""; 0]);
}

#[test]
fn unknown_is_noted_also_when_it_is_decided_already() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert!(matches!(world.end(&half, Unknown), EndOutcome::Noted(_)));
    world.end(&half, Commit);
    assert!(matches!(world.end(&half, Unknown), EndOutcome::Noted(_)));
    assert_refused(
        world.end_with(&half, Unknown, |end| end.group = "x"),
        1,
        "The producer group wrong",
    );
}

#[test]
fn a_half_is_decided_however_old_it_is() {
    let mut world = World::new();
    let half = world.half_with(1, "k", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}5\u{2}");
    world.run(100 * 3_600_000);
    assert_decided(&world.end(&half, Commit), Decision::Commit, false);
}

#[test]
fn commit_to_a_topic_that_is_gone_answers_17_and_the_next_check_after_its_return_commits() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.topics.clear();
    let refusal = refusal(world.end(&half, Commit));
    assert_eq!(refusal.code(), 17);
    assert!(
        refusal.to_string().contains("topic[t] not exist"),
        "{refusal}"
    );
    assert!(world.view(&half).topic_missing);
    assert_eq!(world.run(10_000).len(), 1);
    assert_eq!(world::refusal(world.answer(1, &half, Commit)).code(), 17);
    assert_eq!(world.view(&half).answered, 0, "no UNKNOWN");
    world.topics.insert("t".to_owned(), 4);
    assert!(!world.view(&half).topic_missing);
    assert_eq!(world.run(12_000).len(), 1);
    assert_decided(&world.answer(1, &half, Commit), Decision::Commit, false);
    assert_eq!(world.delivered(2), ["k"]);
    assert_eq!(world.coordinator.counters().topic_missing, 2);
}

#[test]
fn rollback_needs_no_topic() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.topics.clear();
    assert_decided(&world.end(&half, Rollback), Decision::Rollback, false);
}

#[test]
fn a_queue_beyond_the_topic_s_new_count_is_taken_modulo() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.topics.insert("t".to_owned(), 2);
    world.end(&half, Commit);
    assert_eq!(world.delivered(0), ["k"]);
}
