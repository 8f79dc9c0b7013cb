//! UPDATE_AND_CREATE_TOPIC and DELETE_TOPIC_IN_BROKER.

use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{CreateTopic, DeleteTopic};

use super::answer::{Refusal, RequestHead};
use crate::shared::Shared;
use crate::topics::Update;

pub(crate) async fn update(shared: &Arc<Shared>, request: &Frame) -> Frame {
    answer(request, try_update(shared, request).await)
}

async fn try_update(shared: &Arc<Shared>, request: &Frame) -> Result<(), Refusal> {
    let header = CreateTopic::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    let update = Update {
        topic: header.topic,
        read_queues: header.read_queues,
        write_queues: header.write_queues,
        perm: header.perm,
        filter_type: header.filter_type.unwrap_or("SINGLE_TAG"),
        sys_flag: header.topic_sys_flag.unwrap_or(0),
        order: header.order,
        attributes: header.attributes.unwrap_or_default(),
    };
    shared.update_topic(&update).await.map(|_| ())
}

pub(crate) async fn delete(shared: &Arc<Shared>, request: &Frame) -> Frame {
    answer(request, try_delete(shared, request).await)
}

async fn try_delete(shared: &Arc<Shared>, request: &Frame) -> Result<(), Refusal> {
    let header = DeleteTopic::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    shared.delete_topic(header.topic).await
}

fn answer(request: &Frame, done: Result<(), Refusal>) -> Frame {
    let head = RequestHead::of(request);
    match done {
        Ok(()) => head.answer(response::SUCCESS),
        Err(refusal) => head.refuse(refusal),
    }
}
