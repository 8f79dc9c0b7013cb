//! QUERY_MESSAGE: by key, or by unique key.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{QueryMessage, QueryMessageResponse};
use escrow_protocol::names;

use super::answer::{Refusal, RequestHead};
use crate::shared::Shared;

/// Messages in an answer to a query by unique key, whatever the request says.
const UNIQUE_MAX: usize = 32;

/// The most messages, and about the most bytes, in one answer.
const MESSAGES_MAX: usize = 1024;
const BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) async fn handle(shared: &Arc<Shared>, request: &Frame) -> Frame {
    let head = RequestHead::of(request);
    let header = match QueryMessage::decode(&request.ext) {
        Ok(header) => header,
        Err(error) => return head.refuse(Refusal::malformed(&error)),
    };
    match look_up(shared, &header).await {
        Ok(found) if found.is_empty() => head.refuse(Refusal::new(
            response::QUERY_NOT_FOUND,
            "can not find message, maybe time range not correct",
        )),
        Ok(found) => {
            let mut frame = head.answer(response::SUCCESS).with_body(joined(&found));
            QueryMessageResponse {
                index_last_update_timestamp: shared.clock.wall_ms(),
                index_last_update_offset: i64::try_from(shared.reader.log_range().1.0)
                    .unwrap_or(i64::MAX),
            }
            .encode(&mut frame.ext);
            frame
        }
        Err(error) => head.refuse(Refusal::new(response::SYSTEM_ERROR, error.to_string())),
    }
}

async fn look_up(
    shared: &Arc<Shared>,
    header: &QueryMessage<'_>,
) -> Result<Vec<Bytes>, escrow_store::Error> {
    let max = if header.unique_key {
        UNIQUE_MAX
    } else {
        usize::try_from(header.messages_max)
            .unwrap_or(0)
            .clamp(1, MESSAGES_MAX)
    };
    let (begin, end) = (header.begin_timestamp, header.end_timestamp);
    let (topic, key) = (header.topic.to_owned(), header.key.to_owned());
    let reader = shared.reader.clone();
    let looked = tokio::task::spawn_blocking(move || {
        if topic == names::CHECK_MAX_TIME_TOPIC {
            // Where stock tools look for halfs whose checks were given up.
            let parked = reader.parked_by_key(&key, max)?;
            Ok(parked.into_iter().map(|(_, image)| image).collect())
        } else {
            reader.by_key(&topic, &key, begin, end, max)
        }
    });
    looked.await.unwrap_or(Ok(Vec::new()))
}

/// As many as fit, at least one.
fn joined(records: &[Bytes]) -> Bytes {
    let mut body = BytesMut::new();
    for record in records {
        if !body.is_empty() && body.len() + record.len() > BYTES_MAX {
            break;
        }
        body.extend_from_slice(record);
    }
    body.freeze()
}
