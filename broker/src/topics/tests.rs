use super::*;

fn topics() -> Topics {
    Topics::open(&Settings::default(), []).unwrap()
}

fn send<'a>(topic: &'a str, default_topic: &'a str, default_queues: i32) -> Wanted<'a> {
    Wanted {
        topic,
        default_topic,
        default_queues,
        sys_flag: 0,
    }
}

fn update(topic: &str) -> Update<'_> {
    Update {
        topic,
        read_queues: 8,
        write_queues: 8,
        perm: 6,
        filter_type: "SINGLE_TAG",
        sys_flag: 0,
        order: false,
        attributes: "",
    }
}

#[track_caller]
fn created(plan: Result<Plan, TopicRefused>) -> TopicConfig {
    match plan {
        Ok(Plan::Create(topic)) => topic,
        other => panic!("nothing is created: {other:?}"),
    }
}

#[test]
fn the_topics_of_a_stock_broker_are_there_from_the_start() {
    let topics = topics();
    let found: Vec<_> = topics
        .all()
        .iter()
        .map(|t| (t.name.to_string(), t.write_queues, t.perm))
        .collect();
    let expected = [
        ("BenchmarkTest", 1024, 6),
        ("DefaultCluster", 16, 7),
        ("DefaultCluster_REPLY_TOPIC", 1, 6),
        ("OFFSET_MOVED_EVENT", 1, 6),
        ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
        ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("SELF_TEST_TOPIC", 1, 6),
        ("TBW102", 8, 7),
        ("broker-a", 1, 7),
        ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
        ("rmq_sys_wheel_timer", 1, 6),
    ];
    assert_eq!(
        found,
        expected.map(|(name, queues, perm)| (name.to_owned(), queues, perm))
    );
    assert!(found.iter().all(|(name, ..)| topics.is_system(name)));
}

#[test]
fn a_send_to_an_unknown_topic_creates_it_from_the_default_topic() {
    let topics = topics();
    let orders = created(topics.plan_for_send(send("orders", "TBW102", 4)));
    assert_eq!(
        (orders.read_queues, orders.write_queues, orders.perm),
        (4, 4, 6)
    );
    topics.put(orders);
    assert!(matches!(
        topics.plan_for_send(send("orders", "TBW102", 4)),
        Ok(Plan::Exists(_))
    ));
    assert_eq!(
        created(topics.plan_for_send(send("many", "TBW102", 99))).write_queues,
        8
    );
    assert_eq!(
        created(topics.plan_for_send(send("few", "TBW102", -3))).write_queues,
        0
    );
}

#[test]
fn without_a_default_topic_that_passes_on_its_permission_the_topic_does_not_exist() {
    let topics = topics();
    for default in ["", "no such topic", "SELF_TEST_TOPIC"] {
        let refused = topics
            .plan_for_send(send("orders", default, 4))
            .unwrap_err();
        assert_eq!(refused.code(), response::TOPIC_NOT_EXIST);
    }
    let settings = Settings {
        auto_create_topic_enable: false,
        ..Settings::default()
    };
    let topics = Topics::open(&settings, []).unwrap();
    let refused = topics
        .plan_for_send(send("orders", "TBW102", 4))
        .unwrap_err();
    assert_eq!(refused.code(), response::TOPIC_NOT_EXIST);
    assert_eq!(
        created(topics.plan_for_send(send("%RETRY%g", "TBW102", 4))).write_queues,
        1
    );
    assert_eq!(created(topics.plan_internal("%DLQ%g", 1)).perm, 6);
}

#[test]
fn a_name_against_the_rules_is_an_invalid_parameter() {
    let topics = topics();
    for name in ["", "a b", "a/b", &"t".repeat(128)] {
        assert_eq!(
            topics
                .plan_for_send(send(name, "TBW102", 4))
                .unwrap_err()
                .code(),
            response::INVALID_PARAMETER
        );
        assert_eq!(
            topics.plan_update(&update(name)).unwrap_err().code(),
            response::INVALID_PARAMETER
        );
    }
}

#[test]
fn an_update_changes_what_differs_and_nothing_else() {
    let topics = topics();
    topics.put(created(topics.plan_update(&Update {
        attributes: "+message.type=FIFO",
        ..update("orders")
    })));
    assert!(matches!(
        topics.plan_update(&update("orders")),
        Ok(Plan::Exists(_))
    ));
    let wider = created(topics.plan_update(&Update {
        write_queues: 16,
        order: true,
        ..update("orders")
    }));
    assert_eq!(
        (wider.read_queues, wider.write_queues, wider.order),
        (8, 16, true)
    );
    assert_eq!(wider.attributes["message.type"], "FIFO");
}

#[test]
fn an_update_out_of_range_is_an_invalid_parameter() {
    let topics = topics();
    for bad in [
        Update {
            perm: 8,
            ..update("orders")
        },
        Update {
            perm: -1,
            ..update("orders")
        },
        Update {
            read_queues: -1,
            ..update("orders")
        },
        Update {
            write_queues: i32::MAX,
            ..update("orders")
        },
        update("TBW102"),
        update("DefaultCluster"),
        update("broker-a"),
        update("rmq_sys_mine"),
    ] {
        assert_eq!(
            topics.plan_update(&bad).unwrap_err().code(),
            response::INVALID_PARAMETER,
            "{bad:?}"
        );
    }
}

#[test]
fn system_topics_cannot_be_deleted_and_unknown_ones_can() {
    let topics = topics();
    for name in [
        "",
        " ",
        "TBW102",
        "broker-a",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
    ] {
        assert_eq!(
            topics.check_delete(name).unwrap_err().code(),
            response::INVALID_PARAMETER,
            "{name}"
        );
    }
    assert_eq!(topics.check_delete("nobody knows it"), Ok(()));
}

#[test]
fn the_stored_form_is_read_back() {
    let topics = topics();
    let mut orders = created(topics.plan_update(&Update {
        attributes: "+message.type=FIFO",
        ..update("orders")
    }));
    orders.order = true;
    let json = orders.stored();
    assert_eq!(
        String::from_utf8(json.clone()).unwrap(),
        r#"{"readQueueNums":8,"writeQueueNums":8,"perm":6,"topicFilterType":"SINGLE_TAG","topicSysFlag":0,"order":true,"attributes":{"message.type":"FIFO"}}"#,
    );
    let reopened = Topics::open(&Settings::default(), [("orders", json.as_slice())]).unwrap();
    assert_eq!(*reopened.get("orders").unwrap(), orders);
    assert!(
        Topics::open(&Settings::default(), [("orders", b"{}".as_slice())])
            .unwrap_err()
            .contains("orders")
    );
}
