//! The purge watermark of a producer group: what it promises holds whatever happens.

use crate::world::{START_WALL, World, apache, half, properties};
use escrow_coordinator::HalfRequest;
use escrow_protocol::transaction::Resolution::{Commit, Rollback, Unknown};
use escrow_store::HalfState;

const MINUTE: i64 = 60_000;

#[test]
fn the_oldest_undecided_half_holds_it_until_it_is_decided() {
    let mut world = World::new();
    let first = world.half(1, "a");
    world.run(1_000);
    let second = world.half(1, "b");
    world.run(1_000);
    let held = world.watermark("g");
    assert_eq!(held.at_ms, START_WALL);
    assert_eq!((held.undecided, held.oldest), (2, Some(first.handle)));
    world.end(&first, Commit);
    let held = world.watermark("g");
    assert_eq!(held.at_ms, START_WALL + 1_000);
    assert_eq!((held.undecided, held.oldest), (1, Some(second.handle)));
    world.end(&second, Rollback);
    let free = world.watermark("g");
    assert_eq!((free.undecided, free.oldest), (0, None));
    assert_eq!(free.at_ms, START_WALL + 2_000);
}

#[test]
fn another_group_is_not_held() {
    let mut world = World::new();
    let first = world.half(1, "a");
    world.run(5_000);
    let properties = properties("b", "").replace("\u{1}g\u{2}", "\u{1}h\u{2}");
    let other = HalfRequest {
        producer_group: "h",
        ..half(&properties, 1)
    };
    let other = world.send(other).expect("a good half");
    assert_eq!(world.watermark("g").oldest, Some(first.handle));
    assert_eq!(world.watermark("h").oldest, Some(other.handle));
    let unheard_of = world.watermark("nobody");
    assert_eq!(unheard_of.at_ms, START_WALL + 5_000);
    assert_eq!((unheard_of.undecided, unheard_of.oldest), (0, None));
}

#[test]
fn a_parked_half_holds_it_like_a_pending_one() {
    let mut world = World::with(apache(1_000, 1_000, 1));
    let half = world.half(1, "a");
    world.next_check(1_000);
    world.answer(1, &half, Unknown);
    assert_eq!(world.view(&half).state, HalfState::Parked);
    let held = world.watermark("g");
    assert_eq!((held.at_ms, held.undecided), (START_WALL, 1));
}

#[test]
fn a_restart_changes_nothing() {
    let mut world = World::new();
    let first = world.half(1, "a");
    world.run(1_000);
    let second = world.half(1, "b");
    world.end(&first, Commit);
    let before = world.watermark("g");
    world.crash(3_000);
    assert_eq!(world.watermark("g"), before);
    world.end(&second, Commit);
    assert_eq!(world.watermark("g").undecided, 0);
}

#[test]
fn with_nothing_undecided_it_follows_the_clock_within_a_minute() {
    let mut world = World::new();
    world.run(3_600_000);
    let told = world.watermark("g").at_ms;
    let wall = world.now.wall_ms;
    assert!((wall - MINUTE..=wall).contains(&told), "{told} at {wall}");
    let end = world.store.end();
    world.run(30_000);
    assert_eq!(world.watermark("g").at_ms, told);
    assert_eq!(world.store.end(), end, "asking often writes nothing");
}

#[test]
fn no_later_half_is_older_even_when_the_clock_is_set_back_across_a_restart() {
    let mut world = World::new();
    world.run(3_600_000);
    let told = world.watermark("g").at_ms;
    world.step_clock(-7_200_000);
    assert!(world.half(1, "a").store_timestamp >= told);
    world.crash(-7_200_000);
    assert!(world.half(1, "b").store_timestamp >= told);
    assert!(world.watermark("g").at_ms >= told, "it never goes back");
}

#[test]
fn a_half_whose_group_is_lost_to_damage_holds_every_group() {
    let mut world = World::new();
    let half = world.half(1, "needle");
    world.run(1_000);
    world.half(1, "later");
    world.damage(b"needle");
    let held = world.watermark("h");
    assert_eq!(held.at_ms, START_WALL);
    assert_eq!((held.undecided, held.oldest), (1, Some(half.handle)));
    assert_eq!(world.watermark("g").undecided, 2);
}
