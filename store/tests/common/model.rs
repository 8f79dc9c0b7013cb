//! The tiny model: what was appended, in order. What the store must show is computed from it alone.

use std::collections::BTreeMap;

use escrow_store::{HalfSeq, HalfState, OpKind, Store};

use super::{bodies, half, op, plain};

#[derive(Clone, Debug)]
pub enum Event {
    Message {
        topic: &'static str,
        queue: i32,
        body: Vec<u8>,
    },
    Half {
        body: Vec<u8>,
    },
    Op {
        seq: u64,
        kind: OpKind,
    },
    Meta {
        key: String,
        value: Vec<u8>,
    },
    Drop {
        topic: &'static str,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Events with the ends of their records.
    events: Vec<(u64, Event)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub queues: BTreeMap<(&'static str, i32), Vec<Vec<u8>>>,
    pub halfs: Vec<(HalfState, u16)>,
    pub meta: BTreeMap<String, Vec<u8>>,
}

pub const TOPICS: [&str; 2] = ["T", "U"];
pub const QUEUES: i32 = 2;
/// The topic of all halfs.
pub const HALF_TOPIC: &str = "T";

impl Model {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn halfs(&self) -> u64 {
        self.events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Half { .. }))
            .count() as u64
    }

    /// Appends to the store and, if it takes it, to the model.
    pub fn append(&mut self, store: &mut Store, event: Event) {
        let now = super::NOW + self.events.len() as i64;
        let end = match &event {
            Event::Message { topic, queue, body } => {
                let message = plain(topic, *queue, body, "");
                store
                    .append_message(now, &message, escrow_store::Durability::Written)
                    .map(|placed| placed.end)
            }
            Event::Half { body } => {
                let unique = format!("U{}", self.halfs());
                Ok(half(store, HALF_TOPIC, 0, &unique, body).end)
            }
            Event::Op { seq, kind } => store
                .append_op(
                    now,
                    HalfSeq(*seq),
                    &op(*kind),
                    escrow_store::Durability::Synced,
                )
                .map(|placed| placed.end),
            Event::Meta { key, value } => store.set_meta(now, key, value),
            Event::Drop { topic } => store.drop_topic(now, topic),
        };
        match end {
            Ok(end) => self.events.push((end.0, event)),
            Err(escrow_store::Error::AlreadyDecided) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Only what ends at or before `end` survived.
    pub fn truncate(&mut self, end: u64) {
        self.events.retain(|(event_end, _)| *event_end <= end);
    }

    pub fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        let mut half_bodies: Vec<Vec<u8>> = Vec::new();
        for (_, event) in &self.events {
            match event {
                Event::Message { topic, queue, body } => {
                    expected
                        .queues
                        .entry((topic, *queue))
                        .or_default()
                        .push(body.clone());
                }
                Event::Half { body } => {
                    half_bodies.push(body.clone());
                    expected.halfs.push((HalfState::Pending, 0));
                }
                Event::Op { seq, kind } => {
                    let half = &mut expected.halfs[*seq as usize];
                    match kind {
                        OpKind::Commit { queue_id } => {
                            half.0 = HalfState::Committed;
                            let queue = expected.queues.entry((HALF_TOPIC, *queue_id)).or_default();
                            queue.push(half_bodies[*seq as usize].clone());
                        }
                        OpKind::Rollback => half.0 = HalfState::RolledBack,
                        OpKind::Park => half.0 = HalfState::Parked,
                        OpKind::Resume if half.0 == HalfState::Parked => {
                            *half = (HalfState::Pending, 0)
                        }
                        OpKind::Answer { .. } => half.1 += 1,
                        OpKind::Resume | OpKind::Conflict { .. } => {}
                    }
                }
                Event::Meta { key, value } => {
                    expected.meta.insert(key.clone(), value.clone());
                }
                Event::Drop { topic } => expected.queues.retain(|(name, _), _| name != topic),
            }
        }
        expected
    }

    /// Compares everything that the store shows.
    pub fn check(&self, store: &Store) {
        let expected = self.expected();
        let reader = store.reader();
        for topic in TOPICS {
            for queue in 0..QUEUES {
                let shown: Vec<Vec<u8>> = bodies(&reader, topic, queue)
                    .into_iter()
                    .map(Option::unwrap)
                    .collect();
                let wanted = expected
                    .queues
                    .get(&(topic, queue))
                    .cloned()
                    .unwrap_or_default();
                assert_eq!(shown, wanted, "queue {queue} of {topic}");
            }
        }
        assert_eq!(store.next_half().0, expected.halfs.len() as u64);
        for (seq, (state, answered)) in (0..).zip(&expected.halfs) {
            let entry = store
                .half(HalfSeq(seq))
                .unwrap_or_else(|| panic!("half {seq} is known"));
            assert_eq!(
                (entry.state, entry.answered),
                (*state, *answered),
                "half {seq}"
            );
            assert_eq!(
                store.half_at(entry.handle).unwrap(),
                escrow_store::HalfLookup::Half(HalfSeq(seq), entry)
            );
        }
        let undecided = expected
            .halfs
            .iter()
            .filter(|(state, _)| state.is_undecided())
            .count();
        assert_eq!(store.undecided().count(), undecided);
        let meta: BTreeMap<String, Vec<u8>> = store
            .meta_iter("")
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(meta, expected.meta);
    }
}

/// A bit of everything.
pub fn script(model: &mut Model, store: &mut Store, round: u8) {
    let body = vec![round; 20 + usize::from(round)];
    model.append(
        store,
        Event::Message {
            topic: "U",
            queue: 1,
            body: body.clone(),
        },
    );
    model.append(store, Event::Half { body: body.clone() });
    let newest = model.halfs() - 1;
    model.append(
        store,
        Event::Message {
            topic: "T",
            queue: 0,
            body,
        },
    );
    let resolution = escrow_protocol::transaction::Resolution::Unknown;
    model.append(
        store,
        Event::Op {
            seq: newest,
            kind: OpKind::Answer { resolution },
        },
    );
    let kind = match round % 4 {
        0 => OpKind::Commit { queue_id: 0 },
        1 => OpKind::Rollback,
        2 => OpKind::Park,
        _ => OpKind::Resume,
    };
    model.append(store, Event::Op { seq: newest, kind });
    model.append(
        store,
        Event::Meta {
            key: format!("k{}", round % 3),
            value: vec![round],
        },
    );
}
