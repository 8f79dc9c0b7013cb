//! Metrics have the names that dashboards for RocketMQ look for.

use crate::api::{get, quiet};
use crate::support::{self, COMMIT, send};

#[tokio::test]
async fn latencies_of_requests_have_the_names_and_labels_of_rocketmq() {
    let running = quiet().await;
    let mut client = running.client().await;
    let done = client.half("orders", "K1", b"x").await;
    client.end(&done, COMMIT).await;
    client.end(&done, support::ROLLBACK).await;
    let done = client.half("orders", "K2", b"x").await;
    client.post(support::end(&done, COMMIT).oneway()).await;
    client.call(support::frame(9999, &[])).await;
    client.call(support::pull("orders", 3, 0, 300)).await;
    // What is answered after them on their connection says that they are counted.
    client.half("orders", "K3", b"x").await;
    let answer = get(&running, "/metrics").await;
    let labels = r#"cluster="DefaultCluster",node_type="broker",node_id="broker-a",protocol_type="remoting""#;
    for (sample, value) in [
        (
            r#"bucket{L,request_code="end_transaction",response_code="success",is_long_polling="false",result="success",le="+Inf"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="end_transaction",response_code="illegal_operation",is_long_polling="false",result="success"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="end_transaction",response_code="success",is_long_polling="false",result="oneway"}"#,
            "1",
        ),
        (
            r#"count{L,request_code="(others)",response_code="request_code_not_supported",is_long_polling="false",result="success"}"#,
            "1",
        ),
        (
            r#"bucket{L,request_code="pull_message",response_code="pull_not_found",is_long_polling="true",result="success",le="100"}"#,
            "0",
        ),
        (
            r#"count{L,request_code="pull_message",response_code="pull_not_found",is_long_polling="true",result="success"}"#,
            "1",
        ),
    ] {
        let line = format!(
            "rocketmq_rpc_latency_{} {value}",
            sample.replace('L', labels)
        );
        assert!(
            answer.body.lines().any(|seen| seen == line),
            "{line} not in\n{}",
            answer.body
        );
    }
    running.broker.shutdown().await;
}

#[tokio::test]
async fn metrics_have_the_names_of_rocketmq() {
    let running = quiet().await;
    let mut client = running.client().await;
    client.call(send("orders", 0, b"plain", &[])).await;
    client.half("orders", "K1", b"x").await;
    let done = client.half("orders", "K2", b"x").await;
    client.end(&done, COMMIT).await;
    let undone = client.half("orders", "K3", b"x").await;
    client.end(&undone, support::ROLLBACK).await;
    client.consume("orders", 0).await;
    client.call(support::frame(9999, &[])).await;
    let bad = [
        ("topic", "a b"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    client.call(support::frame(17, &bad)).await;
    let answer = get(&running, "/metrics").await;
    assert_eq!(answer.status, 200);
    let labels = r#"cluster="DefaultCluster",node_type="broker",node_id="broker-a""#;
    for sample in [
        r#"rocketmq_half_messages{L,topic="orders"} 1"#,
        r#"rocketmq_commit_messages_total{L,topic="orders"} 1"#,
        r#"rocketmq_rollback_messages_total{L,topic="orders"} 1"#,
        r#"rocketmq_finish_message_latency_bucket{L,topic="orders",le="5"} 1"#,
        r#"rocketmq_finish_message_latency_count{L,topic="orders"} 1"#,
        r#"escrow_decision_latency_milliseconds_count{L} 2"#,
        r#"rocketmq_message_size_bucket{L,topic="orders",message_type="transaction",is_system="false",le="1024"} 3"#,
        r#"rocketmq_consumer_group_create_execution_time_count{L,invocation_status="success"} 1"#,
        r#"rocketmq_topic_create_execution_time_count{L,invocation_status="failure",is_system="false"} 1"#,
        r#"rocketmq_messages_in_total{L,topic="orders",message_type="normal",is_system="false"} 1"#,
        r#"rocketmq_messages_in_total{L,topic="orders",message_type="transaction",is_system="false"} 3"#,
        r#"rocketmq_messages_out_total{L,topic="orders",consumer_group="cg",is_system="false"} 2"#,
        r#"rocketmq_topic_number{L} 14"#,
        r#"rocketmq_consumer_group_number{L} 9"#,
        r#"rocketmq_processor_watermark{L,processor="log"} "#,
        r#"rocketmq_storage_flush_behind_bytes{L,storage_type="local",storage_medium="disk"} "#,
        r#"escrow_pending_halfs{L} 1"#,
        r#"escrow_unsupported_requests_total{L,request_code="9999"} 1"#,
    ] {
        let sample = sample.replace('L', labels);
        assert!(
            answer.body.lines().any(|line| line.starts_with(&sample)),
            "{sample} not in\n{}",
            answer.body
        );
    }
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    running.broker.shutdown().await;
}
