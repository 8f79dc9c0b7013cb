use super::Capability::{Declared, Shown, Unknown};
use super::*;

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);
const C: ConnectionId = ConnectionId(3);

fn join(
    members: &mut Members,
    connection: ConnectionId,
    client_id: &str,
    capability: Capability,
) -> bool {
    members.join(Member {
        group: "g",
        connection,
        client_id,
        address: &format!("10.0.0.{}:5", connection.0),
        capability,
    })
}

fn question<'a>(
    sender: &'a str,
    exact: Option<ConnectionId>,
    tried: &'a [ConnectionId],
) -> Question<'a> {
    Question {
        group: "g",
        sender,
        exact,
        tried,
        declared_first: false,
    }
}

fn pick(
    members: &mut Members,
    sender: &str,
    exact: Option<ConnectionId>,
    tried: &[ConnectionId],
) -> Pick {
    members.pick(question(sender, exact, tried))
}

#[test]
fn the_sending_connection_is_asked_first_then_its_client_then_the_capable_then_the_rest() {
    let mut members = Members::default();
    join(&mut members, ConnectionId(9), "rest", Unknown);
    join(&mut members, C, "other", Shown);
    join(&mut members, A, "sender", Shown);
    join(&mut members, B, "sender", Shown);
    let mut tried = Vec::new();
    for expected in [B, A, C, ConnectionId(9)] {
        assert_eq!(
            pick(&mut members, "sender", Some(B), &tried),
            Pick::Ask(expected)
        );
        tried.push(expected);
    }
    assert_eq!(pick(&mut members, "sender", Some(B), &tried), Pick::Nobody);
    assert_eq!(
        members.pick(Question {
            group: "another group",
            ..question("sender", Some(B), &[])
        }),
        Pick::Nobody
    );
}

#[test]
fn equals_are_asked_in_turn() {
    let mut members = Members::default();
    for connection in [A, B, C] {
        join(&mut members, connection, "", Shown);
    }
    let asked: Vec<Pick> = (0..4)
        .map(|_| pick(&mut members, "gone", None, &[]))
        .collect();
    assert_eq!(
        asked,
        [Pick::Ask(A), Pick::Ask(B), Pick::Ask(C), Pick::Ask(A)]
    );
}

#[test]
fn two_silent_checks_demote_and_an_answer_restores() {
    let mut members = Members::default();
    join(&mut members, A, "sender", Shown);
    join(&mut members, B, "other", Shown);
    members.was_silent("g", A);
    assert_eq!(
        pick(&mut members, "sender", None, &[]),
        Pick::Ask(A),
        "once is an accident"
    );
    members.was_silent("g", A);
    assert_eq!(pick(&mut members, "sender", None, &[]), Pick::Ask(B));
    assert_eq!(
        pick(&mut members, "sender", None, &[B]),
        Pick::Ask(A),
        "still better than nobody"
    );
    members.answered("g", A);
    assert_eq!(pick(&mut members, "sender", None, &[]), Pick::Ask(A));
}

#[test]
fn who_answers_a_check_becomes_capable() {
    let mut members = Members::default();
    join(&mut members, A, "a", Unknown);
    join(&mut members, B, "b", Unknown);
    members.answered("g", B);
    let asked: Vec<Pick> = (0..3)
        .map(|_| pick(&mut members, "gone", None, &[]))
        .collect();
    assert_eq!(asked, [Pick::Ask(B); 3]);
}

#[test]
fn a_sender_with_64_checks_in_flight_is_waited_for_another_member_is_passed_over() {
    let mut members = Members::default();
    join(&mut members, A, "a", Shown);
    join(&mut members, B, "b", Shown);
    for _ in 0..64 {
        members.asked(A);
    }
    assert_eq!(pick(&mut members, "a", None, &[]), Pick::Wait(A));
    assert_eq!(pick(&mut members, "x", None, &[]), Pick::Ask(B));
    assert_eq!(pick(&mut members, "x", None, &[]), Pick::Ask(B));
    members.settled(A);
    assert_eq!(pick(&mut members, "a", None, &[]), Pick::Ask(A));
}

#[test]
fn a_client_is_gone_with_its_last_connection() {
    let mut members = Members::default();
    join(&mut members, A, "client", Shown);
    join(&mut members, B, "client", Shown);
    assert_eq!(members.leave(A).senders.len(), 0);
    let gone: Vec<String> = members
        .leave(B)
        .senders
        .iter()
        .map(|s| s.to_string())
        .collect();
    assert_eq!(gone, ["client", "10.0.0.2:5"]);
    assert!(!members.has_group("g"));
}

#[test]
fn a_connection_may_give_its_name_after_its_first_half() {
    let mut members = Members::default();
    assert!(join(&mut members, A, "", Shown));
    assert_eq!(members.presumed_sender("10.0.0.1:5"), Some(A));
    assert!(!join(&mut members, A, "client", Unknown));
    assert_eq!(members.presumed_sender("client"), Some(A));
    assert_eq!(members.presumed_sender("10.0.0.1:5"), Some(A));
    join(&mut members, B, "client", Shown);
    assert_eq!(
        members.leave(A),
        Departed::default(),
        "the client is still there"
    );
}

#[test]
fn leaving_a_group_is_not_leaving() {
    let mut members = Members::default();
    join(&mut members, A, "client", Shown);
    members.leave_group("g", A);
    assert!(!members.has_group("g"));
    assert!(members.is_connected("client"));
}

#[test]
fn who_declared_it_is_asked_first_where_that_is_wanted_and_the_sender_first_among_them() {
    let [d, e, f] = [4, 5, 6].map(ConnectionId);
    let mut members = Members::default();
    join(&mut members, A, "sender", Shown);
    join(&mut members, B, "other", Declared);
    join(&mut members, C, "sender", Declared);
    join(&mut members, d, "shown", Shown);
    join(&mut members, e, "third", Declared);
    join(&mut members, f, "rest", Unknown);
    let mut order = |declared_first| {
        let mut tried = Vec::new();
        while let Pick::Ask(next) = members.pick(Question {
            declared_first,
            ..question("sender", Some(A), &tried)
        }) {
            tried.push(next);
        }
        members.groups.values_mut().for_each(|group| group.turn = 0);
        tried
    };
    assert_eq!(order(true), [C, B, e, A, d, f]);
    assert_eq!(order(false), [A, C, B, d, e, f]);
    members.was_silent("g", C);
    members.was_silent("g", C);
    let first = members.pick(Question {
        declared_first: true,
        ..question("sender", Some(A), &[])
    });
    assert_eq!(first, Pick::Ask(B), "who is silent has lost its turn");
}

#[test]
fn a_declaration_is_news_once_and_is_kept() {
    let mut members = Members::default();
    assert!(join(&mut members, A, "a", Unknown));
    assert!(!join(&mut members, A, "a", Shown));
    assert!(join(&mut members, A, "a", Declared));
    assert!(!join(&mut members, A, "a", Declared));
    assert!(!join(&mut members, A, "a", Unknown));
    assert!(members.has_declared("g"));
    members.answered("g", A);
    assert!(members.has_declared("g"));
    members.leave(A);
    assert!(!members.has_declared("g"));
}
