//! Heartbeats: who belongs to a consumer group, who is told of changes, and how membership ends.

mod support;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{Client, Running, frame, pull, send, with};

const CLIENT_CONFIG_SQL: &str = r#"{"clientId":"c","group":"cg","subscriptionData":{"topic":"t","subString":"a > 1","expressionType":"SQL92"}}"#;

fn heartbeat(client: &str, topics: &[&str]) -> Frame {
    let subscriptions: Vec<String> = topics
        .iter()
        .map(|topic| {
            format!(
                concat!(
                    r#"{{"classFilterMode":false,"topic":"{}","subString":"TagA","tagsSet":["TagA"],"#,
                    r#""codeSet":[2598919],"subVersion":1690000000000,"expressionType":"TAG"}}"#
                ),
                topic
            )
        })
        .collect();
    let body = format!(
        concat!(
            r#"{{"clientID":"{}","producerDataSet":[{{"groupName":"pg"}}],"consumerDataSet":["#,
            r#"{{"groupName":"cg","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","#,
            r#""consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{}]}}]}}"#
        ),
        client,
        subscriptions.join(",")
    );
    Frame::request(request::HEART_BEAT).with_body(body)
}

async fn members(client: &mut Client) -> Frame {
    client
        .call(frame(
            request::GET_CONSUMER_LIST_BY_GROUP,
            &[("consumerGroup", "cg")],
        ))
        .await
}

async fn told(client: &mut Client) -> String {
    let notice = client.asked(request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert!(notice.is_oneway());
    notice
        .ext
        .get("consumerGroup")
        .expect("it names the group")
        .to_owned()
}

#[tokio::test]
async fn members_are_listed_and_told_of_each_other() {
    let running = Running::start().await;
    let mut one = running.client().await;
    let answer = one.call(heartbeat("one", &["t"])).await;
    assert_eq!(answer.code, 0);
    assert_eq!(
        answer.version, 513,
        "clients remember it as this broker's version"
    );
    assert_eq!(answer.ext.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(answer.ext.get("IS_SUB_CHANGE"), Some("true"));
    assert_eq!(told(&mut one).await, "cg");

    let mut two = running.client().await;
    two.call(heartbeat("two", &["t"])).await;
    assert_eq!(told(&mut one).await, "cg");
    assert_eq!(told(&mut two).await, "cg");
    assert_eq!(
        &members(&mut one).await.body[..],
        br#"{"consumerIdList":["one","two"]}"#
    );

    drop(two);
    assert_eq!(told(&mut one).await, "cg");
    assert_eq!(
        &members(&mut one).await.body[..],
        br#"{"consumerIdList":["one"]}"#
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn who_unregisters_is_gone_at_once() {
    let running = Running::start().await;
    let mut one = running.client().await;
    one.call(heartbeat("one", &["t"])).await;
    let leave = [
        ("clientID", "one"),
        ("producerGroup", "pg"),
        ("consumerGroup", "cg"),
    ];
    assert_eq!(
        one.call(frame(request::UNREGISTER_CLIENT, &leave))
            .await
            .code,
        0
    );
    let answer = members(&mut one).await;
    assert_eq!(
        (answer.code, answer.remark.as_deref()),
        (1, Some("no consumer for this group, cg"))
    );
    assert_eq!(
        one.call(frame(request::UNREGISTER_CLIENT, &leave))
            .await
            .code,
        0
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_heartbeat_makes_the_group_and_its_retry_topic() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.call(heartbeat("one", &["t"])).await;
    let mut names = Client::connect(running.broker.addresses().namesrv).await;
    let route = names
        .call(frame(
            request::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", "%RETRY%cg")],
        ))
        .await;
    assert_eq!(route.code, 0);
    assert!(
        std::str::from_utf8(&route.body)
            .expect("text")
            .contains(r#""perm":6,"readQueueNums":1"#)
    );
    let running = running
        .restart_with(|settings| settings.auto_create_subscription_group = false)
        .await;
    let mut client = running.client().await;
    client.call(send("t", 0, b"x", &[])).await;
    assert_eq!(
        client.call(pull("t", 0, 0, 0)).await.code,
        0,
        "the group is still there"
    );
    let other = with(pull("t", 0, 0, 0), "consumerGroup", "other");
    assert_eq!(client.call(other).await.code, 26);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn pulls_filter_by_the_tags_of_the_heartbeat() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for (body, tag) in [(b"a", "TagA"), (b"b", "TagB"), (b"c", "TagA")] {
        client.call(send("t", 0, body, &[("TAGS", tag)])).await;
    }
    let by_heartbeat = || {
        with(
            with(pull("t", 0, 0, 0), "sysFlag", "0"),
            "subVersion",
            "1690000000000",
        )
    };
    assert_eq!(
        client.call(by_heartbeat()).await.code,
        24,
        "nobody knows the group's subscription"
    );
    client.call(heartbeat("one", &["t"])).await;
    let answer = client.call(by_heartbeat()).await;
    let bodies: Vec<_> = support::messages(&answer)
        .iter()
        .map(|m| m.message.body.to_vec())
        .collect();
    assert_eq!(bodies, [b"a", b"c"]);
    let newer = with(by_heartbeat(), "subVersion", "1690000000001");
    assert_eq!(client.call(newer).await.code, 25);
    assert_eq!(
        client
            .call(with(by_heartbeat(), "topic", "TBW102"))
            .await
            .code,
        24
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_heartbeat_that_is_none_is_refused_and_the_connection_lives() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let long = format!(r#"{{"clientID":"{}"}}"#, "c".repeat(300));
    for body in ["", "{", "[]", "{}", r#"{"clientID":""}"#, &long] {
        let answer = client
            .call(Frame::request(request::HEART_BEAT).with_body(body.to_owned()))
            .await;
        assert_eq!(answer.code, 1, "{body}");
        assert!(answer.remark.is_some());
    }
    assert_eq!(client.call(heartbeat("one", &["t"])).await.code, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_group_against_the_rules_is_passed_over() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let body = heartbeat("one", &["t"]).body;
    let body = String::from_utf8(body.to_vec())
        .expect("text")
        .replace(r#""cg""#, r#""c g""#);
    let answer = client
        .call(Frame::request(request::HEART_BEAT).with_body(body))
        .await;
    assert_eq!(answer.code, 0);
    let list = frame(
        request::GET_CONSUMER_LIST_BY_GROUP,
        &[("consumerGroup", "c g")],
    );
    assert_eq!(client.call(list).await.code, 1);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn short_heartbeats_keep_subscriptions_and_ask_for_unknown_ones() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let beat = |fingerprint: i32, short: bool, topics: &[&str]| {
        let body = String::from_utf8(heartbeat("one", topics).body.to_vec()).expect("text");
        let head = format!(r#"{{"heartbeatFingerprint":{fingerprint},"withoutSub":{short},"#);
        Frame::request(request::HEART_BEAT).with_body(body.replacen('{', &head, 1))
    };
    let change = |answer: &Frame| {
        answer
            .ext
            .get("IS_SUB_CHANGE")
            .expect("it says so")
            .to_owned()
    };
    assert_eq!(change(&client.call(beat(7, true, &[])).await), "true");
    assert_eq!(change(&client.call(beat(7, false, &["t"])).await), "false");
    assert_eq!(change(&client.call(beat(7, true, &[])).await), "false");
    client.call(send("t", 0, b"x", &[("TAGS", "TagA")])).await;
    let by_heartbeat = with(with(pull("t", 0, 0, 0), "sysFlag", "0"), "subVersion", "1");
    assert_eq!(
        client.call(by_heartbeat).await.code,
        0,
        "the subscription is still known"
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn only_tags_are_filtered() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let check =
        |body: &str| Frame::request(request::CHECK_CLIENT_CONFIG).with_body(body.to_owned());
    assert_eq!(client.call(check(CLIENT_CONFIG_SQL)).await.code, 1);
    let by_tag = CLIENT_CONFIG_SQL.replace("SQL92", "TAG");
    assert_eq!(client.call(check(&by_tag)).await.code, 0);
    assert_eq!(client.call(check("")).await.code, 0);
    assert_eq!(client.call(check("{")).await.code, 1);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_queue_lock_has_one_owner() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let body = |client: &str| {
        format!(
            concat!(
                r#"{{"consumerGroup":"cg","clientId":"{}","onlyThisBroker":false,"mqSet":["#,
                r#"{{"brokerName":"broker-a","queueId":0,"topic":"t"}}]}}"#
            ),
            client
        )
    };
    let lock = |client: &str| Frame::request(request::LOCK_BATCH_MQ).with_body(body(client));
    let unlock = |client: &str| Frame::request(request::UNLOCK_BATCH_MQ).with_body(body(client));
    let granted = br#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"t"}]}"#;
    assert_eq!(&client.call(lock("one")).await.body[..], granted);
    assert_eq!(
        &client.call(lock("two")).await.body[..],
        br#"{"lockOKMQSet":[]}"#
    );
    assert_eq!(client.call(unlock("two")).await.code, 0);
    assert_eq!(
        &client.call(lock("two")).await.body[..],
        br#"{"lockOKMQSet":[]}"#
    );
    assert_eq!(client.call(unlock("one")).await.code, 0);
    assert_eq!(&client.call(lock("two")).await.body[..], granted);
    let broken = Frame::request(request::LOCK_BATCH_MQ).with_body("{".to_owned());
    assert_eq!(client.call(broken).await.code, 1);
    running.broker.shutdown().await;
}
