//! Who is asked, and what happens when nobody answers.

use crate::world::{self, World, assert_decided, times};
use escrow_coordinator::{Decision, EndOutcome, Waits};
use escrow_protocol::transaction::Resolution::{Commit, Rollback, Unknown};
use escrow_store::Source;

#[test]
fn the_connection_that_sent_the_half_is_asked() {
    let mut world = World::new();
    world.join(2, true);
    world.join(3, true);
    world.half(3, "k");
    assert_eq!(times(&world.run(10_000)), [(10_000, 3)]);
}

#[test]
fn of_two_connections_with_one_client_id_the_sending_one_is_asked() {
    let mut world = World::new();
    world.join_as(1, "twin", true);
    world.join_as(2, "twin", true);
    let properties = world::properties("k", "");
    for connection in [2, 1] {
        let mut half = world::half(&properties, connection);
        half.client_id = "twin";
        half.message.body = if connection == 1 { b"one" } else { b"two" };
        world.send(half).expect("good");
    }
    assert_eq!(times(&world.run(10_000)), [(10_000, 2), (10_000, 1)]);
}

#[test]
fn a_group_is_known_from_a_half_without_a_heartbeat() {
    let mut world = World::new();
    let properties = world::properties("k", "");
    let mut half = world::half(&properties, 5);
    half.client_id = "";
    world.send(half).expect("good");
    assert_eq!(times(&world.run(10_000)), [(10_000, 5)]);
}

#[test]
fn another_capable_member_is_asked_when_the_sender_is_gone() {
    let mut world = World::new();
    world.join(2, false);
    world.join(3, true);
    world.half(1, "k");
    world.leave(1);
    assert_eq!(
        times(&world.run(20_000)).first().map(|check| check.1),
        Some(3)
    );
}

#[test]
fn one_check_at_a_time_is_in_flight_for_a_half() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert_eq!(world.run(10_000).len(), 1);
    assert!(matches!(world.view(&half).waits, Waits::Answer(_)));
    world.join(2, true);
    let no_second = world.run(7_999);
    assert_eq!(no_second, []);
}

#[test]
fn a_silent_instance_is_given_up_after_8_s_and_another_asked_2_s_later() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    let checks = times(&world.run(30_000));
    assert_eq!(checks[..2], [(10_000, 1), (20_000, 2)]);
    assert_eq!(world.view(&half).answered, 0, "silence is no answer");
    assert_eq!(world.coordinator.counters().checks_silent, 2);
}

#[test]
fn a_round_without_any_answer_backs_off() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert_eq!(times(&world.run(10_000)), [(10_000, 1)]);
    world.run(8_000);
    let view = world.view(&half);
    assert_eq!((view.answered, view.silent), (0, 1));
    assert_eq!(view.waits, Waits::NotDue);
    let checks = world.run(12_000);
    assert!(checks.len() == 1 && checks[0].at >= 26_000, "{checks:?}");
}

#[test]
fn two_silent_checks_demote_until_the_next_answer() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    // The sender is silent twice, the other answers each time that it is asked.
    let mut asked = Vec::new();
    for _ in 0..200_000 {
        for check in world.run(1) {
            asked.push(check.connection);
            if check.connection == 2 {
                world.answer(2, &half, Unknown);
            }
        }
    }
    assert_eq!(asked[..6], [1, 2, 1, 2, 2, 2]);
    world.answer(1, &half, Unknown);
    let next = world.run(1_000_000);
    assert_eq!(
        next.first().map(|check| check.connection),
        Some(1),
        "a late answer restores it"
    );
}

#[test]
fn a_late_answer_does_not_count_but_decides() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.run(18_001);
    match world.answer(1, &half, Unknown) {
        EndOutcome::Noted(noted) => assert!(!noted.counted),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.view(&half).answered, 0);
    assert_decided(&world.answer(1, &half, Commit), Decision::Commit, false);
    let history = world.store.op_history(half.seq).expect("readable");
    let told: Vec<_> = history
        .iter()
        .map(|op| (op.source, op.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [(Source::Producer, "not awaited"), (Source::Check, "")]
    );
}

#[test]
fn only_who_was_asked_answers_the_check() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    world.run(10_000);
    world.answer(2, &half, Unknown);
    assert_eq!(world.view(&half).answered, 0);
    world.answer(1, &half, Unknown);
    assert_eq!(world.view(&half).answered, 1);
}

#[test]
fn with_nobody_to_ask_the_half_waits_says_so_and_is_asked_about_at_once_on_join() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.leave(1);
    assert_eq!(world.run(3_600_000), []);
    let view = world.view(&half);
    let since_ms = half.store_timestamp + 6_000;
    assert_eq!(view.waits, Waits::NobodyToAsk { since_ms });
    assert_eq!(view.waits.reason(), "nobody to ask");
    assert_eq!(view.answered, 0);
    let waiting = world.coordinator.waiting_groups();
    assert_eq!(
        (
            waiting.len(),
            waiting[0].group.as_str(),
            waiting[0].since_ms
        ),
        (1, "g", since_ms)
    );
    world.join(2, true);
    assert_eq!(times(&world.run(0)), [(world.now.mono_ms, 2)]);
    assert_eq!(world.coordinator.waiting_groups(), []);
}

#[test]
fn ten_thousand_halfs_wait_for_somebody_and_are_all_asked_about_when_one_comes() {
    let mut world = World::new();
    for n in 0..10_000 {
        world.half(1, &format!("k{n}"));
    }
    world.leave(1);
    world.run(60_000);
    assert_eq!(world.coordinator.waiting_groups()[0].halfs, 10_000);
    world.join(2, true);
    let mut answered = 0;
    while answered < 10_000 {
        let before = world.now.mono_ms;
        let checks = world.run(10);
        assert!(world.now.mono_ms < before + 60_000);
        for check in checks {
            let ack = ack_of(&world, check.seq);
            assert_decided(&world.answer(2, &ack, Rollback), Decision::Rollback, false);
            answered += 1;
        }
    }
    assert!(
        world.now.mono_ms < 60_000 + 60_000 + 12_000,
        "a thousand a second"
    );
}

fn ack_of(world: &World, seq: u64) -> escrow_coordinator::HalfAck {
    let entry = world
        .store
        .undecided_half(world::seq(seq))
        .expect("undecided");
    escrow_coordinator::HalfAck {
        handle: entry.handle,
        seq: world::seq(seq),
        queue_id: entry.queue_id,
        store_timestamp: entry.store_timestamp,
        duplicate: false,
        durable_at: entry.handle,
    }
}

#[test]
fn the_sender_leaving_expedites_to_a_second_after_but_not_before_six() {
    for (leaves_at, expected) in [(0, 6_000), (4_900, 6_000), (7_000, 8_000), (9_500, 10_000)] {
        let mut world = World::new();
        world.join(2, true);
        world.half(1, "k");
        world.run(leaves_at);
        world.leave(1);
        assert_eq!(
            times(&world.run(10_000)).first(),
            Some(&(expected, 2)),
            "left at {leaves_at}"
        );
    }
}

#[test]
fn an_immunity_holds_also_when_the_sender_is_gone() {
    let mut world = World::new();
    world.join(2, true);
    world.half_with(1, "k", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}30\u{2}");
    world.leave(1);
    assert_eq!(times(&world.run(40_000)).first(), Some(&(30_000, 2)));
}

#[test]
fn only_the_last_connection_of_the_client_expedites() {
    let mut world = World::new();
    world.join_as(1, "twin", true);
    world.join_as(2, "twin", true);
    let properties = world::properties("k", "");
    let mut half = world::half(&properties, 1);
    half.client_id = "twin";
    world.send(half).expect("good");
    world.leave(1);
    assert_eq!(times(&world.run(10_000)), [(10_000, 2)]);
}

#[test]
fn who_is_back_within_the_second_is_not_gone() {
    let mut world = World::new();
    world.half(1, "k");
    world.run(5_000);
    world.leave(1);
    world.run(900);
    world.join(11, true);
    assert_eq!(times(&world.run(5_000)), [(10_000, 11)]);
}

#[test]
fn a_backed_off_half_is_expedited_too() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    world.run(10_000);
    world.answer(1, &half, Unknown);
    world.run(1_000);
    world.leave(1);
    assert_eq!(times(&world.run(1_500)), [(12_000, 2)]);
    // What is left of the former timer asks no second time.
    world.answer(2, &half, Unknown);
    assert_eq!(world.run(15_000), []);
}

#[test]
fn a_connection_that_closes_owing_an_answer_is_replaced_a_second_later() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    assert_eq!(times(&world.run(10_500)), [(10_000, 1)]);
    world.leave(1);
    assert_eq!(times(&world.run(2_000)), [(11_500, 2)]);
    assert_decided(&world.answer(2, &half, Commit), Decision::Commit, false);
}

#[test]
fn a_sole_connection_that_closes_owing_an_answer_is_asked_when_it_is_back() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.run(10_500);
    world.leave(1);
    assert_eq!(world.run(600_000), []);
    assert!(matches!(world.view(&half).waits, Waits::NobodyToAsk { .. }));
    world.join(11, true);
    assert_eq!(world.run(0).len(), 1);
}

#[test]
fn a_check_that_cannot_be_written_goes_to_another_instance() {
    let mut world = World::new();
    world.join(2, true);
    let half = world.half(1, "k");
    world.run(10_000);
    world.coordinator.not_sent(world.now, half.seq);
    assert_eq!(times(&world.run(2_000)), [(12_000, 2)]);
    assert_eq!(world.coordinator.counters().checks_silent, 0);
    assert_eq!(world.coordinator.counters().checks_not_sent, 1);
}

#[test]
fn at_most_64_checks_are_in_flight_to_one_connection() {
    let mut world = World::new();
    let halfs: Vec<_> = (0..200).map(|n| world.half(1, &format!("k{n}"))).collect();
    assert_eq!(world.run(17_999).len(), 64);
    for half in &halfs[..10] {
        world.answer(1, half, Commit);
    }
    assert_eq!(world.run(0).len(), 10);
}

#[test]
fn a_commit_that_races_the_check_is_committed_once_and_the_answer_agrees() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world.run(10_000);
    assert_decided(&world.end(&half, Commit), Decision::Commit, false);
    assert_decided(&world.answer(1, &half, Commit), Decision::Commit, true);
    assert_eq!(world.run(3_600_000), []);
    assert_eq!(world.delivered(2), ["k"]);
}

#[test]
fn a_half_that_is_heard_of_after_its_connection_closed_makes_nobody_a_member() {
    let mut world = World::new();
    world.leave(1);
    let half = world.half(1, "k");
    assert_eq!(world.run(10_000), []);
    assert!(matches!(world.view(&half).waits, Waits::NobodyToAsk { .. }));
}

#[test]
fn a_group_that_nobody_speaks_for_any_more_waits() {
    let mut world = World::new();
    let half = world.half(1, "k");
    world
        .coordinator
        .left_group(world.now, "g", escrow_coordinator::ConnectionId(1));
    assert_eq!(world.run(10_000), []);
    assert!(matches!(world.view(&half).waits, Waits::NobodyToAsk { .. }));
}
