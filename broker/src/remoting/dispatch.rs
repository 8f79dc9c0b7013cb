//! From a request's code to what handles it.
//!
//! Sends and END_TRANSACTION are prepared in the reader task and leave in its batch for the log
//! thread. Everything else is a future that is polled once on the spot, since most need not wait
//! for anything, and becomes a task only if it has to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use futures_util::FutureExt;
use tokio::time::timeout;

use super::answer::{Outcome, Refusal, ReplyTo, RequestHead};
use super::peer::Peer;
use super::{
    consumer_list, end_transaction, heartbeat, lock, offset, pull, query, resume, send, send_back,
    topic, view,
};
use crate::log_thread::{Asking, Command, Request, cost};
use crate::rpc_latency::Asked;
use crate::shared::Shared;

/// Which of the two listeners a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Broker,
    NameServer,
}

/// How long a send waits for room in the log thread's queue before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one socket read brought for the log thread.
pub(crate) struct Batch {
    requests: Vec<Request>,
    /// When the read was over, by the clock of [`crate::rpc_latency::RpcLatency`].
    pub(crate) arrived_ms: u64,
}

impl Batch {
    pub(crate) fn new(arrived_ms: u64) -> Batch {
        Batch {
            requests: Vec::new(),
            arrived_ms,
        }
    }

    pub(crate) fn push(&mut self, what: Asking, reply: ReplyTo) {
        self.requests.push(Request { what, reply });
    }

    /// Waits for room, which keeps the socket from being read, and hands all over. Sends that
    /// found no room in [`PATIENCE`] are refused; decisions wait as long as it takes.
    pub(crate) async fn hand_over(self, shared: &Shared, peer: &Arc<Peer>) {
        let mut requests = self.requests;
        if requests.is_empty() {
            return;
        }
        let credit = || Some(Arc::clone(&peer.credit));
        let room = match timeout(PATIENCE, shared.log.reserve(cost(&requests), credit())).await {
            Ok(room) => room,
            Err(_) => {
                requests.retain(|request| !is_shed(shared, peer, request));
                shared.log.reserve(cost(&requests), credit()).await
            }
        };
        // Closed: shutting down. The peer sees its connection close without an answer.
        if let Ok(room) = room {
            let peer = Arc::clone(peer);
            shared
                .log
                .push(room, vec![Command::Requests { peer, requests }]);
        }
    }
}

/// Refuses a send; everything else is left.
fn is_shed(shared: &Shared, peer: &Peer, request: &Request) -> bool {
    if matches!(request.what, Asking::End(_)) {
        return false;
    }
    shared.counters.sends_shed.fetch_add(1, Ordering::Relaxed);
    let remark = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while";
    let busy = Refusal::new(response::SYSTEM_BUSY, remark);
    peer.outbox
        .push(request.reply.outgoing(peer, Outcome::Refused(busy)));
    true
}

/// Takes one frame from a connection to whatever handles it.
pub(crate) fn dispatch(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    role: Role,
    frame: Frame,
    batch: &mut Batch,
) {
    if frame.is_response() {
        // Our own requests are oneway; a late answer to one of them means nothing.
        tracing::trace!(peer = %peer.address, opaque = frame.opaque, "response dropped");
        return;
    }
    match (role, frame.code) {
        (
            Role::Broker,
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE,
        ) => send::prepare(shared, peer, frame, batch),
        (Role::Broker, request::END_TRANSACTION) => {
            end_transaction::prepare(peer, &frame, batch);
        }
        _ => start(shared, peer, role, frame, batch.arrived_ms),
    }
}

/// Polls the handler once; spawns what is left of it.
fn start(shared: &Arc<Shared>, peer: &Arc<Peer>, role: Role, frame: Frame, arrived_ms: u64) {
    let asked = Asked::of(&frame, arrived_ms);
    let owned = (Arc::clone(shared), Arc::clone(peer));
    let mut work = Box::pin(answer(owned, role, frame, asked));
    if work.as_mut().now_or_never().is_none() {
        let peer = Arc::clone(peer);
        peer.work.begin();
        shared.tasks.spawn(async move {
            work.await;
            peer.work.end();
        });
    }
}

async fn answer(
    (shared, peer): (Arc<Shared>, Arc<Peer>),
    role: Role,
    frame: Frame,
    mut asked: Asked,
) {
    let head = RequestHead::of(&frame);
    let code = frame.code;
    let answer = match role {
        Role::Broker => handle(&shared, &peer, frame, &mut asked).await,
        Role::NameServer => crate::namesrv::handle(&shared, &peer, frame).await,
    };
    if let Some(answer) = answer {
        if head.oneway && answer.code != response::SUCCESS {
            tracing::debug!(peer = %peer.address, code, answer.code, answer.remark, "oneway request refused");
        }
        peer.answer(ReplyTo { head, asked }, answer);
    }
}

async fn handle(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    frame: Frame,
    asked: &mut Asked,
) -> Option<Frame> {
    match frame.code {
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
            Some(pull::handle(shared, peer, &frame, &mut asked.long_polled).await)
        }
        request::VIEW_MESSAGE_BY_ID => Some(view::handle(shared, &frame).await),
        request::QUERY_MESSAGE => Some(query::handle(shared, &frame).await),
        request::CONSUMER_SEND_MSG_BACK => Some(send_back::handle(shared, &frame).await),
        request::RESUME_CHECK_HALF_MESSAGE => Some(resume::handle(shared, peer, &frame).await),
        request::HEART_BEAT => Some(heartbeat::handle(shared, peer, &frame).await),
        _ => Some(catalogue(shared, peer, &frame).await),
    }
}

/// Topics, members, offsets and locks.
async fn catalogue(shared: &Arc<Shared>, peer: &Arc<Peer>, frame: &Frame) -> Frame {
    match frame.code {
        request::UNREGISTER_CLIENT => heartbeat::unregister(shared, peer, frame),
        request::CHECK_CLIENT_CONFIG => heartbeat::check_config(frame),
        request::GET_CONSUMER_LIST_BY_GROUP => consumer_list::handle(shared, frame),
        request::QUERY_CONSUMER_OFFSET => offset::query(shared, frame).await,
        request::UPDATE_CONSUMER_OFFSET => offset::update(shared, frame),
        request::GET_MAX_OFFSET => offset::max(shared, frame),
        request::GET_MIN_OFFSET => offset::min(shared, frame),
        request::SEARCH_OFFSET_BY_TIMESTAMP => offset::search(shared, frame).await,
        request::GET_EARLIEST_MSG_STORETIME => offset::earliest(shared, frame).await,
        request::LOCK_BATCH_MQ => lock::lock(shared, frame),
        request::UNLOCK_BATCH_MQ => lock::unlock(shared, frame),
        request::UPDATE_AND_CREATE_TOPIC => topic::update(shared, frame).await,
        request::DELETE_TOPIC_IN_BROKER => topic::delete(shared, frame).await,
        _ => unsupported(shared, frame),
    }
}

/// The stock answer to a code that nobody handles.
pub(crate) fn unsupported(shared: &Shared, frame: &Frame) -> Frame {
    shared.counters.unsupported(frame.code);
    tracing::debug!(code = frame.code, "request code not supported");
    RequestHead::of(frame).refuse(Refusal::new(
        response::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {} not supported", frame.code),
    ))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use escrow_protocol::header::{EndTransaction, SendRequest};

    use super::*;
    use crate::broker::Broker;
    use crate::log_thread::CREDIT;

    fn request(opaque: i32, code: i32) -> Frame {
        let mut frame = Frame::request(code);
        frame.opaque = opaque;
        frame
    }

    fn send(opaque: i32) -> Frame {
        let mut frame = request(opaque, request::SEND_MESSAGE_V2);
        let header = SendRequest {
            producer_group: "pg",
            topic: "BenchmarkTest",
            default_topic: "TBW102",
            default_topic_queues: 4,
            queue_id: 0,
            sys_flag: 0,
            born_timestamp: 0,
            flag: 0,
            properties: None,
            reconsume_times: None,
            unit_mode: false,
            reconsume_times_max: None,
            batch: false,
            broker_name: None,
        };
        header.encode(&mut frame.ext);
        frame
    }

    fn end(opaque: i32) -> Frame {
        let mut frame = request(opaque, request::END_TRANSACTION);
        let header = EndTransaction {
            topic: None,
            producer_group: "pg",
            half_queue_offset: 0,
            commit_log_offset: 0,
            commit_or_rollback: 8,
            from_check: false,
            message_id: "",
            transaction_id: None,
            broker_name: None,
        };
        header.encode(&mut frame.ext);
        frame
    }

    async fn answer(peer: &Peer) -> Frame {
        let mut buffer = BytesMut::new();
        let taken = peer.outbox.take(&mut buffer, &mut Vec::new()).await;
        taken.expect("it is open");
        Frame::decode(&mut buffer)
            .expect("a frame")
            .expect("a whole one")
    }

    #[tokio::test]
    async fn a_send_without_room_is_refused_after_a_second_and_a_decision_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Broker::start_in(folder.path()).await;
        let shared = broker.shared();
        let peer = shared.connections.open(([127, 0, 0, 1], 9).into());
        let taken = Arc::clone(&peer.credit)
            .acquire_many_owned(CREDIT)
            .await
            .expect("all of it");

        let mut batch = Batch::new(0);
        dispatch(shared, &peer, Role::Broker, end(1), &mut batch);
        dispatch(shared, &peer, Role::Broker, send(2), &mut batch);
        let refused = async {
            let refused = answer(&peer).await;
            assert_eq!((refused.opaque, refused.code), (2, response::SYSTEM_BUSY));
            drop(taken);
            // No such half: but it was looked for.
            let ended = answer(&peer).await;
            assert_eq!((ended.opaque, ended.code), (1, response::SYSTEM_ERROR));
        };
        tokio::join!(batch.hand_over(shared, &peer), refused);
        broker.shutdown().await;
    }
}
