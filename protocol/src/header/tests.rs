use super::*;
use crate::frame::ExtFields;
use crate::transaction::Resolution;

fn fields(list: &[(&'static str, &'static str)]) -> ExtFields {
    list.iter().copied().collect()
}

/// Fails unless `header` writes exactly the fields of `wire` and reads them back.
macro_rules! check {
    ($name:ident, $header:expr, $wire:expr) => {{
        let mut ext = ExtFields::new();
        let header = $header;
        header.encode(&mut ext);
        assert_eq!(ext, fields(&$wire));
        assert_eq!($name::decode(&ext), Ok(header));
    }};
}

const SEND: SendRequest<'_> = SendRequest {
    producer_group: "pg",
    topic: "t",
    default_topic: "TBW102",
    default_topic_queues: 4,
    queue_id: 3,
    sys_flag: 4,
    born_timestamp: 1_700_000_000_000,
    flag: -1,
    properties: Some("TRAN_MSG\u{1}true\u{2}"),
    reconsume_times: Some(0),
    unit_mode: false,
    reconsume_times_max: Some(16),
    batch: true,
    broker_name: Some("broker-a"),
};

#[test]
fn a_send_has_one_letter_names() {
    let wire = [
        ("a", "pg"),
        ("b", "t"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "3"),
        ("f", "4"),
        ("g", "1700000000000"),
        ("h", "-1"),
        ("i", "TRAN_MSG\u{1}true\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("l", "16"),
        ("m", "true"),
        ("n", "broker-a"),
    ];
    check!(SendRequest, SEND, wire);
}

#[test]
fn a_send_may_have_long_names() {
    let mut ext = ExtFields::new();
    SEND.encode_long(&mut ext);
    let wire = [
        ("producerGroup", "pg"),
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "3"),
        ("sysFlag", "4"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "-1"),
        ("properties", "TRAN_MSG\u{1}true\u{2}"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("maxReconsumeTimes", "16"),
        ("batch", "true"),
        ("bname", "broker-a"),
    ];
    assert_eq!(ext, fields(&wire));
    assert_eq!(SendRequest::decode(&ext), Ok(SEND));
}

#[test]
fn a_send_needs_no_more_than_its_first_eight_fields() {
    let mut ext = fields(&[("z", "?"), ("ns", "x"), ("AccessKey", "ak")]);
    let bare = SendRequest {
        properties: None,
        reconsume_times: None,
        reconsume_times_max: None,
        batch: false,
        broker_name: None,
        ..SEND
    };
    bare.encode(&mut ext);
    ext.remove("k");
    ext.remove("m");
    assert_eq!(SendRequest::decode(&ext), Ok(bare));
    for (name, long) in [("a", "producerGroup"), ("e", "queueId"), ("h", "flag")] {
        let mut ext = ext.clone();
        ext.remove(name);
        assert_eq!(
            SendRequest::decode(&ext),
            Err(HeaderError {
                field: long,
                problem: Problem::Missing
            })
        );
    }
}

#[test]
fn a_send_response_names_its_fields() {
    let header = SendResponse {
        message_id: "7F00000100002A9F0000000000001234",
        queue_id: 1,
        queue_offset: 5,
        transaction_id: Some("K"),
        batch_unique_id: None,
        recall_handle: None,
        region: Some("DefaultRegion"),
        trace_on: Some(true),
    };
    let wire = [
        ("msgId", "7F00000100002A9F0000000000001234"),
        ("queueId", "1"),
        ("queueOffset", "5"),
        ("transactionId", "K"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
    ];
    check!(SendResponse, header, wire);
}

#[test]
fn end_transaction_names_its_fields() {
    let header = EndTransaction {
        topic: None,
        producer_group: "pg",
        half_queue_offset: 5,
        commit_log_offset: 0x1234,
        commit_or_rollback: 8,
        from_check: false,
        message_id: "K",
        transaction_id: Some("K"),
        broker_name: None,
    };
    let wire = [
        ("producerGroup", "pg"),
        ("tranStateTableOffset", "5"),
        ("commitLogOffset", "4660"),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "false"),
        ("msgId", "K"),
        ("transactionId", "K"),
    ];
    check!(EndTransaction, header, wire);
    assert_eq!(header.resolution(), Some(Resolution::Commit));
    assert_eq!(
        EndTransaction {
            commit_or_rollback: 1,
            ..header
        }
        .resolution(),
        None
    );
}

#[test]
fn a_check_names_its_fields() {
    let header = CheckTransactionState {
        topic: Some("t"),
        half_queue_offset: 5,
        commit_log_offset: 4660,
        message_id: Some("K"),
        transaction_id: Some("K"),
        offset_message_id: Some("7F"),
        broker_name: Some("broker-a"),
        stored_at_ms: Some(1_700_000_000_000),
    };
    let wire = [
        ("topic", "t"),
        ("tranStateTableOffset", "5"),
        ("commitLogOffset", "4660"),
        ("msgId", "K"),
        ("transactionId", "K"),
        ("offsetMsgId", "7F"),
        ("bname", "broker-a"),
        ("escrowStoredAt", "1700000000000"),
    ];
    check!(CheckTransactionState, header, wire);
    check!(
        ResumeCheck,
        ResumeCheck {
            topic: Some("t"),
            message_id: Some("7F")
        },
        [("topic", "t"), ("msgId", "7F")]
    );
}

#[test]
fn a_pull_names_its_fields() {
    let request = PullRequest {
        consumer_group: "cg",
        topic: "t",
        queue_id: 1,
        queue_offset: 2,
        messages_max: 32,
        sys_flag: 3,
        commit_offset: 4,
        suspend_timeout_ms: 15_000,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: Some("TAG"),
        bytes_max: None,
        request_source: None,
        proxy_forward_client_id: None,
        broker_name: None,
    };
    let wire = [
        ("consumerGroup", "cg"),
        ("topic", "t"),
        ("queueId", "1"),
        ("queueOffset", "2"),
        ("maxMsgNums", "32"),
        ("sysFlag", "3"),
        ("commitOffset", "4"),
        ("suspendTimeoutMillis", "15000"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    check!(PullRequest, request, wire);
    let response = PullResponse {
        suggested_broker_id: 0,
        next_begin_offset: 1,
        min_offset: 2,
        max_offset: 3,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: Some(2),
    };
    let wire = [
        ("suggestWhichBrokerId", "0"),
        ("nextBeginOffset", "1"),
        ("minOffset", "2"),
        ("maxOffset", "3"),
        ("forbiddenType", "2"),
    ];
    check!(PullResponse, response, wire);
}

#[test]
fn a_missing_or_malformed_field_is_named() {
    let error = |name: &str, value: &str| {
        let mut ext = fields(&[("topic", "t"), ("queueId", "0"), ("timestamp", "1")]);
        ext.insert(name, value);
        SearchOffset::decode(&ext).unwrap_err().to_string()
    };
    assert_eq!(
        error("queueId", "x"),
        "header field queueId must be a 32-bit integer, not `x`"
    );
    assert_eq!(
        error("queueId", "2147483648"),
        "header field queueId must be a 32-bit integer, not `2147483648`"
    );
    assert_eq!(
        error("timestamp", "1.5"),
        "header field timestamp must be a 64-bit integer, not `1.5`"
    );
    assert_eq!(error("timestamp", ""), "header field timestamp is missing");
    assert_eq!(
        GetRouteInfo::decode(&ExtFields::new())
            .unwrap_err()
            .to_string(),
        "header field topic is missing"
    );
    assert!(
        error("queueId", &"9".repeat(1_000_000)).len() < 200,
        "a huge value is not echoed"
    );
}

#[test]
fn absent_fields_have_the_defaults_of_apache() {
    let queue = fields(&[("topic", "t"), ("queueId", "0"), ("timestamp", "1")]);
    assert_eq!(
        SearchOffset::decode(&queue).unwrap().boundary,
        Boundary::Lower
    );
    assert!(GetMaxOffset::decode(&queue).unwrap().committed);
    let mut query = fields(&[
        ("topic", "t"),
        ("key", "k"),
        ("maxNum", "1"),
        ("beginTimestamp", "0"),
    ]);
    query.insert_display("endTimestamp", i64::MAX);
    assert!(!QueryMessage::decode(&query).unwrap().unique_key);
    query.insert("_UNIQUE_KEY_QUERY", "TRUE");
    assert!(QueryMessage::decode(&query).unwrap().unique_key);
}
