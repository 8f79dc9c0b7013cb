//! Parked halfs: kept, seen, decidable, asked about again.

use crate::world::{World, apache, assert_decided, times};
use escrow_coordinator::{
    Actor, CheckNow, DecideRefused, Decision, EndOutcome, Notice, ResumeRefused, Waits,
};
use escrow_protocol::transaction::Resolution::{Commit, Unknown};
use escrow_store::{HalfState, Source};

const OPERATOR: Actor<'static> = Actor {
    name: "ada",
    address: "127.0.0.1:9",
    reason: "seen in db",
};

/// A world with a half that was parked after two answers.
fn parked() -> (World, escrow_coordinator::HalfAck) {
    let mut world = World::with(apache(1_000, 1_000, 2));
    let half = world.half(1, "k");
    for _ in 0..2 {
        world.run(1_000);
        world.answer(1, &half, Unknown);
    }
    assert_eq!(world.view(&half).state, HalfState::Parked);
    (world, half)
}

#[test]
fn fifteen_answers_park_only_after_an_hour() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let mut parked_at = None;
    while parked_at.is_none() {
        let checks = world.run(1_000);
        for _ in checks {
            if let EndOutcome::Noted(noted) = world.answer(1, &half, Unknown)
                && noted.parked
            {
                parked_at = Some(world.now.mono_ms);
            }
        }
        assert!(world.now.mono_ms < 5_000_000);
    }
    let view = world.view(&half);
    assert!(
        parked_at.is_some_and(|at| (3_600_000..4_000_000).contains(&at)),
        "{parked_at:?}"
    );
    assert!(view.answered >= 15, "{}", view.answered);
    assert_eq!(view.state, HalfState::Parked);
    let notices = world.coordinator.take_notices();
    assert!(
        matches!(notices[..], [Notice::Parked { seq: 0, .. }]),
        "{notices:?}"
    );
}

#[test]
fn with_apaches_check_max_there_is_no_age_to_reach() {
    let (world, half) = parked();
    assert_eq!(world.view(&half).age_ms, 2_000);
    let history = world.store.op_history(half.seq).expect("readable");
    let last = history.last().expect("parked");
    assert_eq!(last.source, Source::Policy);
    assert!(
        last.reason.contains("2 checks answered UNKNOWN"),
        "{}",
        last.reason
    );
}

#[test]
fn silence_never_parks() {
    let mut world = World::with(apache(1_000, 1_000, 2));
    let half = world.half(1, "k");
    world.run(3_600_000);
    let view = world.view(&half);
    assert_eq!((view.state, view.answered), (HalfState::Pending, 0));
}

#[test]
fn a_parked_half_is_asked_about_every_hour() {
    let (mut world, half) = parked();
    let parked_at = world.now.mono_ms;
    assert_eq!(times(&world.run(3_600_000)), [(parked_at + 3_600_000, 1)]);
    world.answer(1, &half, Unknown);
    assert_eq!(world.view(&half).state, HalfState::Parked);
    assert_eq!(world.run(3_599_999), []);
    assert_eq!(world.run(1).len(), 1);
    assert_decided(&world.answer(1, &half, Commit), Decision::Commit, false);
    assert_eq!(world.delivered(2), ["k"]);
}

#[test]
fn a_parked_half_is_asked_about_when_a_checker_joins() {
    let (mut world, _) = parked();
    world.run(60_000);
    world.leave(1);
    world.run(60_000);
    world.join(2, true);
    assert_eq!(times(&world.run(0)), [(world.now.mono_ms, 2)]);
}

#[test]
fn a_heartbeat_of_one_who_is_there_asks_nothing() {
    let (mut world, _) = parked();
    world.join(1, true);
    assert_eq!(world.run(60_000), []);
}

#[test]
fn a_parked_half_can_be_decided_by_its_producer() {
    let (mut world, half) = parked();
    assert_decided(&world.end(&half, Commit), Decision::Commit, false);
    assert_eq!(world.delivered(2), ["k"]);
    assert_eq!(world.parked(), 0);
}

#[test]
fn an_operator_decides_with_a_reason() {
    let (mut world, half) = parked();
    let unreasoned = Actor {
        reason: " ",
        ..OPERATOR
    };
    let refused = world.decide(half.seq.0, Decision::Commit, unreasoned);
    assert!(matches!(refused, Err(DecideRefused::NoReason)));
    let decided = world.decide(half.seq.0, Decision::Commit, OPERATOR);
    assert!(decided.is_ok_and(|decided| !decided.repeated));
    let history = world.store.op_history(half.seq).expect("readable");
    let last = history.last().expect("decided");
    assert_eq!(last.source, Source::Operator);
    let by = (last.client_id.as_str(), last.reason.as_str());
    assert_eq!(by, ("ada", "seen in db"));
    assert_eq!(world.delivered(2), ["k"]);
    assert_eq!(world.coordinator.counters().decided_by_operator, 1);
}

#[test]
fn an_operator_cannot_turn_a_decision_round() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.end(&half, Commit);
    let refused = world.decide(half.seq.0, Decision::Rollback, OPERATOR);
    let refused = refused.expect_err("opposite").to_string();
    assert!(
        refused == "already committed at 2023-11-14T22:13:20.000Z by producer c1",
        "{refused}"
    );
    let nothing = world.decide(99, Decision::Rollback, OPERATOR);
    assert!(matches!(nothing, Err(DecideRefused::NotFound)));
}

#[test]
fn resume_takes_up_a_parked_half_and_nothing_else() {
    let (mut world, half) = parked();
    let (store, now) = (&mut world.store, world.now);
    let resumed = world.coordinator.resume(store, now, half.handle, OPERATOR);
    assert!(resumed.is_ok_and(|resumed| resumed.seq == half.seq));
    world.sync();
    let view = world.view(&half);
    assert_eq!((view.state, view.answered), (HalfState::Pending, 0));
    assert_eq!(world.run(0).len(), 1, "asked about at once");
    world.answer(1, &half, Unknown);
    assert_eq!(
        world.view(&half).state,
        HalfState::Pending,
        "counted from the beginning"
    );

    let (store, now) = (&mut world.store, world.now);
    let pending = world.coordinator.resume(store, now, half.handle, OPERATOR);
    assert!(matches!(pending, Err(ResumeRefused::NotParked)));
    let nothing = world
        .coordinator
        .resume(store, now, escrow_store::PhysicalOffset(77), OPERATOR);
    assert!(matches!(nothing, Err(ResumeRefused::NotParked)));
}

#[test]
fn a_half_resumed_while_somebody_is_asked_is_not_forgotten_when_that_one_leaves() {
    let (mut world, half) = parked();
    world.join(2, true);
    let asked = world.next_check(2 * 3_600_000);
    let (store, now) = (&mut world.store, world.now);
    let resumed = world.coordinator.resume(store, now, half.handle, OPERATOR);
    assert!(resumed.is_ok());
    world.leave(asked.connection);
    let again = world.next_check(10_000);
    assert_eq!((again.seq, again.check_times), (half.seq.0, 1));
    assert_ne!(again.connection, asked.connection);
}

#[test]
fn check_now_asks_now() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert_eq!(
        world
            .coordinator
            .check_now(&world.store, world.now, half.seq),
        CheckNow::Queued
    );
    assert_eq!(times(&world.run(0)), [(0, 1)]);
    assert_eq!(
        world
            .coordinator
            .check_now(&world.store, world.now, half.seq),
        CheckNow::InFlight
    );
    world.end(&half, Commit);
    assert_eq!(
        world
            .coordinator
            .check_now(&world.store, world.now, half.seq),
        CheckNow::NotUndecided
    );
}

#[test]
fn check_now_with_nobody_there_waits() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.leave(1);
    assert_eq!(
        world
            .coordinator
            .check_now(&world.store, world.now, half.seq),
        CheckNow::NobodyToAsk
    );
    assert!(matches!(world.view(&half).waits, Waits::NobodyToAsk { .. }));
}

#[test]
fn a_half_behind_damage_is_never_asked_about_by_itself_and_says_why() {
    let mut world = World::new();
    let half = world.half_with(1, "here-is-the-damage", "");
    world.half(1, "after it");
    world.damage(b"here-is-the-damage");
    let view = world.view(&half);
    assert_eq!(
        (view.state, view.waits),
        (HalfState::Parked, Waits::LogDamaged)
    );
    world.join(1, true);
    let checks = world.run(3 * 3_600_000);
    assert!(
        checks.iter().all(|check| check.seq != half.seq.0),
        "{checks:?}"
    );
    assert!(!checks.is_empty(), "the other one is");
    let decided = world.decide(half.seq.0, Decision::Rollback, OPERATOR);
    assert!(decided.is_ok());
}
