//! Random work, reopens and crashes against the tiny model.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{Event, Model, QUEUES, TOPICS};
use common::*;
use escrow_protocol::transaction::Resolution;
use escrow_store::memory_disk::Loss;
use escrow_store::{MemoryDisk, OpKind, Settings, Store};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Message {
        topic: usize,
        queue: i32,
        len: usize,
    },
    Half {
        len: usize,
    },
    Op {
        half: u64,
        kind: OpKind,
    },
    Meta {
        key: u8,
        value: u8,
    },
    Drop {
        topic: usize,
    },
    Write,
    Sync,
    Publish,
    Mark,
    Checkpoint,
    Kill,
    Crash {
        torn: Option<u64>,
    },
}

fn op_kind() -> impl Strategy<Value = OpKind> {
    prop_oneof![
        4 => (0..QUEUES).prop_map(|queue_id| OpKind::Commit { queue_id }),
        2 => Just(OpKind::Rollback),
        1 => Just(OpKind::Park),
        1 => Just(OpKind::Resume),
        2 => Just(OpKind::Answer { resolution: Resolution::Unknown }),
        1 => Just(OpKind::Conflict { attempted: Resolution::Commit }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..TOPICS.len(), 0..QUEUES, 0_usize..1500).prop_map(|(topic, queue, len)| Step::Message { topic, queue, len }),
        6 => (0_usize..1500).prop_map(|len| Step::Half { len }),
        8 => (any::<u64>(), op_kind()).prop_map(|(half, kind)| Step::Op { half, kind }),
        2 => (0_u8..4, any::<u8>()).prop_map(|(key, value)| Step::Meta { key, value }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::Drop { topic }),
        4 => Just(Step::Write),
        4 => Just(Step::Sync),
        3 => Just(Step::Publish),
        1 => Just(Step::Mark),
        2 => Just(Step::Checkpoint),
        2 => Just(Step::Kill),
        2 => any::<Option<u64>>().prop_map(|torn| Step::Crash { torn }),
    ]
}

struct World {
    disk: MemoryDisk,
    store: Option<Store>,
    model: Model,
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 12 << 10,
        record_bytes_max: 4 << 10,
        unsynced_bytes_max: 8 << 10,
        tail_cache_bytes: 2 << 10,
        ..Settings::tiny()
    }
}

impl World {
    fn new() -> World {
        let disk = MemoryDisk::new();
        let (store, _) = open_with(&disk, settings());
        World {
            disk,
            store: Some(store),
            model: Model::default(),
        }
    }

    fn take(&mut self, step: Step) {
        let store = self.store.as_mut().unwrap();
        let model = &mut self.model;
        match step {
            Step::Message { topic, queue, len } => {
                let body = vec![b'm'; len];
                model.append(
                    store,
                    Event::Message {
                        topic: TOPICS[topic],
                        queue,
                        body,
                    },
                );
            }
            Step::Half { len } => model.append(
                store,
                Event::Half {
                    body: vec![b'h'; len],
                },
            ),
            Step::Op { half, kind } if model.halfs() > 0 => {
                let seq = half % model.halfs();
                let is_undecided = store
                    .half(escrow_store::HalfSeq(seq))
                    .unwrap()
                    .state
                    .is_undecided();
                // A conflict is about a decision.
                if is_undecided != matches!(kind, OpKind::Conflict { .. }) {
                    model.append(store, Event::Op { seq, kind });
                }
            }
            Step::Op { .. } => {}
            Step::Meta { key, value } => model.append(
                store,
                Event::Meta {
                    key: format!("k{key}"),
                    value: vec![value],
                },
            ),
            Step::Drop { topic } => model.append(
                store,
                Event::Drop {
                    topic: TOPICS[topic],
                },
            ),
            Step::Write => store.write().unwrap(),
            Step::Sync => store.sync().unwrap(),
            Step::Publish => drop(store.publish()),
            Step::Mark => store.mark_durable_if_idle(NOW).unwrap(),
            Step::Checkpoint => store.checkpoint(NOW).unwrap(),
            Step::Kill => {
                let written = store.written().0;
                self.reopen(self.disk.kill(), written);
            }
            Step::Crash { torn } => {
                let durable = store.durable().0;
                self.reopen(self.disk.crash(torn.map_or(Loss::All, Loss::Torn)), durable);
            }
        }
    }

    /// Everything below `owed` must be there.
    fn reopen(&mut self, disk: MemoryDisk, owed: u64) {
        self.store = None;
        let (store, report) = open_with(&disk, settings());
        assert!(
            report.damaged.is_empty() && report.parked.is_empty(),
            "{report:?}"
        );
        let goes_on = report.cut.map_or(store.end(), |cut| cut.offset).0;
        assert!(goes_on >= owed, "{goes_on} {owed}");
        self.model.truncate(goes_on);
        self.model.check(&store);
        self.disk = disk;
        self.store = Some(store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        let store = world.store.as_mut().unwrap();
        settle(store);
        world.model.check(store);
        let written = store.written().0;
        world.reopen(world.disk.kill(), written);
    }
}
