//! What each command does to the store and the coordinator.
//!
//! Nothing is answered here: an answer is put where it waits for the log to be as durable as it
//! must be.

use std::sync::Arc;

use escrow_coordinator::{
    Actor, DecideRefused, EndOutcome, EndRequest, HalfAck, HalfRequest, Member, Now,
};
use escrow_protocol::code::response;
use escrow_store::{Durability, PhysicalOffset, ScheduleSource};

use super::LogError;
use super::command::{
    Asking, Command, Delivery, Done, EndTransaction, NewHalf, NewMember, NewMessage, Operator,
    Request,
};
use super::upkeep::Upkeep;
use super::worker::{Completion, Worker};
use crate::remoting::answer::{Outcome, Refusal, Stored};
use crate::remoting::peer::Peer;

impl Worker {
    pub(super) fn apply(&mut self, now: Now, command: Command) {
        match command {
            Command::Requests { peer, requests } => {
                for Request { what, reply } in requests {
                    let (outcome, need) = match what {
                        Asking::Send {
                            messages,
                            queue_id,
                            need,
                        } => self.send(now, messages, queue_id, need),
                        Asking::Half(half) => self.half(now, *half, &peer),
                        Asking::End(end) => self.end(now, &end, &peer),
                    };
                    let to = Arc::clone(&peer);
                    self.waiting
                        .push(need, Completion::Reply(to, reply, outcome));
                }
            }
            Command::Append {
                message,
                need,
                done,
            } => {
                let placed = self
                    .store
                    .append_message(now.wall_ms, &message.as_message(), need);
                self.done(need, done, placed.map_err(LogError::from));
            }
            Command::Deliver { delivery, done } => self.deliver(now, &delivery, done),
            Command::SetMeta { key, value, done } => {
                let set = match value {
                    Some(value) => self.store.set_meta(now.wall_ms, &key, &value),
                    None => self.store.delete_meta(now.wall_ms, &key),
                };
                // Metadata is durable before use, whatever messages wait for.
                let set = set.map(drop).map_err(LogError::from);
                self.done(Durability::Synced, done, set);
            }
            Command::DropTopic { topic, key, done } => {
                let dropped = self.store.delete_meta(now.wall_ms, &key);
                let dropped = dropped.and_then(|_| self.store.drop_topic(now.wall_ms, &topic));
                let dropped = dropped.map(drop).map_err(LogError::from);
                self.done(Durability::Synced, done, dropped);
            }
            other => self.apply_rare(now, other),
        }
    }

    fn apply_rare(&mut self, now: Now, command: Command) {
        let topics = Arc::clone(&self.topics);
        let queues = |topic: &str| topics.write_queues(topic);
        match command {
            Command::Decide {
                seq,
                decision,
                operator,
                done,
            } => {
                let actor = as_actor(&operator);
                let decided =
                    self.coordinator
                        .decide(&mut self.store, now, seq, decision, actor, &queues);
                let need = match &decided {
                    Ok(decided) => self.need(decided.durable_at),
                    Err(DecideRefused::Opposite(first)) => self.need(first.durable_at),
                    Err(_) => Durability::Written,
                };
                self.done(need, done, Ok(decided));
            }
            Command::CheckNow { seq, done } => {
                let asked = self.coordinator.check_now(&self.store, now, seq);
                self.done(Durability::Written, done, Ok(asked));
            }
            Command::Resume {
                handle,
                operator,
                done,
            } => {
                let actor = as_actor(&operator);
                let resumed = self.coordinator.resume(&mut self.store, now, handle, actor);
                self.done(self.policy.transaction, done, Ok(resumed));
            }
            Command::Watermark { group, done } => {
                let watermark = self.coordinator.watermark(&mut self.store, now, &group);
                // The decisions that raised it must not be lost, nor the time that it says.
                self.done(Durability::Synced, done, watermark.map_err(LogError::from));
            }
            Command::Joined(member) => self.coordinator.joined(now, as_member(&member)),
            Command::LeftGroup { group, connection } => {
                self.coordinator.left_group(now, &group, connection);
            }
            Command::Left(connection) => self.coordinator.left(now, connection),
            Command::NotSent(seq) => self.coordinator.not_sent(now, seq),
            Command::Checkpointed(done) => Upkeep::checkpointed(&mut self.store, done),
            Command::Look(look) => look(&self.store, &self.coordinator, now),
            Command::Barrier { done } => {
                let last = self.waiting.last_need();
                self.done(last, done, Ok(()));
            }
            _ => unreachable!("handled by apply"),
        }
    }

    /// Appends the messages of one send; they share topic and queue, so their places follow each
    /// other.
    fn send(
        &mut self,
        now: Now,
        messages: Vec<NewMessage>,
        queue_id: i32,
        need: Durability,
    ) -> (Outcome, Durability) {
        let mut stored = Vec::with_capacity(messages.len());
        let mut first = None;
        let mut host = None;
        for message in messages {
            let placed = self
                .store
                .append_message(now.wall_ms, &message.as_message(), need);
            let placed = match placed {
                Ok(placed) => placed,
                Err(error) => return (refused(error), Durability::Written),
            };
            first.get_or_insert(placed.queue_offset);
            host.get_or_insert(message.store_host);
            stored.push(Stored {
                physical: placed.physical.0,
                unique_key: message.unique_key,
            });
        }
        let (Some(queue_offset), Some(host)) = (first, host) else {
            return (
                refuse(response::MESSAGE_ILLEGAL, "the batch is empty"),
                Durability::Written,
            );
        };
        let outcome = Outcome::Sent {
            host,
            queue_id,
            queue_offset: queue_offset.0,
            messages: stored,
        };
        (outcome, need)
    }

    fn half(&mut self, now: Now, half: NewHalf, sender: &Peer) -> (Outcome, Durability) {
        let request = HalfRequest {
            message: half.message.as_message(),
            producer_group: &half.producer_group,
            connection: sender.connection,
            client_id: &sender.client_id(),
            address: &sender.address_text,
        };
        match self.coordinator.half(&mut self.store, now, request) {
            Ok(ack) => (sent(half.message, &ack), self.need(ack.durable_at)),
            Err(error) => (refuse(error.code(), error.to_string()), Durability::Written),
        }
    }

    fn end(&mut self, now: Now, end: &EndTransaction, from: &Peer) -> (Outcome, Durability) {
        let topics = &self.topics;
        let client_id = from.client_id();
        let request = EndRequest {
            group: &end.group,
            commit_log_offset: end.commit_log_offset,
            half_offset: end.half_offset,
            resolution: end.resolution,
            from_check: end.from_check,
            message_id: &end.message_id,
            transaction_id: &end.transaction_id,
            remark: &end.remark,
            connection: from.connection,
            client_id: &client_id,
            address: &from.address_text,
        };
        let queues = |topic: &str| topics.write_queues(topic);
        let ended = self
            .coordinator
            .end(&mut self.store, now, &request, &queues);
        let need = ended
            .durable_at()
            .map_or(Durability::Written, |end| self.need(end));
        let EndOutcome::Refused(refusal) = ended else {
            return (Outcome::Success, need);
        };
        tracing::debug!(peer = %from.address, handle = end.commit_log_offset, %refusal,
            "END_TRANSACTION refused");
        (refuse(refusal.code(), refusal.to_string()), need)
    }

    /// Delivers a due message unless that was done before: the log says how far a level is.
    fn deliver(&mut self, now: Now, delivery: &Delivery, done: Done<bool>) {
        if self.store.schedule_progress(delivery.level_queue).0 > delivery.queue_offset {
            return self.done(Durability::Written, done, Ok(false));
        }
        let from = ScheduleSource {
            level_queue: delivery.level_queue,
            queue_offset: delivery.queue_offset,
        };
        let message = delivery.message.as_message();
        let need = self.policy.plain;
        let placed = self
            .store
            .append_delivery(now.wall_ms, &message, from, need);
        self.done(need, done, placed.map(|_| true).map_err(LogError::from));
    }

    /// What an acknowledgement of something that ends at `durable_at` still has to wait for.
    fn need(&self, durable_at: PhysicalOffset) -> Durability {
        self.store.still_needs(durable_at, self.policy.transaction)
    }

    fn done<T: Send + 'static>(
        &mut self,
        need: Durability,
        done: Done<T>,
        result: Result<T, LogError>,
    ) {
        let call = Completion::Call(Box::new(move |written| {
            // Whoever asked may have gone away.
            let _ = done.send(written.and(result));
        }));
        self.waiting.push(need, call);
    }
}

fn as_member(member: &NewMember) -> Member<'_> {
    Member {
        group: &member.group,
        connection: member.connection,
        client_id: &member.client_id,
        address: &member.address,
        capability: member.capability,
    }
}

fn as_actor(operator: &Operator) -> Actor<'_> {
    Actor {
        name: &operator.name,
        address: &operator.address,
        reason: &operator.reason,
    }
}

/// The answer to a half: the whole handle that its sender will name again.
fn sent(message: NewMessage, ack: &HalfAck) -> Outcome {
    Outcome::Sent {
        host: message.store_host,
        queue_id: ack.queue_id,
        queue_offset: ack.seq.0,
        messages: vec![Stored {
            physical: ack.handle.0,
            unique_key: message.unique_key,
        }],
    }
}

fn refuse(code: i32, remark: impl Into<std::borrow::Cow<'static, str>>) -> Outcome {
    Outcome::Refused(Refusal::new(code, remark))
}

fn refused(error: escrow_store::Error) -> Outcome {
    Outcome::Refused(LogError::from(error).refusal())
}
