//! Who decides a half: its producer, its checker, an operator.

use escrow_coordinator::{Actor, ConnectionId, DecideRefused, EndOutcome, EndRefusal, EndRequest};
use escrow_store::{HalfSeq, PhysicalOffset};

use super::apply::group_name;
use super::node::Up;
use super::traffic::{Answer, End, From, Reply, Wrong};
use super::{World, note};
use crate::checks::in_our_words;
use crate::model::{Decision, Fate, HalfId, Item, QueueKey, What};
use crate::seen::{Ended, Seen};

const ADA: Actor<'static> = Actor {
    name: "ada",
    address: "127.0.0.1:1",
    reason: "the simulator says so",
};

impl World {
    pub(super) fn end(&mut self, up: &mut Up, from: From, end: &End) {
        let client = self.clients[from.client].clone();
        let group = match end.wrong {
            Some(Wrong::Group) => "another".to_owned(),
            _ => group_name(client.group),
        };
        let key = match end.wrong {
            Some(Wrong::Id) => "another",
            _ => end.key.as_str(),
        };
        let handle = end.handle + u64::from(end.wrong == Some(Wrong::Handle)) * 8;
        let seq = end.seq + u64::from(end.wrong == Some(Wrong::HalfOffset));
        let request = EndRequest {
            group: &group,
            commit_log_offset: handle.cast_signed(),
            half_offset: seq.cast_signed(),
            resolution: end.resolution,
            from_check: end.from_check,
            message_id: key,
            transaction_id: key,
            remark: "",
            connection: ConnectionId(from.connection),
            client_id: &client.name,
            address: &client.address(from.connection),
        };
        let half = self.model.named(end.handle, end.seq, &end.key);
        let half = half.filter(|id| self.model.half(*id).group == client.group);
        let before = half.and_then(|id| self.model.half(id).fate.decision());
        let write_queues = up.write_queues();
        let now = self.clock(up.born_ms);
        let start = up.store.end().0;
        let outcome = up
            .coordinator
            .end(&mut up.store, now, &request, &write_queues);
        note!(self, "end {} {:?} {outcome:?}", end.key, end.resolution);
        if let Some(id) = half {
            self.model
                .spans
                .add(start, up.store.end().0, What::Half(id));
        }
        if let (Some(id), EndOutcome::Decided(decided)) = (half, &outcome)
            && !decided.repeated
        {
            let published = decided.published.as_ref();
            let place = published.map(|at| (at.topic.clone(), at.queue_id, at.queue_offset.0));
            self.decided(
                up,
                id,
                in_our_words(decided.decision),
                place,
                decided.durable_at,
            );
        }
        if let (Some(id), EndOutcome::Noted(noted)) = (half, &outcome) {
            self.model.half_mut(id).counted += u32::from(noted.counted);
        }
        self.disk.watch(true);
        let history = half.map_or_else(Vec::new, |id| {
            let seq = HalfSeq(self.model.half(id).seq);
            up.store.op_history(seq).unwrap_or_default()
        });
        self.disk.watch(false);
        if let EndOutcome::Refused(EndRefusal::Store(error)) = &outcome {
            self.refused(up, error);
        }
        self.see(&Seen::Ended(Ended {
            half,
            before,
            resolution: end.resolution,
            from_check: end.from_check,
            connection: from.connection,
            is_wrong: end.wrong.is_some(),
            outcome: &outcome,
            history: &history,
        }));
        let Some((id, durable_at)) = half.zip(outcome.durable_at()) else {
            return;
        };
        let fate = self.model.half(id).fate;
        let need = up.store.still_needs(durable_at, self.plan.transaction);
        let answer = Answer {
            to: from,
            what: What::Half(id),
            end: fate.end(),
            reply: Reply::Decided(id),
        };
        up.waiting.push(need, answer);
    }

    /// The ledger learns of a decision that was just taken.
    fn decided(
        &mut self,
        up: &Up,
        id: HalfId,
        decision: Decision,
        place: Option<(String, i32, u64)>,
        durable_at: PhysicalOffset,
    ) {
        let end = durable_at.0;
        let half = self.model.half(id).clone();
        let Some((topic, queue_id, offset)) = place else {
            if decision == Decision::Rollback {
                self.model.half_mut(id).fate = Fate::RolledBack { end };
            }
            return;
        };
        let queues = up.topics.get(&half.topic).copied().unwrap_or(1);
        let queue = QueueKey {
            topic: half.topic,
            queue_id: half.queue_id % i32::try_from(queues).unwrap_or(1),
        };
        if topic != queue.topic_name() || queue_id != queue.queue_id {
            self.breaks(
                "G3 delivered iff committed",
                &format!(
                    "half {} is published in queue {queue_id} of {topic}",
                    half.seq
                ),
            );
        }
        self.model.half_mut(id).fate = Fate::Committed { queue, offset, end };
        self.place(queue, offset, Item::Half(id), end, self.wall());
    }

    pub(super) fn operate(&mut self, up: &mut Up, id: HalfId, wanted: Decision) {
        let half = self.model.half(id).clone();
        if self.model.named(half.handle, half.seq, &half.key) != Some(id) {
            return;
        }
        let decision = match wanted {
            Decision::Commit => escrow_coordinator::Decision::Commit,
            Decision::Rollback => escrow_coordinator::Decision::Rollback,
        };
        let before = half.fate.decision();
        let write_queues = up.write_queues();
        let now = self.clock(up.born_ms);
        let start = up.store.end().0;
        let seq = HalfSeq(half.seq);
        let result = up
            .coordinator
            .decide(&mut up.store, now, seq, decision, ADA, &write_queues);
        note!(self, "operator {} {wanted:?} {result:?}", half.key);
        self.model
            .spans
            .add(start, up.store.end().0, What::Half(id));
        let (said, durable_at) = match &result {
            Ok(decided) => {
                if !decided.repeated {
                    let published = decided.published.as_ref();
                    let place =
                        published.map(|at| (at.topic.clone(), at.queue_id, at.queue_offset.0));
                    self.decided(up, id, wanted, place, decided.durable_at);
                }
                let said = in_our_words(decided.decision);
                (Some((said, decided.repeated)), Some(decided.durable_at))
            }
            Err(DecideRefused::Opposite(first)) => {
                let said = in_our_words(first.decision);
                (Some((said, true)), Some(first.durable_at))
            }
            Err(DecideRefused::Store(error)) => {
                self.refused(up, error);
                (None, None)
            }
            Err(error) => {
                self.refused_operator(id, error);
                (None, None)
            }
        };
        self.see(&Seen::Operated {
            half: id,
            before,
            wanted,
            said,
        });
        if let Some(durable_at) = durable_at {
            let need = up.store.still_needs(durable_at, self.plan.transaction);
            let answer = Answer {
                to: super::start::ADMIN,
                what: What::Half(id),
                end: self.model.half(id).fate.end(),
                reply: Reply::Decided(id),
            };
            up.waiting.push(need, answer);
        }
    }

    /// An operator is told that there is no such half only if there is none any more.
    fn refused_operator(&mut self, id: HalfId, error: &DecideRefused) {
        let half = self.model.half(id);
        let may_be_gone =
            half.touched || self.model.derived_flipped || half.is_retired(self.model.log_start);
        if matches!(error, DecideRefused::NotFound) && !may_be_gone {
            let text = format!(
                "half {} is there and an operator is told it is not",
                half.seq
            );
            self.breaks("G4 first decision wins", &text);
        }
    }

    pub(super) fn resume(&mut self, up: &mut Up, id: HalfId) {
        let now = self.clock(up.born_ms);
        let handle = PhysicalOffset(self.model.half(id).handle);
        let start = up.store.end().0;
        let resumed = up.coordinator.resume(&mut up.store, now, handle, ADA);
        self.model
            .spans
            .add(start, up.store.end().0, What::Half(id));
        if resumed.is_ok() {
            note!(self, "resumed {}", self.model.half(id).key);
            self.see(&Seen::Touched(id));
        }
    }
}
