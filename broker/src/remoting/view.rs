//! VIEW_MESSAGE_BY_ID.

use std::sync::Arc;

use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::ViewMessage;

use super::answer::{Refusal, RequestHead};
use super::lookup::{self, Found};
use crate::shared::Shared;

pub(crate) async fn handle(shared: &Arc<Shared>, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    let header = match ViewMessage::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return head.refuse(Refusal::malformed(&error)),
    };
    let remark = match lookup::at(shared, header.offset).await {
        Ok(Found::Message(record) | Found::Parked(record)) => {
            return head.answer(response::SUCCESS).with_body(record);
        }
        Ok(Found::Nothing) => format!("can not find message by the offset, {}", header.offset),
        Err(error) => format!(
            "can not find message by the offset, {}: {error}",
            header.offset
        ),
    };
    head.refuse(Refusal::new(response::SYSTEM_ERROR, remark))
}
