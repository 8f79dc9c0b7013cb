//! Which halfs are taken, and how a send retry is recognised.

use crate::world::{World, assert_decided, half, properties};
use escrow_coordinator::{Decision, HalfRefused};
use escrow_protocol::code::response;
use escrow_protocol::message::decode;
use escrow_protocol::transaction::Resolution::{Commit, Rollback};

#[test]
fn a_half_is_answered_with_its_handle_half_offset_and_real_queue() {
    let mut world = World::new();
    let first = world.half(1, "a");
    let second = world.half(1, "b");
    assert_eq!((first.seq.0, second.seq.0), (0, 1));
    assert!(second.handle > first.handle);
    assert_eq!(first.queue_id, 2);
    assert!(!first.duplicate);
    assert!(first.durable_at > first.handle);
}

#[test]
fn the_stored_message_is_what_apache_delivers_but_for_the_transaction_id() {
    let mut world = World::new();
    let ack = world.half(1, "k");
    let image = world.store.half_image(ack.seq).expect("readable");
    let message = decode(&image).expect("a message");
    let properties = message.properties();
    for (name, value) in [("TRAN_MSG", "true"), ("PGROUP", "g"), ("UNIQ_KEY", "k")] {
        assert_eq!(properties.get(name), Some(value), "{name}");
    }
    for added_later in ["REAL_TOPIC", "REAL_QID", "__transactionId__"] {
        assert_eq!(properties.get(added_later), None);
    }
    assert_eq!((message.topic, message.queue_id, message.flag), ("t", 2, 7));
    assert_eq!(message.sys_flag & 0xC, 0);
    assert_eq!(world.delivered(2), [""; 0], "and nobody can read it");
}

#[test]
fn properties_that_are_ours_to_set_are_replaced() {
    let mut world = World::new();
    let ack = world.half_with(
        1,
        "k",
        "REAL_QID\u{1}9\u{2}REAL_TOPIC\u{1}x\u{2}__transactionId__\u{1}y\u{2}",
    );
    let image = world.store.half_image(ack.seq).expect("readable");
    let text = decode(&image).expect("a message").properties;
    let expected = properties("k", "");
    let sorted = |text: &str| {
        let mut all: Vec<String> = text.split_terminator('\u{2}').map(str::to_owned).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(text), sorted(&expected));
}

#[test]
fn a_missing_producer_group_property_is_filled_from_the_header() {
    let mut world = World::new();
    let ack = world
        .send(half("TRAN_MSG\u{1}true\u{2}UNIQ_KEY\u{1}k\u{2}", 1))
        .expect("good");
    assert_eq!(world.view(&ack).group, "g");
    let image = world.store.half_image(ack.seq).expect("readable");
    assert_eq!(
        decode(&image)
            .expect("a message")
            .properties()
            .get("PGROUP"),
        Some("g")
    );
}

#[test]
fn no_producer_group_at_all_is_refused() {
    let mut world = World::new();
    let mut request = half("TRAN_MSG\u{1}true\u{2}UNIQ_KEY\u{1}k\u{2}", 1);
    request.producer_group = " ";
    let refused = world.send(request).expect_err("nobody could be asked");
    assert!(matches!(refused, HalfRefused::NoGroup));
    assert_eq!(refused.code(), response::MESSAGE_ILLEGAL);
}

#[test]
fn a_delayed_half_is_refused_with_13_and_says_what_to_change() {
    let mut world = World::new();
    for property in [
        "DELAY\u{1}3",
        "TIMER_DELIVER_MS\u{1}99",
        "TIMER_DELAY_SEC\u{1}1",
    ] {
        let text = properties("k", &format!("{property}\u{2}"));
        let refused = world.send(half(&text, 1)).expect_err("delayed");
        assert_eq!(refused.code(), 13);
        let name = property.split('\u{1}').next().unwrap_or_default();
        assert!(refused.to_string().contains(name), "{refused}");
    }
    let text = properties("k", "DELAY\u{1}0\u{2}");
    assert!(world.send(half(&text, 1)).is_ok(), "level 0 is no delay");
    assert_eq!(world.undecided(), 1);
}

#[test]
fn a_half_sent_again_within_a_minute_is_answered_with_the_firsts_ids() {
    let mut world = World::new();
    let first = world.half(1, "k");
    world.run(9_000);
    let second = world.half(2, "k");
    assert!(second.duplicate);
    assert_eq!((second.handle, second.seq), (first.handle, first.seq));
    assert_eq!(second.store_timestamp, first.store_timestamp);
    assert_eq!(world.undecided(), 1);
    assert_eq!(world.coordinator.counters().duplicates, 1);
    assert_decided(&world.end(&second, Commit), Decision::Commit, false);
    assert_eq!(world.delivered(2), ["k"]);
}

#[test]
fn after_a_minute_it_is_another_half() {
    let mut world = World::new();
    let first = world.half(1, "k");
    world.run(59_999);
    assert!(world.half(1, "k").duplicate);
    world.run(1);
    let other = world.half(1, "k");
    assert!(!other.duplicate);
    assert_ne!(other.seq, first.seq);
    assert!(world.half(1, "k").duplicate, "of the newer one");
}

#[test]
fn once_decided_it_is_another_half() {
    let mut world = World::new();
    let first = world.half(1, "k");
    world.end(&first, Rollback);
    assert!(!world.half(1, "k").duplicate);
}

#[test]
fn another_group_another_topic_or_another_body_is_another_half() {
    let mut world = World::new();
    world.half(1, "k");
    let text = properties("k", "").replace("PGROUP\u{1}g", "PGROUP\u{1}h");
    assert!(!world.send(half(&text, 1)).expect("good").duplicate);
    let text = properties("k", "");
    let mut other = half(&text, 1);
    other.message.body = b"different";
    assert!(!world.send(other).expect("good").duplicate);
    let mut other = half(&text, 1);
    other.message.topic = "u";
    assert!(!world.send(other).expect("good").duplicate);
}

#[test]
fn the_window_survives_a_restart() {
    let mut world = World::new();
    let first = world.half(1, "k");
    world.crash(5_000);
    let second = world.half(1, "k");
    assert!(second.duplicate);
    assert_eq!(second.seq, first.seq);
    world.crash(56_000);
    assert!(!world.half(1, "k").duplicate);
}

#[test]
fn a_half_sent_again_is_not_stored_twice_because_the_first_cannot_be_read_this_time() {
    let mut world = World::new();
    let first = world.half(1, "k");
    world.crash(5_000);
    world.fail_read();
    let text = properties("k", "");
    let refused = world.send(half(&text, 1)).expect_err("it may be the same");
    assert_eq!(refused.code(), response::SERVICE_NOT_AVAILABLE);
    assert_eq!(world.half(1, "k").seq, first.seq);
    assert_eq!(world.undecided(), 1);
}

#[test]
fn a_half_without_unique_key_is_never_a_repetition() {
    let mut world = World::new();
    for _ in 0..2 {
        let ack = world.send(half("TRAN_MSG\u{1}true\u{2}", 1)).expect("good");
        assert!(!ack.duplicate);
    }
}

#[test]
fn a_half_that_the_store_refuses_leaves_nothing_behind() {
    let mut world = World::new();
    let text = properties("k", "");
    let body = vec![0; 64 << 10];
    let mut request = half(&text, 1);
    request.message.body = &body;
    let refused = world
        .send(request)
        .expect_err("larger than the store takes");
    assert_eq!(refused.code(), response::MESSAGE_ILLEGAL);
    assert_eq!(world.undecided(), 0);
    assert_eq!(world.run(60_000), []);
}
