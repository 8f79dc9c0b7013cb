use super::*;

fn text<T: Serialize>(body: &T) -> String {
    String::from_utf8(encode(body).unwrap()).unwrap()
}

#[test]
fn a_route_is_standard_json_without_white_space() {
    let route = TopicRouteData {
        broker_datas: vec![BrokerData {
            broker_addrs: [(0, "1.2.3.4:10911".to_owned())].into(),
            broker_name: "b0".to_owned(),
            cluster: "DefaultCluster".to_owned(),
            enable_acting_master: false,
            zone_name: None,
        }],
        filter_server_table: [].into(),
        order_topic_conf: Some("b0:4".to_owned()),
        queue_datas: vec![QueueData {
            broker_name: "b0".to_owned(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
    };
    let golden = concat!(
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"1.2.3.4:10911"},"brokerName":"b0","cluster":"DefaultCluster","#,
        r#""enableActingMaster":false}],"filterServerTable":{},"orderTopicConf":"b0:4","queueDatas":["#,
        r#"{"brokerName":"b0","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
    );
    assert_eq!(text(&route), golden);
    assert_eq!(decode::<TopicRouteData>(golden.as_bytes()).unwrap(), route);

    let [broker] = route.broker_datas.try_into().unwrap();
    let cluster = ClusterInfo {
        broker_addr_table: [("b0".to_owned(), broker)].into(),
        cluster_addr_table: [("DefaultCluster".to_owned(), vec!["b0".to_owned()])].into(),
    };
    let golden = concat!(
        r#"{"brokerAddrTable":{"b0":{"brokerAddrs":{"0":"1.2.3.4:10911"},"brokerName":"b0","#,
        r#""cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["b0"]}}"#
    );
    assert_eq!(text(&cluster), golden);
    assert_eq!(decode::<ClusterInfo>(golden.as_bytes()).unwrap(), cluster);
}

#[test]
fn a_java_heartbeat_is_read() {
    let java = concat!(
        r#"{"clientID":"10.0.0.1@4321#9876543210","heartbeatFingerprint":0,"withoutSub":false,"#,
        r#""producerDataSet":[{"groupName":"pg"}],"consumerDataSet":[{"groupName":"cg","#,
        r#""consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","#,
        r#""consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":["#,
        r#"{"classFilterMode":false,"topic":"t","subString":"A || B","tagsSet":["A","B"],"codeSet":[65,66],"#,
        r#""subVersion":1690000000000,"expressionType":"TAG"}]}]}"#
    );
    let heartbeat: HeartbeatData = decode(java.as_bytes()).unwrap();
    assert_eq!(heartbeat.client_id, "10.0.0.1@4321#9876543210");
    assert_eq!(heartbeat.producer_data_set[0].group_name, "pg");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_type, ConsumeType::Passively);
    assert_eq!(consumer.message_model, MessageModel::Clustering);
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::LastOffset);
    let subscription = &consumer.subscription_data_set[0];
    assert_eq!(
        (subscription.code_set.as_slice(), subscription.sub_version),
        (&[65, 66][..], 1_690_000_000_000)
    );
    assert_eq!(
        decode::<HeartbeatData>(text(&heartbeat).as_bytes()).unwrap(),
        heartbeat
    );
}

#[test]
fn a_go_heartbeat_is_read() {
    let go = concat!(
        r#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"cg","#,
        r#""consumeType":"CONSUME_SIDEWAYS","messageModel":"CLUSTERING","consumeFromWhere":null,"#,
        r#""subscriptionDataSet":[{"classFilterMode":false,"topic":"t","subString":"A","tagsSet":["A"],"#,
        r#""codeSet":["-65"],"subVersion":1,"expressionType":"TAG"},{"topic":"u","codeSet":null,"x":{}}],"#,
        r#""unitMode":false}]}"#
    );
    let heartbeat: HeartbeatData = decode(go.as_bytes()).unwrap();
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.consume_type, consumer.message_model),
        (ConsumeType::Unknown, MessageModel::Clustering)
    );
    assert_eq!(consumer.subscription_data_set[0].code_set, [-65]);
    assert!(consumer.subscription_data_set[1].code_set.is_empty());
    let wrong = go.replace("-65", "x");
    assert!(decode::<HeartbeatData>(wrong.as_bytes()).is_err());
}

#[test]
fn locks_lists_and_topics_have_their_names() {
    let queue = MessageQueue {
        broker_name: "b0".to_owned(),
        queue_id: 1,
        topic: "t".to_owned(),
    };
    let lock = LockBatchRequest {
        client_id: "c".to_owned(),
        consumer_group: "cg".to_owned(),
        mq_set: vec![queue.clone()],
        only_this_broker: false,
    };
    let golden = concat!(
        r#"{"clientId":"c","consumerGroup":"cg","mqSet":[{"brokerName":"b0","queueId":1,"topic":"t"}],"#,
        r#""onlyThisBroker":false}"#
    );
    assert_eq!(text(&lock), golden);
    assert_eq!(decode::<LockBatchRequest>(golden.as_bytes()).unwrap(), lock);
    let locked = LockBatchResponse {
        locked: vec![queue],
    };
    assert_eq!(
        text(&locked),
        r#"{"lockOKMQSet":[{"brokerName":"b0","queueId":1,"topic":"t"}]}"#
    );
    assert_eq!(
        text(&ConsumerList {
            consumer_id_list: vec!["c".to_owned()]
        }),
        r#"{"consumerIdList":["c"]}"#
    );
    assert_eq!(text(&TopicList::default()), r#"{"topicList":[]}"#);
    let golden = concat!(
        r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","#,
        r#""topicName":"t","topicSysFlag":0,"writeQueueNums":4}"#
    );
    assert_eq!(text(&TopicConfig::new("t", 4)), golden);
    assert_eq!(
        decode::<TopicConfig>(golden.as_bytes()).unwrap(),
        TopicConfig::new("t", 4)
    );
}

#[test]
fn what_is_no_body_is_refused() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"clientID":1}"#,
        r#"{"clientID":"c","producerDataSet":[{}]}"#,
    ] {
        assert!(decode::<HeartbeatData>(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = "[".repeat(100_000);
    assert!(decode::<TopicRouteData>(deep.as_bytes()).is_err());
}

/// As Apache's name server writes it, whatever the request says of standard JSON.
#[test]
fn whole_numbers_without_quotes_are_keys() {
    let java = concat!(
        r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"1.2.3.4:10911", -1 :"a\",2:b"},"brokerName":"broker-a","#,
        r#""cluster":"C","enableActingMaster":false}},"clusterAddrTable":{"C":["broker-a"]}}"#
    );
    let cluster: ClusterInfo = decode(java.as_bytes()).unwrap();
    assert_eq!(
        cluster.broker_addr_table["broker-a"].broker_addrs,
        [
            (0, "1.2.3.4:10911".to_owned()),
            (-1, r#"a",2:b"#.to_owned())
        ]
        .into()
    );
    for still_bad in [r#"{1.5:"a"}"#, r#"{0:"#, r#"{0:"a"#, r#"{a:1}"#] {
        assert!(decode::<ClusterInfo>(still_bad.as_bytes()).is_err());
    }
}
