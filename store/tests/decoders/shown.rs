//! What a store shows, so that two can be compared.

use std::collections::BTreeMap;

use bytes::Bytes;
use escrow_store::{
    DecisionQuery, Error, HalfEntry, HalfLookup, HalfSeq, Lookup, NameId, OpRecord, QueueEntry,
    QueueOffset, Store,
};

const TOPICS: [&str; 3] = ["T", "U", "fill"];
const QUEUES: i32 = 3;

/// As many are looked at, from both ends.
const SOME: usize = 40;

/// An answer, or that damage hides it: then nothing is said, and a later open that rebuilds derived files may say more.
#[derive(Debug)]
enum Told<T> {
    Known(T),
    Damaged,
}

impl<T: PartialEq> PartialEq for Told<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Told::Known(one), Told::Known(two)) => one == two,
            _ => true,
        }
    }
}

/// `None`: there is no such thing. A disk in memory does not fail.
fn told<T>(result: Result<T, Error>) -> Told<Option<T>> {
    match result {
        Ok(value) => Told::Known(Some(value)),
        Err(Error::NotFound { .. }) => Told::Known(None),
        // What a newer version wrote is left alone as what is damaged.
        Err(Error::Damaged { .. } | Error::OtherFormat { .. }) => Told::Damaged,
        Err(error) => panic!("{error}"),
    }
}

#[derive(Debug, PartialEq)]
struct Half {
    entry: HalfEntry,
    names: [String; 3],
    image: Told<Option<Bytes>>,
    history: Told<Option<Vec<OpRecord>>>,
    by_handle: Told<Option<Lookup>>,
}

#[derive(Debug, PartialEq)]
struct Message {
    offset: u64,
    entry: QueueEntry,
    image: Told<Option<Bytes>>,
}

#[derive(Debug, PartialEq)]
struct Queue {
    topic: &'static str,
    id: i32,
    min: u64,
    max: u64,
    first: Told<Vec<Message>>,
    last: Told<Vec<Message>>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    queues: Vec<Queue>,
    halfs: Vec<(u64, Told<Option<Half>>)>,
    next_half: u64,
    counts: (u64, u64),
    meta: BTreeMap<String, Vec<u8>>,
    schedule: Vec<u64>,
    found: Vec<Told<Option<Vec<Bytes>>>>,
    decisions: Told<Vec<(u64, u64)>>,
}

impl Shown {
    pub(super) fn of(store: &Store) -> Shown {
        let reader = store.reader();
        let mut queues = Vec::new();
        let mut found = Vec::new();
        for topic in TOPICS {
            queues.extend((0..QUEUES).map(|id| queue(store, topic, id)));
            let keys = ["U0", "k1", "a"].into_iter();
            found.extend(keys.map(|key| told(reader.by_key(topic, key, i64::MIN, i64::MAX, 8))));
        }
        let query = DecisionQuery {
            group: None,
            since_ms: 0,
            from: None,
            decisions_max: SOME,
            bytes_max: 1 << 20,
        };
        let decisions = match told(reader.decisions(&query)) {
            Told::Known(page) => Told::Known(
                page.into_iter()
                    .flat_map(|page| page.decisions)
                    .map(|decision| (decision.physical.0, decision.seq.0))
                    .collect(),
            ),
            Told::Damaged => Told::Damaged,
        };
        Shown {
            queues,
            halfs: halfs(store),
            next_half: store.next_half().0,
            counts: store.undecided_counts(),
            meta: store
                .meta_iter("")
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            schedule: (0..3)
                .map(|level| store.schedule_progress(level).0)
                .collect(),
            found,
            decisions,
        }
    }
}

/// Of halfs that the store itself has written.
pub(super) fn each_handle_leads_to_its_half(store: &Store) {
    for (seq, entry) in store.undecided().take(SOME) {
        if let Told::Known(Some(HalfLookup::Half(found, _))) = told(store.half_at(entry.handle)) {
            assert_eq!(found, seq, "a handle leads to its half");
        }
    }
}

impl Shown {
    /// Panics with the first thing that differs.
    pub(super) fn must_be(&self, other: &Shown, why: &str) {
        same(&self.queues, &other.queues, why);
        same(&self.halfs, &other.halfs, why);
        same(&self.found, &other.found, why);
        assert!(self == other, "{why}: {self:?}\n{other:?}");
    }
}

fn same<T: PartialEq + std::fmt::Debug>(one: &[T], other: &[T], why: &str) {
    if let Some((one, other)) = one.iter().zip(other).find(|(one, other)| one != other) {
        panic!("{why}:\n{one:#?}\n{other:#?}");
    }
}

fn queue(store: &Store, topic: &'static str, id: i32) -> Queue {
    let (min, max) = store.reader().queue_range(topic, id);
    let late = max.0.saturating_sub(SOME as u64).max(min.0);
    Queue {
        topic,
        id,
        min: min.0,
        max: max.0,
        first: messages(store, topic, id, min.0),
        last: messages(store, topic, id, late),
    }
}

fn messages(store: &Store, topic: &str, id: i32, from: u64) -> Told<Vec<Message>> {
    let reader = store.reader();
    let message = |offset: u64, entry: QueueEntry| Message {
        offset,
        entry,
        image: told(reader.delivered(topic, id, QueueOffset(offset), &entry)),
    };
    match told(reader.entries(topic, id, QueueOffset(from), SOME)) {
        Told::Known(entries) => {
            let entries = (from..).zip(entries.into_iter().flatten());
            Told::Known(
                entries
                    .map(|(offset, entry)| message(offset, entry))
                    .collect(),
            )
        }
        Told::Damaged => Told::Damaged,
    }
}

fn halfs(store: &Store) -> Vec<(u64, Told<Option<Half>>)> {
    let next = store.next_half().0;
    let some = SOME as u64;
    let ends = (0..next.min(some)).chain(next.saturating_sub(some)..next);
    let undecided = store.undecided().take(SOME).map(|(seq, _)| seq.0);
    let mut seqs: Vec<u64> = ends.chain(undecided).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs.into_iter()
        .map(|seq| (seq, half(store, seq)))
        .collect()
}

fn half(store: &Store, seq: u64) -> Told<Option<Half>> {
    let history = told(store.op_history(HalfSeq(seq)));
    let Some(mut entry) = store.half(HalfSeq(seq)) else {
        return match history {
            Told::Known(_) => Told::Known(None),
            Told::Damaged => Told::Damaged,
        };
    };
    // A forged RELOCATE may claim another half's handle.
    if let Told::Known(Some(HalfLookup::Half(_, found))) = told(store.half_at(entry.handle)) {
        assert_eq!(found.handle, entry.handle, "a handle leads to a half");
    }
    let names = [entry.topic, entry.group, entry.client].map(|id| store.name(id).to_owned());
    // Numbers of names are given anew when files are rebuilt.
    (entry.topic, entry.group, entry.client) = (NameId(0), NameId(0), NameId(0));
    Told::Known(Some(Half {
        entry,
        names,
        image: told(store.half_image(HalfSeq(seq))),
        history,
        by_handle: told(store.reader().by_offset(entry.handle)),
    }))
}
