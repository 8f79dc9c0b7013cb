//! When halfs are checked.

use crate::world::{self, World, apache, assert_decided, times};
use escrow_coordinator::{Decision, EndOutcome, Level, Waits};
use escrow_protocol::transaction::Resolution::{Commit, Unknown};

#[test]
fn the_first_check_comes_ten_seconds_after_the_store_time_to_the_millisecond() {
    let mut world = World::new();
    world.run(123);
    let half = world.half(1, "k");
    assert_eq!(
        world.view(&half).next_check_ms,
        Some(half.store_timestamp + 10_000)
    );
    assert_eq!(world.run(9_999), []);
    assert_eq!(times(&world.run(1)), [(10_123, 1)]);
}

#[test]
fn an_immunity_moves_the_first_check_and_counts_nothing() {
    let mut world = World::new();
    let half = world.half_with(1, "k", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}3\u{2}");
    let late = world.half_with(1, "l", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}60\u{2}");
    assert_eq!(
        world.view(&half).policy.first_check_ms,
        (3_000, Level::Message)
    );
    assert_eq!(times(&world.run(59_999)).first(), Some(&(3_000, 1)));
    assert_eq!(world.view(&late).answered, 0);
    let checks = world.run(1);
    assert_eq!(
        checks
            .iter()
            .filter(|check| check.seq == late.seq.0)
            .count(),
        1
    );
}

#[test]
fn a_producers_clock_schedules_nothing() {
    let mut world = World::new();
    let properties = world::properties("k", "");
    for born_timestamp in [0, i64::MAX] {
        let mut half = world::half(&properties, 1);
        half.message.born_timestamp = born_timestamp;
        let _ = world.send(half);
    }
    assert_eq!(times(&world.run(10_000)).first(), Some(&(10_000, 1)));
}

#[test]
fn unknown_backs_off_from_ten_seconds_doubling_to_five_minutes() {
    let mut world = World::new();
    let half = world.half(1, "k");
    let mut asked_at = world.next_check(10_000).at;
    assert_eq!(asked_at, 10_000);
    for base in [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000] {
        world.answer(1, &half, Unknown);
        let delay = world.next_check(400_000).at - asked_at;
        let fifth = base / 5;
        assert!(
            (base - fifth..=base + fifth).contains(&delay),
            "{delay} for {base}"
        );
        asked_at += delay;
    }
    assert_eq!(world.view(&half).answered, 7);
}

#[test]
fn with_apaches_settings_the_interval_is_fixed() {
    let mut world = World::with(apache(1_000, 2_000, 15));
    let half = world.half(1, "k");
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(world.next_check(2_000).at);
        world.answer(1, &half, Unknown);
    }
    assert_eq!(asked, [1_000, 3_000, 5_000, 7_000, 9_000]);
}

#[test]
fn the_check_says_which_it_is() {
    let mut world = World::with(apache(1_000, 1_000, 15));
    let half = world.half(1, "k");
    for n in 1..4 {
        let checks = world.run(1_000);
        assert_eq!(
            checks
                .iter()
                .map(|check| check.check_times)
                .collect::<Vec<_>>(),
            [n]
        );
        world.answer(1, &half, Unknown);
    }
}

#[test]
fn a_decided_half_is_not_checked() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.run(9_999);
    assert_decided(&world.end(&half, Commit), Decision::Commit, false);
    assert_eq!(world.run(3_600_000), []);
}

#[test]
fn an_unknown_that_nobody_asked_for_is_noted_but_neither_counts_nor_delays() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.run(5_000);
    match world.end(&half, Unknown) {
        EndOutcome::Noted(noted) => assert!(!noted.counted),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.view(&half).answered, 0);
    assert_eq!(world.store.op_history(half.seq).expect("readable").len(), 1);
    assert_eq!(times(&world.run(5_000)), [(10_000, 1)]);
}

#[test]
fn a_step_of_the_clock_neither_hastens_nor_delays_a_check() {
    for step in [-3_600_000, 3_600_000] {
        let mut world = World::new();
        let half = world.half(1, "k");
        world.run(4_000);
        world.step_clock(step);
        assert_eq!(
            times(&world.run(60_000)).first(),
            Some(&(10_000, 1)),
            "{step}"
        );
        assert_eq!(world.view(&half).age_ms, 64_000);
        assert_eq!(world.coordinator.counters().clock_steps, 1);
    }
}

#[test]
fn at_most_so_many_checks_a_second_go_out() {
    let mut world = World::new();
    for n in 0..3_000 {
        world.half(n % 10, &format!("k{n}"));
    }
    let checks = world.run(14_000);
    assert_eq!(
        checks.len(),
        640,
        "64 in flight for each of ten connections"
    );
    let mut world = World::new();
    for connection in 0..100 {
        world.join(connection, true);
    }
    for n in 0..3_000 {
        world.half(n % 100, &format!("k{n}"));
    }
    let checks = world.run(12_500);
    let first_second = checks.iter().filter(|check| check.at < 11_000).count();
    assert!((1_000..=1_020).contains(&first_second), "{first_second}");
    assert!((2_500..=2_540).contains(&checks.len()), "{}", checks.len());
}

#[test]
fn who_waits_for_the_rate_is_shown_to_wait_for_its_turn() {
    let mut world = World::new();
    let halfs: Vec<_> = (0..100).map(|n| world.half(1, &format!("k{n}"))).collect();
    assert_eq!(world.run(11_000).len(), 64);
    let waiting = halfs
        .iter()
        .filter(|half| world.view(half).waits == Waits::Turn);
    assert_eq!(waiting.count(), 36);
    world.answer(1, &halfs[0], Unknown);
    assert_eq!(
        world.run(0).len(),
        1,
        "an answer makes room for the next at once"
    );
}
