//! Offsets of queues (29, 30, 31, 32) and of consumer groups (14, 15).

use std::sync::{Arc, LazyLock};

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{
    Boundary, GetEarliestStoreTime, GetMaxOffset, GetMinOffset, OffsetResponse,
    QueryConsumerOffset, SearchOffset, TimestampResponse, UpdateConsumerOffset,
};
use escrow_store::{QueueEntry, QueueOffset};

use super::answer::{Refusal, RequestHead};
use crate::shared::Shared;

/// Of the machine's memory, the share in which Apache expects recent messages to be: what it asks before it
/// starts a new group at the beginning of a queue.
const MEMORY_PERCENT: u64 = 40;

/// The machine's memory; 4 GiB if it does not say.
static MEMORY_BYTES: LazyLock<u64> = LazyLock::new(|| {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
});

fn signed(offset: QueueOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn offset_answer(head: RequestHead, offset: Result<i64, Refusal>) -> Frame {
    match offset {
        Ok(offset) => {
            let mut answer = head.answer(response::SUCCESS);
            OffsetResponse { offset }.encode(&mut answer.ext);
            answer
        }
        Err(refusal) => head.refuse(refusal),
    }
}

/// GET_MAX_OFFSET: where the next message that consumers can see will stand.
pub(crate) fn max(shared: &Shared, request: &Frame) -> Frame {
    let found = GetMaxOffset::decode(&request.ext)
        .map(|header| signed(shared.reader.queue_range(header.topic, header.queue_id).1));
    offset_answer(
        RequestHead::of(request),
        found.map_err(|error| Refusal::malformed(&error)),
    )
}

/// GET_MIN_OFFSET: the first message that is still kept.
pub(crate) fn min(shared: &Shared, request: &Frame) -> Frame {
    let found = GetMinOffset::decode(&request.ext)
        .map(|header| signed(shared.reader.queue_range(header.topic, header.queue_id).0));
    offset_answer(
        RequestHead::of(request),
        found.map_err(|error| Refusal::malformed(&error)),
    )
}

/// SEARCH_OFFSET_BY_TIMESTAMP.
pub(crate) async fn search(shared: &Arc<Shared>, request: &Frame) -> Frame {
    offset_answer(
        RequestHead::of(request),
        search_offset(shared, request).await,
    )
}

async fn search_offset(shared: &Arc<Shared>, request: &Frame) -> Result<i64, Refusal> {
    let header = SearchOffset::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    let boundary = match header.boundary {
        Boundary::Lower => escrow_store::Boundary::Lower,
        Boundary::Upper => escrow_store::Boundary::Upper,
    };
    let (topic, queue_id, timestamp) = (header.topic.to_owned(), header.queue_id, header.timestamp);
    let reader = shared.reader.clone();
    off_thread(move || reader.offset_by_time(&topic, queue_id, timestamp, boundary))
        .await
        .map(signed)
}

/// GET_EARLIEST_MSG_STORETIME: -1 if the queue is empty.
pub(crate) async fn earliest(shared: &Arc<Shared>, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    let header = match GetEarliestStoreTime::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return head.refuse(Refusal::malformed(&error)),
    };
    let first = shared.reader.queue_range(header.topic, header.queue_id).0;
    match entry_at(shared, header.topic, header.queue_id, first).await {
        Ok(entry) => {
            let timestamp = entry.map_or(-1, |entry| entry.store_timestamp);
            let mut answer = head.answer(response::SUCCESS);
            TimestampResponse { timestamp }.encode(&mut answer.ext);
            answer
        }
        Err(refusal) => head.refuse(refusal),
    }
}

/// One entry of a queue, if there is one at this offset.
async fn entry_at(
    shared: &Shared,
    topic: &str,
    queue: i32,
    offset: QueueOffset,
) -> Result<Option<QueueEntry>, Refusal> {
    let (topic, reader) = (topic.to_owned(), shared.reader.clone());
    off_thread(move || reader.entries(&topic, queue, offset, 1))
        .await
        .map(|found| found.into_iter().next())
}

/// Runs what may read the disk where it holds up nobody.
async fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, escrow_store::Error> + Send + 'static,
) -> Result<T, Refusal> {
    let failed =
        |error: &dyn std::error::Error| Refusal::new(response::SYSTEM_ERROR, error.to_string());
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(|error| failed(&error)),
        Err(panicked) => Err(failed(&panicked)),
    }
}

/// UPDATE_CONSUMER_OFFSET.
pub(crate) fn update(shared: &Shared, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match commit(shared, request) {
        Ok(()) => head.answer(response::SUCCESS),
        Err(refusal) => head.refuse(refusal),
    }
}

fn commit(shared: &Shared, request: &Frame) -> Result<(), Refusal> {
    let header =
        UpdateConsumerOffset::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    if shared.groups.get(header.consumer_group).is_none() {
        let remark = format!("Group {} not exist!", header.consumer_group);
        return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let Some(topic) = shared.topics.get(header.topic) else {
        let remark = format!("Topic {} not exist!", header.topic);
        return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
    };
    // Not asked by the stock broker, but queue ids without end would fill the memory.
    let queues = topic.read_queues.max(topic.write_queues);
    if !(0..queues).contains(&header.queue_id) {
        let remark = format!(
            "queueId[{}] is illegal, topic {} has {queues} queues",
            header.queue_id, topic.name
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    shared.offsets.commit(
        header.consumer_group,
        header.topic,
        header.queue_id,
        header.commit_offset,
    );
    Ok(())
}

/// QUERY_CONSUMER_OFFSET.
pub(crate) async fn query(shared: &Arc<Shared>, request: &Frame) -> Frame {
    offset_answer(
        RequestHead::of(request),
        query_offset(shared, request).await,
    )
}

async fn query_offset(shared: &Arc<Shared>, request: &Frame) -> Result<i64, Refusal> {
    let header =
        QueryConsumerOffset::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    let stored = shared
        .offsets
        .get(header.consumer_group, header.topic, header.queue_id);
    if let Some(offset) = stored {
        return Ok(offset);
    }
    if header.set_zero_if_not_found == Some(false) {
        let remark = "Not found, do not set to zero, maybe this group boot first";
        return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
    }
    if begins_in_memory(shared, header.topic, header.queue_id).await? {
        return Ok(0);
    }
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
}

/// Whether a queue still has its very first message, and that so close to the log's end that Apache would
/// have it in memory: then a new group starts there, wherever it wanted to start.
async fn begins_in_memory(shared: &Arc<Shared>, topic: &str, queue: i32) -> Result<bool, Refusal> {
    let (min, _) = shared.reader.queue_range(topic, queue);
    if min.0 > 0 {
        return Ok(false);
    }
    let Some(first) = entry_at(shared, topic, queue, QueueOffset(0)).await? else {
        return Ok(false);
    };
    let (_, end) = shared.reader.log_range();
    Ok(end.0.saturating_sub(first.physical.0) <= *MEMORY_BYTES / 100 * MEMORY_PERCENT)
}
