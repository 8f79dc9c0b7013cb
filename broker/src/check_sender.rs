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
use escrow_protocol::properties::{self, PROPERTIES_BYTES_MAX, name};
use tokio::sync::mpsc;

use crate::shared::Shared;

/// Checks whose halfs are read from the disk in one go.
const BATCH: usize = 64;

/// Bytes around a name and its value in a property string, the end of the property before included.
const SEPARATORS: usize = 3;

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

/// Sends one check; says so to the coordinator if that is not possible. A half that was decided since the check was planned is
/// not asked about: no check follows the answer to its END_TRANSACTION.
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
    let notify = || peer.is_some_and(|peer| peer.notify(frame));
    if shared.reader.while_undecided(check.seq, notify) == Some(false) {
        shared.log.not_sent(check.seq);
    }
}

/// The request: the half as it would be delivered, under its original handle whatever retention has
/// done with its bytes.
fn frame(shared: &Shared, check: &CheckRequest) -> Result<Frame, CheckError> {
    let image = shared.reader.half_image(check.seq)?;
    let half = message::decode(&image)?;
    let unique_key = half.properties().get(name::UNIQ_KEY);
    let mut text = half.properties.to_owned();
    for (name, value) in [
        (name::TRANSACTION_ID, unique_key.unwrap_or_default()),
        (name::REAL_TOPIC, half.topic),
        (name::REAL_QID, &half.queue_id.to_string()),
        (
            name::TRANSACTION_CHECK_TIMES,
            &check.check_times.to_string(),
        ),
    ] {
        // Where one finds no room the half must be asked about all the same; topic, queue and id are said elsewhere too.
        let has_room = text.len() + name.len() + value.len() + SEPARATORS <= PROPERTIES_BYTES_MAX;
        if has_room && !value.is_empty() {
            properties::set(&mut text, name, value);
        }
    }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use escrow_coordinator::Decision;
    use escrow_store::{HalfSeq, PhysicalOffset};

    use super::*;
    use crate::Broker;
    use crate::log_thread::{Asking, Command, NewHalf, NewMessage, Operator, Request};
    use crate::remoting::answer::ReplyTo;
    use crate::remoting::peer::Peer;

    async fn frames(peer: &Peer) -> Vec<Frame> {
        let mut buffer = BytesMut::new();
        if peer.outbox.bytes() > 0 {
            let taken = peer.outbox.take(&mut buffer, &mut Vec::new()).await;
            let taken = taken.expect("it is open");
            peer.outbox.written(taken);
        }
        let frames = std::iter::from_fn(|| Frame::decode(&mut buffer).expect("whole frames"));
        frames.collect()
    }

    fn half(shared: &Shared, peer: &Arc<Peer>) -> Command {
        let message = NewMessage {
            topic: "orders".into(),
            queue_id: 0,
            flag: 0,
            sys_flag: 4,
            born_timestamp: 0,
            born_host: peer.address,
            store_host: shared.store_host,
            reconsume_times: 0,
            properties: "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}".to_owned(),
            body: Bytes::from_static(b"body"),
            unique_key: String::new(),
        };
        let half = NewHalf {
            message,
            producer_group: "pg".to_owned(),
        };
        let request = Request {
            what: Asking::Half(Box::new(half)),
            reply: ReplyTo::of(&Frame::request(0), 0),
        };
        Command::Requests {
            peer: Arc::clone(peer),
            requests: vec![request],
        }
    }

    #[tokio::test]
    async fn a_half_that_was_decided_after_its_check_was_planned_is_not_asked_about() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let broker = Broker::start_in(folder.path()).await;
        let shared = broker.shared();
        let peer = shared.connections.open(([127, 0, 0, 1], 9).into());
        let commands = vec![half(shared, &peer)];
        let room = shared.log.reserve(1, None).await.expect("room");
        shared.log.push(room, commands);
        shared.log.barrier().await.expect("the store works");
        let stored = frames(&peer).await;
        let id = stored.first().and_then(|answer| answer.ext.get("msgId"));
        let id = id.expect("the half is acknowledged");
        let (_, handle) = escrow_protocol::ids::decode_offset_message_id(id).expect("an id");
        let planned = CheckRequest {
            seq: HalfSeq(0),
            handle: PhysicalOffset(handle.unsigned_abs()),
            group: "pg".into(),
            connection: peer.connection,
            check_times: 1,
            answered: 0,
        };
        send(shared, &planned);
        assert_eq!(frames(&peer).await.len(), 1, "while it is undecided");
        let operator = Operator {
            name: "kim".to_owned(),
            address: String::new(),
            reason: "it is over".to_owned(),
        };
        let decided = shared
            .log
            .decide(planned.seq, Decision::Rollback, operator)
            .await;
        assert!(decided.is_ok_and(|decided| decided.is_ok()));
        send(shared, &planned);
        assert_eq!(frames(&peer).await, []);
        broker.shutdown().await;
    }
}
