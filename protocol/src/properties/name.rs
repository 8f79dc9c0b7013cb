//! Names of the properties that clients and brokers know (class `MessageConst`).

/// Index keys, separated by spaces.
pub const KEYS: &str = "KEYS";
/// The tag.
pub const TAGS: &str = "TAGS";
/// `false`: the sender does not wait for disk and replica.
pub const WAIT: &str = "WAIT";
/// Delay level.
pub const DELAY: &str = "DELAY";
/// The client's message id.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// `true` on a half message, and still on the delivered one.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group of a half message.
pub const PGROUP: &str = "PGROUP";
/// Target topic of a half or delayed message.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Target queue of a half or delayed message.
pub const REAL_QID: &str = "REAL_QID";
/// Transaction id, set by the broker on a half message.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Seconds before the first check of a half message.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Checks so far.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// First half-queue offset of a message that Apache stored again.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Topic that a retried message was first sent to.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Message id of the first delivery of a retried message.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Retries so far, on a resend by the client.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Retries allowed, on a resend by the client.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region, set by the broker.
pub const MSG_REGION: &str = "MSG_REGION";
/// `false` switches tracing off; set by the broker.
pub const TRACE_ON: &str = "TRACE_ON";
/// The broker's cluster, set by the broker.
pub const CLUSTER: &str = "CLUSTER";
/// Namespace.
pub const INSTANCE_ID: &str = "INSTANCE_ID";
/// First offset of the queue, set by the consumer's client.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// End of the queue, set by the consumer's client.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// `reply` on the answer of a request-reply.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// Ties a reply to its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client id that a reply goes to.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Milliseconds a requester waits.
pub const TTL: &str = "TTL";
/// When a reply arrived.
pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
/// When a reply was pushed.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// When consumption began, set by the consumer's client.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Receipt handle of a popped message.
pub const POP_CK: &str = "POP_CK";
/// When a message was first popped.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Key that picks the queue of an ordered message.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// Messages in an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// Light queues that a message goes to as well.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Its offsets there.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// Topic of a dead letter.
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
/// Message id of a dead letter.
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// Arbitrary delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Arbitrary delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Due time in milliseconds.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Due time, internal to the timer.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// Internal to the timer.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// Internal to the timer.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// Internal to the timer.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Message id of a timer message to be cancelled.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
/// Checksum of the properties before it.
pub const CRC32: &str = "__CRC32#";
/// Which database holds the half's marker row: `escrow_meta.domain`, a UUID as text. A half that carries it declares the
/// marker protocol.
pub const ESCROW_DOMAIN: &str = "ESCROW_DOMAIN";
/// Which shard of the application's database holds the marker row.
pub const ESCROW_SHARD: &str = "ESCROW_SHARD";
