//! PULL_MESSAGE and LITE_PULL_MESSAGE, with long polling.

mod read;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use escrow_protocol::body::MessageModel;
use escrow_protocol::code::response;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{PullRequest, PullResponse};
use escrow_protocol::names;
use escrow_protocol::sysflag::{perm, pull as flag};
use tokio::time::Instant;

use super::answer::{Refusal, RequestHead};
use super::peer::Peer;
use crate::consumers::{Subscription, is_tag_type};
use crate::groups::GroupConfig;
use crate::shared::{Phase, Shared};
use read::{Found, Status, Wanted, read};

/// Pulls of one connection that may wait at the same time; a further one is answered at once.
const HELD_MAX: usize = 16_384;

/// The longest that a pull may wait, whatever it asks for: less than any client's patience.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// A pull that waits is looked at again after this long even if nobody woke it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A refusal, and which permission is missing if it is about one.
struct Refused {
    refusal: Refusal,
    forbidden: Option<i32>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            refusal,
            forbidden: None,
        }
    }
}

fn refused(code: i32, remark: String) -> Refused {
    Refusal::new(code, remark).into()
}

fn forbidden(kind: i32, remark: String) -> Refused {
    Refused {
        refusal: Refusal::new(response::NO_PERMISSION, remark),
        forbidden: Some(kind),
    }
}

/// Sets `waited` if it did not find a message at once.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    request: &Frame,
    waited: &mut bool,
) -> Frame {
    let head = RequestHead::of(request);
    match pull(shared, peer, head, request, waited).await {
        Ok(frame) => frame,
        Err(refused) => {
            let mut frame = head.refuse(refused.refusal);
            if let Some(kind) = refused.forbidden {
                // Java unboxes these without looking.
                answer_header(0, 0, 0, Some(kind)).encode(&mut frame.ext);
            }
            frame
        }
    }
}

async fn pull(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    head: RequestHead,
    request: &Frame,
    waited: &mut bool,
) -> Result<Frame, Refused> {
    let header = PullRequest::decode(&request.ext)
        .map_err(|error| refused(response::SYSTEM_ERROR, error.to_string()))?;
    let wanted = check(shared, &header).await?;
    if header.sys_flag & flag::COMMIT_OFFSET != 0 {
        let PullRequest {
            consumer_group,
            topic,
            queue_id,
            commit_offset,
            ..
        } = header;
        shared
            .offsets
            .commit(consumer_group, topic, queue_id, commit_offset);
    }
    let found = match hold(peer, &header) {
        Some(hold) => read_or_wait(shared, wanted, hold, waited).await,
        None => read_in_turn(shared, peer, &wanted).await,
    };
    let found = found.map_err(|error| refused(response::SYSTEM_ERROR, error.to_string()))?;
    let PullRequest {
        topic,
        consumer_group,
        ..
    } = header;
    shared
        .counters
        .messages_out(topic, consumer_group, found.messages, found.body.len());
    Ok(answer(head, header.queue_offset, found))
}

/// All checks of the stock broker, in its order.
async fn check(shared: &Arc<Shared>, header: &PullRequest<'_>) -> Result<Wanted, Refused> {
    if matches!(header.topic, names::HALF_TOPIC | names::OP_TOPIC) {
        // Undecided halfs are nobody's to read (G2).
        return Err(forbidden(
            3,
            format!("the topic[{}] pulling message is forbidden", header.topic),
        ));
    }
    let group = shared.group_for_consumer(header.consumer_group).await?;
    if !group.consume_enable {
        let remark = format!(
            "subscription group no permission, {}",
            header.consumer_group
        );
        return Err(forbidden(2, remark));
    }
    let Some(topic) = shared.topics.get(header.topic) else {
        let remark = format!("topic[{}] not exist, apply first please!", header.topic);
        return Err(refused(response::TOPIC_NOT_EXIST, remark));
    };
    if !perm::is_readable(topic.perm) {
        let remark = format!("the topic[{}] pulling message is forbidden", header.topic);
        return Err(forbidden(3, remark));
    }
    if !(0..topic.read_queues).contains(&header.queue_id) {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}]",
            header.queue_id, header.topic, topic.read_queues
        );
        return Err(refused(response::INVALID_PARAMETER, remark));
    }
    Ok(Wanted {
        topic: Arc::clone(&topic.name),
        queue_id: header.queue_id,
        offset: header.queue_offset,
        messages_max: usize::try_from(header.messages_max)
            .unwrap_or(0)
            .clamp(1, 1024),
        bytes_max: header.bytes_max.and_then(|max| usize::try_from(max).ok()),
        filter: subscription(shared, &group, header)?,
    })
}

/// The tags that this pull wants: from its own header, or from the group's heartbeats.
fn subscription(
    shared: &Shared,
    group: &GroupConfig,
    header: &PullRequest<'_>,
) -> Result<Arc<Subscription>, Refused> {
    if header.sys_flag & flag::SUBSCRIPTION == 0 {
        return known_subscription(shared, group, header);
    }
    let kind = header.expression_type.unwrap_or_default();
    if !is_tag_type(kind) {
        return Err(no_such_filter(kind));
    }
    let expression = header.subscription.unwrap_or_default();
    Subscription::parse(header.topic, expression, kind, header.subscription_version)
        .map(Arc::new)
        .map_err(|problem| {
            let remark = format!("parse the consumer's subscription failed: {problem}");
            refused(response::SUBSCRIPTION_PARSE_FAILED, remark)
        })
}

/// What the group's members said in their heartbeats.
fn known_subscription(
    shared: &Shared,
    group: &GroupConfig,
    header: &PullRequest<'_>,
) -> Result<Arc<Subscription>, Refused> {
    let unknown = |what: &str| {
        let remark = format!("the consumer's {what} not exist");
        refused(response::SUBSCRIPTION_NOT_EXIST, remark)
    };
    let model = shared.consumers.message_model(header.consumer_group);
    let model = model.ok_or_else(|| unknown("group info"))?;
    if model == MessageModel::Broadcasting && !group.consume_broadcast_enable {
        let remark = format!(
            "the consumer group[{}] can not consume by broadcast way",
            header.consumer_group
        );
        return Err(forbidden(4, remark));
    }
    let subscription = shared
        .consumers
        .subscription(header.consumer_group, header.topic);
    let subscription = subscription.ok_or_else(|| unknown("subscription"))?;
    if subscription.version < header.subscription_version {
        let remark = "the consumer's subscription not latest".to_owned();
        return Err(refused(response::SUBSCRIPTION_NOT_LATEST, remark));
    }
    if !subscription.by_tag() {
        return Err(no_such_filter(&subscription.expression_type));
    }
    Ok(subscription)
}

fn no_such_filter(kind: &str) -> Refused {
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    refused(response::SYSTEM_ERROR, remark)
}

/// How long this pull may wait for a message; `None` if it may not.
fn hold<'a>(peer: &'a Peer, header: &PullRequest<'_>) -> Option<Hold<'a>> {
    let wanted = u64::try_from(header.suspend_timeout_ms)
        .ok()
        .filter(|wanted| *wanted > 0)?;
    if header.sys_flag & flag::SUSPEND == 0 {
        return None;
    }
    let held = Hold {
        peer,
        until: Instant::now() + Duration::from_millis(wanted).min(HOLD_MAX),
    };
    let others = peer.held.fetch_add(1, Ordering::Relaxed);
    (others < HELD_MAX).then_some(held)
}

/// One pull that may wait, counted while it lives.
struct Hold<'a> {
    peer: &'a Peer,
    until: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.peer.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads when the peer has taken most of its earlier answers. A consumer of many queues asks for
/// all of them at once, and each answer can be large.
async fn read_in_turn(
    shared: &Arc<Shared>,
    peer: &Peer,
    wanted: &Wanted,
) -> Result<Found, escrow_store::Error> {
    let turn = async {
        let turn = peer.reading.acquire().await;
        peer.outbox.room().await;
        turn
    };
    let _turn = tokio::select! {
        turn = turn => turn.ok(),
        // Nobody waits for a peer that does not read when the broker shuts down.
        () = shared.phase.reached(Phase::Draining) => None,
    };
    read(shared, wanted).await
}

/// Reads, and while there is nothing new, waits for an arrival that passes the filter.
async fn read_or_wait(
    shared: &Arc<Shared>,
    mut wanted: Wanted,
    hold: Hold<'_>,
    waited: &mut bool,
) -> Result<Found, escrow_store::Error> {
    let topic = Arc::clone(&wanted.topic);
    let bell = shared.long_polls.bell(&topic, wanted.queue_id);
    loop {
        // Taken before looking: what arrives from now on wakes it.
        let rung = bell.rung().notified();
        let found = read_in_turn(shared, hold.peer, &wanted).await?;
        let nothing = match found.status {
            Status::NoMatchedMessage => *waited,
            status => status.code(wanted.offset) == response::PULL_NOT_FOUND,
        };
        let closed = hold.peer.outbox.is_closed() || shared.phase.is(Phase::Draining);
        if !nothing || closed || Instant::now() >= hold.until {
            return Ok(found);
        }
        if found.status == Status::NoMatchedMessage {
            wanted.offset = found.next;
        }
        *waited = true;
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep_until(hold.until.min(Instant::now() + LOOK_AGAIN)) => {}
            () = shared.phase.reached(Phase::Draining) => {}
        }
    }
}

fn answer(head: RequestHead, asked: i64, found: Found) -> Frame {
    let mut frame = head.answer(found.status.code(asked));
    answer_header(found.next, found.min, found.max, None).encode(&mut frame.ext);
    frame.remark = Some(found.status.name().to_owned());
    frame.body = found.body;
    frame
}

fn answer_header(next: i64, min: i64, max: i64, forbidden_type: Option<i32>) -> PullResponse {
    PullResponse {
        suggested_broker_id: 0,
        next_begin_offset: next,
        min_offset: min,
        max_offset: max,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type,
    }
}
