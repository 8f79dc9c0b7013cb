use super::*;

fn client(connection: u64, client_id: &str) -> Client {
    Client {
        connection: ConnectionId(connection),
        address: ([127, 0, 0, 1], 9).into(),
        client_id: client_id.to_owned(),
        language: 0,
        version: 513,
    }
}

fn subscription(topic: &str, tags: &str, sub_version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.to_owned(),
        sub_string: tags.to_owned(),
        sub_version,
        ..SubscriptionData::default()
    }
}

/// A heartbeat of group "g" that subscribes these topics.
fn heartbeat(topics: &[&str]) -> Registration {
    Registration {
        group: "g".to_owned(),
        consume_type: ConsumeType::Passively,
        message_model: MessageModel::Clustering,
        consume_from_where: ConsumeFromWhere::LastOffset,
        subscriptions: Some(
            topics
                .iter()
                .map(|topic| subscription(topic, "*", 1))
                .collect(),
        ),
        fingerprint: 0,
    }
}

fn connections(numbers: &[u64]) -> Vec<ConnectionId> {
    numbers.iter().copied().map(ConnectionId).collect()
}

#[test]
fn a_new_member_and_a_new_topic_are_news_to_all_members() {
    let consumers = Consumers::default();
    let beat = |connection, id: &str, topics: &[&str]| {
        consumers
            .register(0, &client(connection, id), heartbeat(topics))
            .tell
    };
    assert_eq!(beat(1, "a", &["t"]), connections(&[1]));
    assert_eq!(beat(1, "a", &["t"]), connections(&[]));
    assert_eq!(beat(2, "b", &["t"]), connections(&[1, 2]));
    assert_eq!(beat(2, "b", &["t", "u"]), connections(&[1, 2]));
    assert_eq!(beat(2, "b", &["t"]), connections(&[1, 2]));
    assert_eq!(consumers.client_ids("g"), ["a", "b"]);
}

#[test]
fn a_newer_version_replaces_a_subscription_quietly_and_an_older_one_does_not() {
    let consumers = Consumers::default();
    let beat = |tags, version| {
        let subscriptions = Some(vec![subscription("t", tags, version)]);
        consumers
            .register(
                0,
                &client(1, "a"),
                Registration {
                    subscriptions,
                    ..heartbeat(&[])
                },
            )
            .tell
    };
    beat("TagA", 5);
    assert_eq!(beat("TagB", 6), connections(&[]));
    assert_eq!(consumers.subscription("g", "t").unwrap().expression, "TagB");
    beat("TagC", 6);
    assert_eq!(consumers.subscription("g", "t").unwrap().expression, "TagB");
    assert!(consumers.subscription("g", "other topic").is_none());
    assert!(consumers.subscription("other group", "t").is_none());
}

#[test]
fn members_of_a_broadcasting_group_are_not_told() {
    let consumers = Consumers::default();
    let broadcasting = Registration {
        message_model: MessageModel::Broadcasting,
        ..heartbeat(&["t"])
    };
    assert_eq!(
        consumers
            .register(0, &client(1, "a"), broadcasting.clone())
            .tell,
        []
    );
    assert_eq!(
        consumers.register(0, &client(2, "b"), broadcasting).tell,
        []
    );
    assert_eq!(
        consumers.closed(ConnectionId(1)),
        [Change {
            group: "g".into(),
            tell: vec![]
        }]
    );
}

#[test]
fn who_leaves_is_news_to_those_who_stay() {
    let consumers = Consumers::default();
    for connection in 1..=3 {
        consumers.register(0, &client(connection, "a"), heartbeat(&["t"]));
    }
    let left = consumers.unregister("g", ConnectionId(1)).unwrap();
    assert_eq!(left.tell, connections(&[2, 3]));
    assert_eq!(consumers.unregister("g", ConnectionId(1)), None);
    assert_eq!(
        consumers.closed(ConnectionId(2)),
        [Change {
            group: "g".into(),
            tell: connections(&[3])
        }]
    );
    consumers.closed(ConnectionId(3));
    assert!(consumers.views().is_empty());
    assert_eq!(consumers.message_model("g"), None);
}

#[test]
fn silence_of_120_seconds_ends_a_membership() {
    let consumers = Consumers::default();
    consumers.register(0, &client(1, "a"), heartbeat(&["t"]));
    consumers.register(60_000, &client(2, "b"), heartbeat(&["t"]));
    assert_eq!(consumers.expire(120_000), (vec![], vec![]));
    let (changes, closed) = consumers.expire(120_001);
    assert_eq!(
        changes,
        [Change {
            group: "g".into(),
            tell: connections(&[2])
        }]
    );
    assert_eq!(closed, connections(&[1]));
}

#[test]
fn a_client_that_reconnects_is_listed_once() {
    let consumers = Consumers::default();
    consumers.register(0, &client(1, "a"), heartbeat(&["t"]));
    consumers.register(1, &client(2, "a"), heartbeat(&["t"]));
    assert_eq!(consumers.client_ids("g"), ["a"]);
}

#[test]
fn short_heartbeats_keep_the_subscriptions() {
    let consumers = Consumers::default();
    let beat = |fingerprint, topics: Option<&[&str]>| {
        let subscriptions = topics.and_then(|topics| heartbeat(topics).subscriptions);
        let registration = Registration {
            fingerprint,
            subscriptions,
            ..heartbeat(&[])
        };
        consumers
            .register(0, &client(1, "a"), registration)
            .subscriptions_wanted
    };
    assert!(!beat(7, Some(&["t"])));
    assert!(!beat(7, None));
    assert!(consumers.subscription("g", "t").is_some());
    assert!(beat(8, None), "other subscriptions than last time");
    assert!(
        beat(0, Some(&["t"])),
        "clients of the first version are told so always"
    );
}

#[test]
fn a_short_heartbeat_about_unknown_subscriptions_is_answered_with_a_wish_for_all() {
    let consumers = Consumers::default();
    let short = Registration {
        fingerprint: 7,
        subscriptions: None,
        ..heartbeat(&[])
    };
    assert!(
        consumers
            .register(0, &client(1, "a"), short)
            .subscriptions_wanted
    );
}
