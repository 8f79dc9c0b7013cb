//! What operators see.

use crate::world::{self, World, half, properties};
use escrow_coordinator::{Budget, Filter, Page};
use escrow_protocol::transaction::Resolution::{Commit, Unknown};
use escrow_store::HalfState;

fn list(world: &World, filter: &Filter, from: u64, rows_max: usize, scan_max: usize) -> Page {
    let topics = |topic: &str| world.topics.get(topic).copied();
    let budget = Budget { rows_max, scan_max };
    world.coordinator.list(
        &world.store,
        world.now,
        filter,
        world::seq(from),
        budget,
        &topics,
    )
}

fn seqs(page: &Page) -> Vec<u64> {
    page.rows.iter().map(|row| row.seq.0).collect()
}

#[test]
fn a_view_has_what_pending_show_needs() {
    let mut world = World::new();
    let half = world.half_with(1, "k", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}5\u{2}");
    world.run(5_000);
    world.answer(1, &half, Unknown);
    let view = world.view(&half);
    assert_eq!(
        (view.topic.as_str(), view.group.as_str(), view.queue_id),
        ("t", "g", 2)
    );
    assert_eq!(
        (view.sender.as_str(), view.answered, view.age_ms),
        ("c1", 1, 5_000)
    );
    assert_eq!(view.waits.reason(), "next check not due");
    let asked = view.last_asked.expect("just now");
    assert_eq!(
        (asked.client_id.as_str(), asked.address.as_str()),
        ("c1", "10.0.0.1:1")
    );
    assert_eq!(asked.at_ms, world::START_WALL + 5_000);
    let next = view.next_check_ms.expect("a timer") - world.now.wall_ms;
    assert!((8_000..=12_000).contains(&next), "{next}");
    assert_eq!(view.policy.first_check_ms.1.name(), "message");
    world.end(&half, Commit);
    let view = world.view(&half);
    assert_eq!(
        (view.state, view.waits.reason()),
        (HalfState::Committed, "decided")
    );
}

#[test]
fn pages_follow_each_other_to_the_end() {
    let mut world = World::new();
    for n in 0..10 {
        let half = world.half(1, &format!("k{n}"));
        if n % 2 == 1 {
            world.end(&half, Commit);
        }
    }
    let first = list(&world, &Filter::default(), 0, 3, 100);
    assert_eq!(seqs(&first), [0, 2, 4]);
    let second = list(
        &world,
        &Filter::default(),
        first.next.expect("more").0,
        3,
        100,
    );
    assert_eq!((seqs(&second), second.next), (vec![6, 8], None));
}

#[test]
fn a_scan_budget_ends_a_page_early_and_the_cursor_goes_on() {
    let mut world = World::new();
    for n in 0..10 {
        world.half(1, &format!("k{n}"));
    }
    let filter = Filter {
        unique_key: Some("k9".into()),
        ..Filter::default()
    };
    let (mut from, mut calls) = (0, 0);
    let found = loop {
        let page = list(&world, &filter, from, 5, 4);
        assert!(page.scanned <= 4);
        calls += 1;
        match page.next {
            Some(next) => from = next.0,
            None => break page,
        }
    };
    assert_eq!((seqs(&found), calls), (vec![9], 3));
}

#[test]
fn filters_by_topic_group_state_and_age() {
    let mut world = World::new();
    world.half(1, "a");
    world.run(5_000);
    let text = properties("b", "").replace("PGROUP\u{1}g", "PGROUP\u{1}h");
    let mut other = half(&text, 1);
    other.message.topic = "u";
    world.send(other).expect("good");
    let by = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        seqs(&list(&world, &filter, 0, 10, 10))
    };
    assert_eq!(by(&|_| {}), [0, 1]);
    assert_eq!(by(&|filter| filter.topic = Some("u".into())), [1]);
    assert_eq!(by(&|filter| filter.group = Some("g".into())), [0]);
    assert_eq!(
        by(&|filter| filter.group = Some("never heard of".into())),
        [0; 0]
    );
    assert_eq!(by(&|filter| filter.state = Some(HalfState::Parked)), [0; 0]);
    assert_eq!(by(&|filter| filter.age_min_ms = Some(5_000)), [0]);
    assert_eq!(by(&|filter| filter.age_max_ms = Some(4_999)), [1]);
}

#[test]
fn a_missing_topic_is_seen_before_anybody_commits() {
    let mut world = World::new();
    let half = world.half(1, "k");
    assert!(!world.view(&half).topic_missing);
    world.topics.clear();
    assert!(world.view(&half).topic_missing);
}
