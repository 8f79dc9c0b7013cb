//! Members who declared that they answer checks, and halfs that name the database that decides them.

use crate::world::{World, apache, assert_decided, times};
use escrow_coordinator::{Decision, Waits};
use escrow_protocol::transaction::Resolution::{Commit, Unknown};
use escrow_store::HalfState;

/// The property of a half whose producer writes a marker row.
const MARKED: &str = "ESCROW_DOMAIN\u{1}5f0c9e1e-9b8e-4b67-9d6a-1f2a3b4c5d6e\u{2}";

#[test]
fn a_marked_half_is_asked_of_a_declared_member_before_its_sender() {
    let mut world = World::new();
    world.join_declared(2);
    world.half_with(1, "k", MARKED);
    assert_eq!(times(&world.run(10_000)), [(10_000, 2)]);
}

#[test]
fn a_sender_that_declared_it_is_asked_before_the_others_that_did() {
    let mut world = World::new();
    world.join_declared(2);
    world.join_declared(3);
    world.half_with(3, "k", MARKED);
    assert_eq!(times(&world.run(10_000)), [(10_000, 3)]);
}

#[test]
fn without_anybody_declared_a_marked_half_is_asked_like_any_other() {
    let mut world = World::new();
    world.join(2, true);
    world.half_with(1, "k", MARKED);
    assert_eq!(times(&world.run(10_000)), [(10_000, 1)]);
}

#[test]
fn the_mark_survives_a_restart() {
    let mut world = World::new();
    world.half_with(1, "k", MARKED);
    world.crash(1_000);
    world.join(1, true);
    world.join_declared(2);
    assert_eq!(times(&world.run(10_000)), [(9_000, 2)]);
}

#[test]
fn a_marked_half_is_expedited_a_second_after_its_sender_left_whatever_its_age() {
    let mut world = World::new();
    world.join_declared(2);
    world.half_with(1, "k", MARKED);
    world.run(500);
    world.leave(1);
    assert_eq!(times(&world.run(1_000)), [(1_500, 2)]);
}

#[test]
fn the_six_seconds_stay_where_no_database_is_asked() {
    for (property, declared) in [(MARKED, false), ("", true)] {
        let mut world = World::new();
        if declared {
            world.join_declared(2);
        } else {
            world.join(2, true);
        }
        world.half_with(1, "k", property);
        world.leave(1);
        assert_eq!(times(&world.run(7_000)), [(6_000, 2)], "{property:?}");
    }
}

#[test]
fn an_immunity_that_was_asked_for_holds_for_a_marked_half_too() {
    let mut world = World::new();
    world.join_declared(2);
    let immunity = format!("{MARKED}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}4\u{2}");
    world.half_with(1, "k", &immunity);
    world.leave(1);
    assert_eq!(times(&world.run(7_000)), [(4_000, 2)]);
}

#[test]
fn who_always_answers_unknown_does_not_keep_a_declared_member_from_being_asked() {
    let mut world = World::with(apache(1_000, 1_000, 15));
    world.join_declared(2);
    let half = world.half(1, "k");
    let mut asked = Vec::new();
    for _ in 0..4 {
        let check = world.next_check(1_000);
        asked.push(check.connection);
        world.answer(check.connection, &half, Unknown);
    }
    assert_eq!(asked, [1, 2, 1, 2], "nor the other way round");
    world.next_check(1_000);
    world.answer(1, &half, Unknown);
    world.next_check(1_000);
    assert_decided(&world.answer(2, &half, Commit), Decision::Commit, false);
}

#[test]
fn several_checkers_are_asked_about_a_marked_half_in_turn() {
    let mut world = World::with(apache(1_000, 1_000, 15));
    world.join_declared(2);
    world.join_declared(3);
    let half = world.half_with(1, "k", MARKED);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let check = world.next_check(1_000);
        asked.push(check.connection);
        world.answer(check.connection, &half, Unknown);
    }
    assert_eq!(
        asked,
        [2, 3, 2, 3],
        "one of them may serve another database"
    );
}

#[test]
fn a_silent_checker_is_followed_by_the_sender() {
    let mut world = World::new();
    world.join_declared(2);
    world.half_with(1, "k", MARKED);
    assert_eq!(times(&world.run(20_000))[..2], [(10_000, 2), (20_000, 1)]);
}

#[test]
fn a_member_that_declares_it_later_is_asked_about_parked_halfs_at_once() {
    let mut world = World::with(apache(1_000, 1_000, 1));
    let half = world.half(1, "k");
    world.next_check(1_000);
    world.answer(1, &half, Unknown);
    assert_eq!(world.view(&half).state, HalfState::Parked);
    world.join(2, false);
    world.next_check(0);
    world.answer(1, &half, Unknown);
    assert_eq!(world.view(&half).waits, Waits::NotDue);
    world.join_declared(2);
    world.next_check(0);
}
