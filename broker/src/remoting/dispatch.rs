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

use super::answer::{Outcome, Refusal, RequestHead};
use super::peer::Peer;
use super::{
    consumer_list, end_transaction, heartbeat, lock, offset, pull, query, resume, send, send_back,
    topic, view,
};
use crate::log_thread::Command;
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
#[derive(Default)]
pub(crate) struct Batch {
    commands: Vec<Command>,
}

impl Batch {
    pub(crate) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Waits for room, which keeps the socket from being read, and hands all over. Sends that
    /// found no room in [`PATIENCE`] are refused; decisions wait as long as it takes.
    pub(crate) async fn hand_over(self, shared: &Shared, peer: &Peer) {
        let mut commands = self.commands;
        if commands.is_empty() {
            return;
        }
        let credit = || Some(Arc::clone(&peer.credit));
        let room = match timeout(PATIENCE, shared.log.reserve(&commands, credit())).await {
            Ok(room) => room,
            Err(_) => {
                commands = commands
                    .into_iter()
                    .filter_map(|c| unless_shed(shared, c))
                    .collect();
                shared.log.reserve(&commands, credit()).await
            }
        };
        // Closed: shutting down. The peer sees its connection close without an answer.
        if let Ok(room) = room {
            shared.log.push(room, commands);
        }
    }
}

/// Refuses a send; gives everything else back.
fn unless_shed(shared: &Shared, command: Command) -> Option<Command> {
    let (Command::Send { reply, .. } | Command::Half { reply, .. }) = command else {
        return Some(command);
    };
    shared.counters.sends_shed.fetch_add(1, Ordering::Relaxed);
    let remark = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while";
    let busy = Refusal::new(response::SYSTEM_BUSY, remark);
    reply
        .peer
        .outbox
        .push(reply.outgoing(Outcome::Refused(busy)));
    None
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
            end_transaction::prepare(peer, frame, batch);
        }
        _ => start(shared, peer, role, frame),
    }
}

/// Polls the handler once; spawns what is left of it.
fn start(shared: &Arc<Shared>, peer: &Arc<Peer>, role: Role, frame: Frame) {
    let mut work = Box::pin(answer(Arc::clone(shared), Arc::clone(peer), role, frame));
    if work.as_mut().now_or_never().is_none() {
        let peer = Arc::clone(peer);
        peer.work.begin();
        shared.tasks.spawn(async move {
            work.await;
            peer.work.end();
        });
    }
}

async fn answer(shared: Arc<Shared>, peer: Arc<Peer>, role: Role, frame: Frame) {
    let head = RequestHead::of(&frame);
    let code = frame.code;
    let answer = match role {
        Role::Broker => handle(&shared, &peer, frame).await,
        Role::NameServer => crate::namesrv::handle(&shared, &peer, frame).await,
    };
    match answer {
        Some(answer) if !head.oneway => {
            peer.send(answer);
        }
        Some(answer) if answer.code != response::SUCCESS => {
            tracing::debug!(peer = %peer.address, code, answer.code, answer.remark, "oneway request refused");
        }
        _ => {}
    }
}

async fn handle(shared: &Arc<Shared>, peer: &Arc<Peer>, frame: Frame) -> Option<Frame> {
    match frame.code {
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
            Some(pull::handle(shared, peer, &frame).await)
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
