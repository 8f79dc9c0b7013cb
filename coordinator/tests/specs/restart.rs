//! What remains after a restart.

use crate::world::{World, apache, times};
use escrow_protocol::transaction::Resolution::Unknown;
use escrow_store::HalfState;

#[test]
fn what_remained_of_the_first_check_s_time_still_remains() {
    let mut world = World::new();
    world.half(1, "k");
    world.run(3_000);
    world.crash(2_000);
    world.join(1, true);
    assert_eq!(times(&world.run(10_000)), [(5_000, 1)]);
}

#[test]
fn a_few_overdue_checks_go_out_at_once() {
    let mut world = World::new();
    for n in 0..5 {
        world.half(1, &format!("k{n}"));
    }
    world.crash(3_600_000);
    world.join(1, true);
    assert_eq!(world.run(5).len(), 5);
}

#[test]
fn many_overdue_checks_are_spread_but_none_beyond_its_own_delay() {
    let mut world = World::new();
    for n in 0..9_000 {
        world.half(1, &format!("k{n}"));
    }
    world.half_with(1, "hasty", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}");
    world.crash(3_600_000);
    world.run(1_000);
    let waiting = |world: &World| world.coordinator.waiting_groups()[0].halfs;
    let after_1_s = waiting(&world);
    assert!((500..2_000).contains(&after_1_s), "{after_1_s}");
    world.run(9_000);
    assert_eq!(waiting(&world), 9_001, "all within ten seconds");
}

#[test]
fn a_clock_set_back_while_down_delays_a_check_by_no_more_than_its_delay() {
    let mut world = World::new();
    world.half(1, "k");
    world.crash(-3_600_000);
    world.join(1, true);
    assert_eq!(times(&world.run(10_000)), [(10_000, 1)]);
}

#[test]
fn answered_counts_and_parking_survive() {
    let mut world = World::with(apache(1_000, 1_000, 3));
    let half = world.half(1, "k");
    for _ in 0..2 {
        world.run(1_000);
        world.answer(1, &half, Unknown);
    }
    world.crash(500);
    assert_eq!(world.view(&half).answered, 2);
    world.join(1, true);
    assert_eq!(world.run(1_000).len(), 1);
    world.answer(1, &half, Unknown);
    world.crash(500);
    assert_eq!(world.view(&half).state, HalfState::Parked);
    assert_eq!(world.parked(), 1);
    world.join(1, true);
    assert_eq!(world.run(0).len(), 1, "and whoever joins is asked about it");
}

#[test]
fn a_backed_off_check_keeps_its_backoff() {
    let mut world = World::new();
    let half = world.half(1, "k");
    for _ in 0..4 {
        while world.run(1_000).is_empty() {}
        world.answer(1, &half, Unknown);
    }
    world.crash(1_000);
    world.join(1, true);
    let checks = world.run(96_000);
    assert_eq!(checks.len(), 1);
    assert!(checks[0].at > 50_000, "{checks:?}");
    assert_eq!(checks[0].check_times, 5);
}
