//! How long requests took, from the read that brought them to the write of their answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;

use crate::clock::Clock;
use crate::histogram::Histogram;

/// Apache's buckets, in milliseconds.
const BOUNDS_MS: [u64; 9] = [1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];

/// The requests that are told apart, in ascending order. A peer chooses its codes: all that nobody handles are one.
const REQUESTS: [i32; 30] = [
    request::SEND_MESSAGE,
    request::PULL_MESSAGE,
    request::QUERY_MESSAGE,
    request::QUERY_CONSUMER_OFFSET,
    request::UPDATE_CONSUMER_OFFSET,
    request::UPDATE_AND_CREATE_TOPIC,
    request::SEARCH_OFFSET_BY_TIMESTAMP,
    request::GET_MAX_OFFSET,
    request::GET_MIN_OFFSET,
    request::GET_EARLIEST_MSG_STORETIME,
    request::VIEW_MESSAGE_BY_ID,
    request::HEART_BEAT,
    request::UNREGISTER_CLIENT,
    request::CONSUMER_SEND_MSG_BACK,
    request::END_TRANSACTION,
    request::GET_CONSUMER_LIST_BY_GROUP,
    request::LOCK_BATCH_MQ,
    request::UNLOCK_BATCH_MQ,
    request::CHECK_CLIENT_CONFIG,
    request::GET_KV_CONFIG,
    request::DELETE_KV_CONFIG,
    request::GET_ROUTEINFO_BY_TOPIC,
    request::GET_BROKER_CLUSTER_INFO,
    request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
    request::DELETE_TOPIC_IN_BROKER,
    request::DELETE_TOPIC_IN_NAMESRV,
    request::SEND_MESSAGE_V2,
    request::SEND_BATCH_MESSAGE,
    request::RESUME_CHECK_HALF_MESSAGE,
    request::LITE_PULL_MESSAGE,
];

/// The answers that are told apart, in ascending order.
const RESPONSES: [i32; 18] = [
    response::SUCCESS,
    response::SYSTEM_ERROR,
    response::SYSTEM_BUSY,
    response::REQUEST_CODE_NOT_SUPPORTED,
    response::MESSAGE_ILLEGAL,
    response::SERVICE_NOT_AVAILABLE,
    response::NO_PERMISSION,
    response::TOPIC_NOT_EXIST,
    response::PULL_NOT_FOUND,
    response::PULL_RETRY_IMMEDIATELY,
    response::PULL_OFFSET_MOVED,
    response::QUERY_NOT_FOUND,
    response::SUBSCRIPTION_PARSE_FAILED,
    response::SUBSCRIPTION_NOT_EXIST,
    response::SUBSCRIPTION_NOT_LATEST,
    response::SUBSCRIPTION_GROUP_NOT_EXIST,
    response::INVALID_PARAMETER,
    response::ILLEGAL_OPERATION,
];

const OTHERS: &str = "(others)";

/// A request, as far as its latency goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    code: i32,
    /// By [`RpcLatency::now_ms`].
    arrived_ms: u64,
    /// It waited for a message.
    pub(crate) long_polled: bool,
}

impl Asked {
    pub(crate) fn of(request: &Frame, arrived_ms: u64) -> Asked {
        Asked {
            code: request.code,
            arrived_ms,
            long_polled: false,
        }
    }
}

/// What became of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    NotWritten,
    /// None was wanted.
    Oneway,
}

impl Fate {
    const ALL: [Fate; 3] = [Fate::Written, Fate::NotWritten, Fate::Oneway];

    fn name(self) -> &'static str {
        match self {
            Fate::Written => "success",
            Fate::NotWritten => "write_channel_failed",
            Fate::Oneway => "oneway",
        }
    }
}

/// The labels of one histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) request: String,
    pub(crate) response: String,
    pub(crate) long_polled: bool,
    pub(crate) result: &'static str,
}

#[derive(Default)]
struct Series {
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

/// Counts without a lock, and allocates once for each combination of labels that is ever seen.
pub(crate) struct RpcLatency {
    clock: Clock,
    series: Vec<OnceLock<Box<Series>>>,
}

impl RpcLatency {
    pub(crate) fn new(clock: Clock) -> RpcLatency {
        let places = (REQUESTS.len() + 1) * (RESPONSES.len() + 1) * 2 * Fate::ALL.len();
        RpcLatency {
            clock,
            series: (0..places).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms
    }

    /// A request was answered with this code by `now_ms`.
    pub(crate) fn record(&self, asked: Asked, response: i32, fate: Fate, now_ms: u64) {
        let place = place(
            slot(&REQUESTS, asked.code),
            slot(&RESPONSES, response),
            asked.long_polled,
            fate,
        );
        let Some(series) = self.series.get(place) else {
            return;
        };
        let series = series.get_or_init(Box::default);
        let took = now_ms.saturating_sub(asked.arrived_ms);
        let at = BOUNDS_MS.partition_point(|bound| *bound < took);
        if let Some(bucket) = series.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        series.sum_ms.fetch_add(took, Ordering::Relaxed);
    }

    /// All that was counted, by labels.
    pub(crate) fn histograms(&self) -> Vec<(Labels, Histogram)> {
        let mut found = Vec::new();
        for (request, request_name) in names(&REQUESTS, request::name) {
            for (response, response_name) in names(&RESPONSES, response::name) {
                for long_polled in [false, true] {
                    for fate in Fate::ALL {
                        let place = place(request, response, long_polled, fate);
                        let Some(series) = self.series.get(place).and_then(OnceLock::get) else {
                            continue;
                        };
                        let labels = Labels {
                            request: request_name.clone(),
                            response: response_name.clone(),
                            long_polled,
                            result: fate.name(),
                        };
                        found.push((labels, series.histogram()));
                    }
                }
            }
        }
        found
    }
}

impl Series {
    fn histogram(&self) -> Histogram {
        let buckets = self.buckets.iter();
        Histogram {
            bounds: &BOUNDS_MS,
            buckets: buckets.map(|n| n.load(Ordering::Relaxed)).collect(),
            sum: self.sum_ms.load(Ordering::Relaxed),
        }
    }
}

fn place(request: usize, response: usize, long_polled: bool, fate: Fate) -> usize {
    let answer = request * (RESPONSES.len() + 1) + response;
    (answer * 2 + usize::from(long_polled)) * Fate::ALL.len() + fate as usize
}

/// The place of a code; that of the others is behind all.
fn slot(codes: &[i32], code: i32) -> usize {
    codes.binary_search(&code).unwrap_or(codes.len())
}

/// Each place with its name, as Apache writes it.
fn names(
    codes: &[i32],
    name: fn(i32) -> Option<&'static str>,
) -> impl Iterator<Item = (usize, String)> {
    let known = codes.iter().map(move |code| name(*code));
    let names = known.chain([None]).map(|name| name.unwrap_or(OTHERS));
    names.map(str::to_ascii_lowercase).enumerate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_can_be_found_by_their_order() {
        assert!(REQUESTS.is_sorted() && RESPONSES.is_sorted());
        assert!(REQUESTS.iter().all(|code| request::name(*code).is_some()));
        assert!(RESPONSES.iter().all(|code| response::name(*code).is_some()));
    }

    #[test]
    fn a_latency_is_found_under_its_labels_and_unknown_codes_are_one() {
        let latency = RpcLatency::new(Clock::new());
        let asked = |code, arrived_ms| Asked::of(&Frame::request(code), arrived_ms);
        latency.record(asked(37, 100), 0, Fate::Oneway, 104);
        let held = Asked {
            long_polled: true,
            ..asked(11, 0)
        };
        latency.record(held, 19, Fate::Written, 15_000);
        for code in [9998, 9999] {
            latency.record(asked(code, 5), 3, Fate::NotWritten, 5);
        }
        let seen: Vec<_> = latency
            .histograms()
            .into_iter()
            .map(|(labels, took)| {
                let Labels {
                    request,
                    response,
                    long_polled,
                    result,
                } = labels;
                let text = format!("{request} {response} {long_polled} {result}");
                (text, took.buckets, took.sum)
            })
            .collect();
        let mut expected = [
            ("pull_message pull_not_found true success", 9, 1, 15_000),
            ("end_transaction success false oneway", 2, 1, 4),
            (
                "(others) request_code_not_supported false write_channel_failed",
                0,
                2,
                0,
            ),
        ]
        .into_iter();
        for (text, buckets, sum) in seen {
            let (expected_text, bucket, count, expected_sum) = expected.next().expect("no more");
            let mut expected_buckets = vec![0; 10];
            expected_buckets[bucket] = count;
            assert_eq!(
                (text.as_str(), buckets, sum),
                (expected_text, expected_buckets, expected_sum)
            );
        }
        assert_eq!(expected.next(), None);
    }
}
