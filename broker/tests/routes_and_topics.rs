//! How clients find queues: routes, automatic creation, and topics that tools make and delete.

mod support;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use support::{Client, Running, frame, messages, number, pull, send, with};

async fn name_server(running: &Running) -> Client {
    Client::connect(running.broker.addresses().namesrv).await
}

fn route(topic: &str) -> Frame {
    frame(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)])
}

fn create(topic: &str, queues: &str, perm: &str) -> Frame {
    frame(
        request::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", queues),
            ("writeQueueNums", queues),
            ("perm", perm),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ],
    )
}

fn delete(topic: &str) -> Frame {
    frame(request::DELETE_TOPIC_IN_BROKER, &[("topic", topic)])
}

fn text(answer: &Frame) -> &str {
    std::str::from_utf8(&answer.body).expect("JSON is UTF-8")
}

#[tokio::test]
async fn a_route_has_the_form_that_the_go_client_takes_apart_by_hand() {
    let running = Running::start().await;
    let mut client = name_server(&running).await;
    let answer = client.call(route("TBW102")).await;
    assert_eq!(answer.code, 0);
    assert_eq!(
        text(&answer),
        format!(
            concat!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{}"}},"brokerName":"broker-a","#,
                r#""cluster":"DefaultCluster","enableActingMaster":false}}],"filterServerTable":{{}},"#,
                r#""queueDatas":[{{"brokerName":"broker-a","perm":7,"readQueueNums":8,"#,
                r#""topicSysFlag":0,"writeQueueNums":8}}]}}"#
            ),
            running.address()
        )
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_first_send_creates_the_topic_and_its_route() {
    let running = Running::start().await;
    let mut names = name_server(&running).await;
    let missing = names.call(route("orders")).await;
    assert_eq!(missing.code, 17);
    assert!(missing.remark.expect("a remark").contains("orders"));
    let mut client = running.client().await;
    assert_eq!(client.call(send("orders", 3, b"x", &[])).await.code, 0);
    let found = names.call(route("orders")).await;
    assert!(
        text(&found).contains(r#""perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4"#)
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn without_automatic_creation_there_is_no_default_topic() {
    let running = Running::start_with(|settings| settings.auto_create_topic_enable = false).await;
    let mut names = name_server(&running).await;
    assert_eq!(names.call(route("TBW102")).await.code, 17);
    let mut client = running.client().await;
    let refused = client.call(send("orders", 0, b"x", &[])).await;
    assert_eq!(refused.code, 17);
    assert_eq!(client.call(create("orders", "2", "6")).await.code, 0);
    assert_eq!(client.call(send("orders", 1, b"x", &[])).await.code, 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_topic_can_be_made_widened_and_forbidden_and_stays_so_after_a_restart() {
    let running = Running::start().await;
    let mut client = running.client().await;
    assert_eq!(client.call(create("orders", "2", "6")).await.code, 0);
    assert_eq!(client.call(create("orders", "2", "6")).await.code, 0);
    assert_eq!(client.call(send("orders", 2, b"x", &[])).await.code, 29);
    assert_eq!(client.call(create("orders", "3", "6")).await.code, 0);
    assert_eq!(client.call(send("orders", 2, b"x", &[])).await.code, 0);
    assert_eq!(client.call(create("orders", "3", "4")).await.code, 0);
    assert_eq!(client.call(send("orders", 2, b"x", &[])).await.code, 16);
    let running = running.restart_with(|_| {}).await;
    let mut names = name_server(&running).await;
    let found = names.call(route("orders")).await;
    assert!(
        text(&found).contains(r#""perm":4,"readQueueNums":3"#),
        "{}",
        text(&found)
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_topic_against_the_rules_is_refused() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for topic in [
        "",
        "a b",
        "TBW102",
        "DefaultCluster",
        "broker-a",
        "RMQ_SYS_TRANS_HALF_TOPIC",
    ] {
        assert_eq!(
            client.call(create(topic, "4", "6")).await.code,
            29,
            "{topic}"
        );
        assert_eq!(
            client.call(delete(topic)).await.code,
            if topic == "a b" { 0 } else { 29 },
            "{topic}"
        );
    }
    assert_eq!(client.call(create("orders", "-1", "6")).await.code, 29);
    assert_eq!(client.call(create("orders", "4", "9")).await.code, 29);
    let compacted = with(
        create("orders", "4", "6"),
        "attributes",
        "+cleanup.policy=COMPACTION",
    );
    let refused = client.call(compacted).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .remark
            .expect("a remark")
            .contains("COMPACTION is not supported")
    );
    running.broker.shutdown().await;
}

#[tokio::test]
async fn a_deleted_topic_takes_its_messages_and_offsets_along() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for n in 0..3 {
        client.call(send("orders", 0, &[n], &[])).await;
    }
    client.call(pull("orders", 0, 0, 0)).await;
    let commit = [
        ("consumerGroup", "cg"),
        ("topic", "orders"),
        ("queueId", "0"),
        ("commitOffset", "3"),
    ];
    assert_eq!(
        client
            .call(frame(request::UPDATE_CONSUMER_OFFSET, &commit))
            .await
            .code,
        0
    );
    assert_eq!(client.call(delete("orders")).await.code, 0);
    assert_eq!(client.call(delete("orders")).await.code, 0);
    assert_eq!(client.call(pull("orders", 0, 0, 0)).await.code, 17);
    let mut names = name_server(&running).await;
    assert_eq!(names.call(route("orders")).await.code, 17);

    assert_eq!(client.call(send("orders", 0, b"again", &[])).await.code, 0);
    let answer = client.call(pull("orders", 0, 0, 0)).await;
    let found: Vec<_> = messages(&answer)
        .iter()
        .map(|m| m.message.body.to_vec())
        .collect();
    assert_eq!(found, [b"again"]);
    let query = frame(request::QUERY_CONSUMER_OFFSET, &commit[..3]);
    assert_eq!(number(&client.call(query).await, "offset"), 0);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn the_name_server_tells_cluster_and_topics() {
    let running = Running::start().await;
    let mut names = name_server(&running).await;
    let cluster = names
        .call(Frame::request(request::GET_BROKER_CLUSTER_INFO))
        .await;
    assert_eq!(
        text(&cluster),
        format!(
            concat!(
                r#"{{"brokerAddrTable":{{"broker-a":{{"brokerAddrs":{{"0":"{}"}},"brokerName":"broker-a","#,
                r#""cluster":"DefaultCluster","enableActingMaster":false}}}},"#,
                r#""clusterAddrTable":{{"DefaultCluster":["broker-a"]}}}}"#
            ),
            running.address()
        )
    );
    let topics = names
        .call(Frame::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER))
        .await;
    assert!(
        text(&topics).starts_with(r#"{"topicList":["BenchmarkTest","DefaultCluster","#),
        "{}",
        text(&topics)
    );
    let delete = frame(
        request::DELETE_TOPIC_IN_NAMESRV,
        &[("topic", "orders"), ("clusterName", "DefaultCluster")],
    );
    assert_eq!(names.call(delete).await.code, 0);
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "orders")];
    assert_eq!(
        names.call(frame(request::GET_KV_CONFIG, &order)).await.code,
        22
    );
    let put = frame(request::PUT_KV_CONFIG, &order);
    let refused = names.call(with(put, "value", "broker-a:4")).await;
    assert_eq!(
        (refused.code, refused.remark.as_deref()),
        (3, Some(" request type 100 not supported"))
    );
    running.broker.shutdown().await;
}
