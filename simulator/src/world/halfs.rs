//! Halfs that are sent, and sent again.

use std::collections::BTreeSet;

use escrow_coordinator::{ConnectionId, HalfRefused, HalfRequest};

use super::apply::{message, properties};
use super::node::Up;
use super::traffic::{Answer, From, Outgoing, Reply};
use super::{World, note};
use crate::model::{Fate, Half, Promise, What};
use crate::seen::Seen;

impl World {
    pub(super) fn half(&mut self, up: &mut Up, from: From, sent: &Outgoing) {
        if !Self::has_queue(up, sent.queue) {
            return;
        }
        let client = self.clients[from.client].clone();
        let is_there = client.connection == Some(from.connection);
        let immunity = sent.immunity_s;
        let properties = properties(&sent.key, Some(client.group), immunity);
        let topic = sent.queue.topic_name();
        let address = client.address(from.connection);
        let request = HalfRequest {
            message: message(&topic, sent.queue.queue_id, &properties, &sent.body),
            producer_group: "",
            connection: ConnectionId(from.connection),
            client_id: &client.name,
            address: &address,
        };
        let now = self.clock(up.born_ms);
        let must_repeat = self.first_of(sent, client.group);
        let start = up.store.end().0;
        let result = up.coordinator.half(&mut up.store, now, request);
        if is_there {
            self.see(&Seen::Joined {
                group: client.group,
                connection: from.connection,
            });
        }
        let ack = match result {
            Ok(ack) => ack,
            Err(HalfRefused::Store(error)) => return self.refused(up, &error),
            Err(error) => {
                return self.breaks("G9 bounded", &format!("a good half is refused: {error}"));
            }
        };
        note!(self, "half {} {ack:?}", sent.key);
        let known = self.model.named(ack.handle.0, ack.seq.0, &sent.key);
        let (id, end) = if ack.duplicate {
            self.see(&Seen::Repeated(known));
            match known {
                Some(id) => (id, self.model.half(id).end),
                None => return,
            }
        } else {
            if must_repeat {
                self.breaks(
                    "G6 identity",
                    &format!("{} sent again became another half", sent.key),
                );
            }
            let first_check_ms =
                immunity.map_or(self.plan.rules.first_ms, |s| (s * 1_000).max(1_000));
            let id = self.model.stored(Half {
                key: sent.key.clone(),
                group: client.group,
                topic: sent.queue.topic,
                queue_id: sent.queue.queue_id,
                body: sent.body.clone(),
                handle: ack.handle.0,
                seq: ack.seq.0,
                end: ack.durable_at.0,
                stored_mono_ms: self.now_ms,
                first_check_ms,
                promise: Promise::Nothing,
                fate: Fate::Undecided,
                fate_promise: Promise::Nothing,
                delivered: BTreeSet::new(),
                counted: 0,
                touched: false,
            });
            self.model
                .spans
                .add(start, up.store.end().0, What::Half(id));
            self.see(&Seen::Stored {
                half: id,
                is_open: is_there,
            });
            (id, ack.durable_at.0)
        };
        let need = up.store.still_needs(ack.durable_at, self.plan.transaction);
        let answer = Answer {
            to: from,
            what: What::Half(id),
            end,
            reply: Reply::HalfStored {
                key: sent.key.clone(),
                handle: ack.handle.0,
                seq: ack.seq.0,
            },
        };
        up.waiting.push(need, answer);
    }

    /// Whether the same half is there, undecided and so young that this one must be known as its repetition.
    fn first_of(&self, sent: &Outgoing, group: u64) -> bool {
        let is_first = |half: &Half| {
            half.key == sent.key
                && half.group == group
                && !half.touched
                && self.now_ms - half.stored_mono_ms < 59_000
        };
        self.plan.faults.clock_step == 0 && self.model.undecided().any(|(_, half)| is_first(half))
    }
}
