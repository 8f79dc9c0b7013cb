//! Sends CHECK_TRANSACTION_STATE to producers.
//!
//! The log thread decides whom to ask about which half; reading the half and making the request is
//! done here, since an old half may have to be read from the disk.

use std::sync::Arc;

use bytes::BytesMut;
use escrow_coordinator::CheckRequest;
use escrow_protocol::code::request;
use escrow_protocol::frame::{Frame, language};
use escrow_protocol::header::CheckTransactionState;
use escrow_protocol::ids::offset_message_id;
use escrow_protocol::message::{self, Message};
use escrow_protocol::names::HALF_TOPIC;
use escrow_protocol::properties::{self, name};
use tokio::sync::mpsc;

use crate::shared::Shared;

/// Checks whose halfs are read from the disk in one go.
const BATCH: usize = 64;

/// Runs until the log thread has ended.
pub(crate) async fn run(shared: Arc<Shared>, mut checks: mpsc::UnboundedReceiver<CheckRequest>) {
    let mut batch = Vec::new();
    while checks.recv_many(&mut batch, BATCH).await > 0 {
        let requests = std::mem::take(&mut batch);
        let sender = Arc::clone(&shared);
        let sent = tokio::task::spawn_blocking(move || {
            for check in &requests {
                send(&sender, check);
            }
        });
        if let Err(error) = sent.await {
            tracing::error!(%error, "checks not sent");
        }
    }
}

/// Sends one check; says so to the coordinator if that is not possible.
fn send(shared: &Shared, check: &CheckRequest) {
    let frame = match frame(shared, check) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::error!(half = %check.seq, %error, "half cannot be read for its check");
            shared.log.not_sent(check.seq);
            return;
        }
    };
    let peer = shared.connections.get(check.connection);
    if !peer.is_some_and(|peer| peer.notify(frame)) {
        shared.log.not_sent(check.seq);
    }
}

/// The request: the half as it would be delivered, under its original handle whatever retention has
/// done with its bytes.
fn frame(shared: &Shared, check: &CheckRequest) -> Result<Frame, CheckError> {
    let image = shared.reader.half_image(check.seq)?;
    let half = message::decode(&image)?;
    let mut text = half.properties.to_owned();
    properties::set(&mut text, name::REAL_TOPIC, half.topic);
    properties::set(&mut text, name::REAL_QID, &half.queue_id.to_string());
    properties::set(
        &mut text,
        name::TRANSACTION_CHECK_TIMES,
        &check.check_times.to_string(),
    );
    let handle = i64::try_from(check.handle.0).unwrap_or(i64::MAX);
    let sequence = i64::try_from(check.seq.0).unwrap_or(i64::MAX);
    let asked = Message {
        queue_offset: sequence,
        physical_offset: handle,
        properties: &text,
        ..half
    };
    let mut body = BytesMut::with_capacity(message::encoded_len(&asked));
    message::encode(&asked, &mut body)?;
    let id = offset_message_id(half.store_host, handle);
    let unique_key = half.properties().get(name::UNIQ_KEY);
    let mut frame = Frame::request(request::CHECK_TRANSACTION_STATE).with_body(body);
    frame.language = language::JAVA;
    CheckTransactionState {
        topic: Some(HALF_TOPIC),
        half_queue_offset: sequence,
        commit_log_offset: handle,
        message_id: unique_key,
        transaction_id: unique_key,
        offset_message_id: Some(&id),
        broker_name: Some(&shared.settings.broker_name),
        stored_at_ms: Some(half.store_timestamp),
    }
    .encode(&mut frame.ext);
    Ok(frame)
}

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
    #[error(transparent)]
    Record(#[from] message::MessageError),
}
