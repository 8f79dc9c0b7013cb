//! GET_CONSUMER_LIST_BY_GROUP: the members among whom a group shares its queues.

use escrow_protocol::body::{self, ConsumerList};
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::GetConsumerList;

use super::answer::{Refusal, RequestHead};
use crate::shared::Shared;

pub(crate) fn handle(shared: &Shared, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    match list(shared, request) {
        Ok(body) => head.answer(response::SUCCESS).with_body(body),
        Err(refusal) => head.refuse(refusal),
    }
}

fn list(shared: &Shared, request: &Frame) -> Result<Vec<u8>, Refusal> {
    let header =
        GetConsumerList::decode(&request.ext).map_err(|error| Refusal::malformed(&error))?;
    let consumer_id_list = shared.consumers.client_ids(header.consumer_group);
    if consumer_id_list.is_empty() {
        let remark = format!("no consumer for this group, {}", header.consumer_group);
        return Err(Refusal::new(response::SYSTEM_ERROR, remark));
    }
    body::encode(&ConsumerList { consumer_id_list })
        .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))
}
