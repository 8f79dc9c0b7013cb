//! LOCK_BATCH_MQ and UNLOCK_BATCH_MQ: orderly consumers own their queues one by one.

use escrow_protocol::body::{self, BodyError, LockBatchRequest, LockBatchResponse};
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;

use super::answer::{Refusal, RequestHead};
use crate::shared::Shared;

pub(crate) fn lock(shared: &Shared, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match try_lock(shared, request) {
        Ok(body) => head.answer(response::SUCCESS).with_body(body),
        Err(error) => head.refuse(malformed(&error)),
    }
}

fn try_lock(shared: &Shared, request: &Frame) -> Result<Vec<u8>, BodyError> {
    let asked: LockBatchRequest = body::decode(&request.body)?;
    let now_ms = shared.clock.now().mono_ms;
    let LockBatchRequest {
        consumer_group,
        client_id,
        mq_set,
        ..
    } = asked;
    let locked = shared
        .locks
        .lock(now_ms, &consumer_group, &client_id, mq_set);
    body::encode(&LockBatchResponse { locked })
}

pub(crate) fn unlock(shared: &Shared, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    let asked: LockBatchRequest = match body::decode(&request.body) {
        Ok(asked) => asked,
        Err(error) => return head.refuse(malformed(&error)),
    };
    shared
        .locks
        .unlock(&asked.consumer_group, &asked.client_id, &asked.mq_set);
    head.answer(response::SUCCESS)
}

fn malformed(error: &BodyError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}
