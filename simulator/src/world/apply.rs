//! What each request does to store and coordinator, and what the ledger and the checkers learn of it.

use escrow_coordinator::{Capability, ConnectionId, Member};
use escrow_protocol::message::Message;
use escrow_protocol::properties::{self, name};
use escrow_store::{Durability, Error, HalfSeq};

use super::node::Up;
use super::traffic::{Answer, From, Outgoing, Reply, Request};
use super::{World, note};
use crate::model::{Item, Promise, QueueKey, Slot, What, level_queue};
use crate::seen::Seen;

impl World {
    pub(super) fn apply(&mut self, up: &mut Up, from: From, request: Request) {
        match request {
            Request::Half(half) => self.half(up, from, &half),
            Request::Plain(message) => self.plain(up, from, &message),
            Request::Deliver(waited, image) => self.deliver(up, waited, &image),
            Request::End(end) => self.end(up, from, &end),
            Request::Join { capable } => self.join(up, from, capable),
            Request::Left => {
                note!(self, "left {}", from.connection);
                let now = self.clock(up.born_ms);
                up.coordinator.left(now, ConnectionId(from.connection));
                self.see(&Seen::Left {
                    connection: from.connection,
                });
            }
            Request::NotSent { seq } => {
                self.see(&Seen::NotSent { seq });
                let now = self.clock(up.born_ms);
                up.coordinator.not_sent(now, HalfSeq(seq));
            }
            Request::Operate { half, decision } => self.operate(up, half, decision),
            Request::Resume(id) => self.resume(up, id),
            Request::CheckNow(id) => {
                let now = self.clock(up.born_ms);
                let seq = HalfSeq(self.model.half(id).seq);
                up.coordinator.check_now(&up.store, now, seq);
                self.see(&Seen::Touched(id));
            }
            Request::CreateTopic { topic, queues } => self.create_topic(up, topic, queues),
            Request::DropTopic { topic } => self.drop_topic(up, topic),
        }
    }

    fn join(&mut self, up: &mut Up, from: From, capable: bool) {
        let client = &self.clients[from.client];
        if client.connection != Some(from.connection) {
            return;
        }
        let (group, name, address) = (
            client.group,
            client.name.clone(),
            client.address(from.connection),
        );
        note!(self, "join {name} {}", from.connection);
        let now = self.clock(up.born_ms);
        let capability = if capable {
            Capability::Declared
        } else {
            Capability::Unknown
        };
        let member = Member {
            group: &group_name(group),
            connection: ConnectionId(from.connection),
            client_id: &name,
            address: &address,
            capability,
        };
        up.coordinator.joined(now, member);
        self.see(&Seen::Joined {
            group,
            connection: from.connection,
        });
    }

    pub(super) fn has_queue(up: &Up, queue: QueueKey) -> bool {
        let queues = up.topics.get(&queue.topic).copied().unwrap_or(0);
        i32::try_from(queues).is_ok_and(|queues| queue.queue_id < queues)
    }

    fn plain(&mut self, up: &mut Up, from: From, sent: &Outgoing) {
        if !Self::has_queue(up, sent.queue) {
            return;
        }
        let target = sent.queue;
        let mut text = properties(&sent.key, None, None);
        // A delayed message waits in its level's queue.
        let queue = sent.level.map_or(target, level_queue);
        if let Some(level) = sent.level {
            properties::set(&mut text, name::DELAY, &(level + 1).to_string());
            properties::set(&mut text, name::REAL_TOPIC, &target.topic_name());
            properties::set(&mut text, name::REAL_QID, &target.queue_id.to_string());
        }
        let topic = queue.topic_name();
        let message = message(&topic, queue.queue_id, &text, &sent.body);
        let start = up.store.end().0;
        let need = self.plan.plain;
        let placed = up.store.append_message(self.wall(), &message, need);
        let placed = match placed {
            Ok(placed) => placed,
            Err(error) => return self.refused(up, &error),
        };
        note!(self, "plain {} {placed:?}", sent.key);
        let offset = placed.queue_offset.0;
        let what = What::Plain(queue, offset);
        self.model.spans.add(start, up.store.end().0, what.clone());
        let (key, body) = (sent.key.clone(), sent.body.clone());
        let item = match sent.level {
            Some(_) => Item::Delayed { key, body, target },
            None => Item::Plain { key, body },
        };
        self.place(queue, offset, item, placed.end.0, placed.store_timestamp);
        let answer = Answer {
            to: from,
            what,
            end: placed.end.0,
            reply: Reply::PlainStored { queue, offset },
        };
        up.waiting.push(need, answer);
    }

    pub(super) fn place(
        &mut self,
        queue: QueueKey,
        offset: u64,
        item: Item,
        end: u64,
        stored_wall_ms: i64,
    ) {
        let before = self.model.queues.get(&queue).map_or(0, |queue| queue.end);
        let slot = Slot {
            item,
            end,
            stored_wall_ms,
            promise: Promise::Nothing,
            touched: false,
        };
        self.model.placed(queue, offset, slot);
        self.see(&Seen::Placed {
            queue,
            offset,
            before,
        });
    }

    fn create_topic(&mut self, up: &mut Up, topic: u64, queues: u32) {
        if up.topics.contains_key(&topic) {
            return;
        }
        let start = up.store.end().0;
        let key = format!("topic/{topic}");
        let set = up.store.set_meta(self.wall(), &key, &queues.to_le_bytes());
        note!(self, "create topic {topic} {set:?}");
        match set {
            Ok(end) => {
                self.model
                    .spans
                    .add(start, up.store.end().0, What::Topic(topic));
                let answer = Answer {
                    to: super::start::ADMIN,
                    what: What::Topic(topic),
                    end: end.0,
                    reply: Reply::TopicIs(topic, queues),
                };
                up.waiting.push(Durability::Synced, answer);
            }
            Err(error) => self.refused(up, &error),
        }
    }

    fn drop_topic(&mut self, up: &mut Up, topic: u64) {
        if up.topics.remove(&topic).is_none() {
            return;
        }
        let start = up.store.end().0;
        let (wall, name) = (self.wall(), format!("topic-{topic}"));
        let deleted = up.store.delete_meta(wall, &format!("topic/{topic}"));
        let dropped = deleted.and_then(|_| up.store.drop_topic(wall, &name));
        note!(self, "drop topic {topic} {dropped:?}");
        match dropped {
            Ok(end) => {
                self.model
                    .spans
                    .add(start, up.store.end().0, What::Topic(topic));
                self.model.dropped(topic);
                self.consumers_leave(topic);
                let answer = Answer {
                    to: super::start::ADMIN,
                    what: What::Topic(topic),
                    end: end.0,
                    reply: Reply::TopicIsGone(topic),
                };
                up.waiting.push(Durability::Synced, answer);
            }
            Err(error) => self.refused(up, &error),
        }
    }

    pub(super) fn refused(&mut self, up: &mut Up, error: &Error) {
        note!(self, "refused: {error}");
        self.count_disk_faults();
        if self.disk.is_dead() {
            return;
        }
        if error.kind() == escrow_store::ErrorKind::Stop && !self.model.is_failed_read(error) {
            up.has_failed = true;
        }
        self.see(&Seen::Refused(error));
    }
}

pub(super) fn group_name(group: u64) -> String {
    format!("group-{group}")
}

pub(super) fn properties(key: &str, group: Option<u64>, immunity_s: Option<u64>) -> String {
    let mut text = format!("UNIQ_KEY\u{1}{key}\u{2}KEYS\u{1}{key}-word\u{2}TAGS\u{1}tag\u{2}");
    if let Some(group) = group {
        text.push_str(&format!(
            "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{}\u{2}",
            group_name(group)
        ));
    }
    if let Some(seconds) = immunity_s {
        text.push_str(&format!(
            "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}{seconds}\u{2}"
        ));
    }
    text
}

pub(super) fn message<'a>(
    topic: &'a str,
    queue_id: i32,
    properties: &'a str,
    body: &'a [u8],
) -> Message<'a> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10_911));
    Message {
        queue_id,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_timestamp: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties,
    }
}
