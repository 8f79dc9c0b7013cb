//! What the load knows for certain, and what the broker must therefore still know after any crash.

use std::collections::HashMap;
use std::time::Instant;

/// What a producer may say of its half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

impl Decision {
    pub(crate) fn opposite(self) -> Decision {
        match self {
            Decision::Commit => Decision::Rollback,
            Decision::Rollback => Decision::Commit,
        }
    }

    /// The `commitOrRollback` field of END_TRANSACTION.
    pub(crate) fn wire(self) -> i32 {
        match self {
            Decision::Commit => 8,
            Decision::Rollback => 12,
        }
    }
}

/// A half's identity, as answered at send.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) message_id: String,
    pub(crate) commit_log_offset: i64,
    pub(crate) half_offset: i64,
}

/// One message of the load.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A plain message; `acked` once its reply came.
    Plain { acked: bool },
    /// A half whose reply never came: it may exist, and nobody ever ended it.
    HalfInDoubt,
    /// An acknowledged half.
    Half(Half),
}

/// An acknowledged half and what was said of it.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) handle: Handle,
    /// END_TRANSACTION was written to a socket.
    pub(crate) sent: Option<Decision>,
    /// END_TRANSACTION was answered with success, at this time.
    pub(crate) acked: Option<(Decision, Instant)>,
}

/// All messages by unique key.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: HashMap<String, Entry>,
    /// Where each delivered message was seen first.
    delivered: HashMap<String, (i32, i64)>,
}

impl Ledger {
    pub(crate) fn plain_sent(&mut self, key: &str) {
        self.entries
            .insert(key.to_owned(), Entry::Plain { acked: false });
    }

    pub(crate) fn plain_acked(&mut self, key: &str) {
        self.entries
            .insert(key.to_owned(), Entry::Plain { acked: true });
    }

    pub(crate) fn half_sent(&mut self, key: &str) {
        self.entries.insert(key.to_owned(), Entry::HalfInDoubt);
    }

    pub(crate) fn half_acked(&mut self, key: &str, handle: Handle) {
        self.entries.insert(
            key.to_owned(),
            Entry::Half(Half {
                handle,
                sent: None,
                acked: None,
            }),
        );
    }

    pub(crate) fn end_sent(&mut self, key: &str, decision: Decision) {
        self.half_mut(key).sent = Some(decision);
    }

    pub(crate) fn end_acked(&mut self, key: &str, decision: Decision) {
        self.half_mut(key).acked = Some((decision, Instant::now()));
    }

    fn half_mut(&mut self, key: &str) -> &mut Half {
        match self.entries.get_mut(key) {
            Some(Entry::Half(half)) => half,
            other => panic!("{key} is no acknowledged half but {other:?}"),
        }
    }

    /// A check arrived for this key at this time: it must name an undecided half.
    pub(crate) fn check_received(&self, key: &str, handle: &Handle, arrived: Instant) {
        match self.entries.get(key) {
            Some(Entry::HalfInDoubt) => {}
            Some(Entry::Half(half)) => {
                assert_eq!(
                    half.handle.commit_log_offset, handle.commit_log_offset,
                    "{key}: a check with another handle"
                );
                assert_eq!(
                    half.handle.half_offset, handle.half_offset,
                    "{key}: a check with another half offset"
                );
                if let Some((decision, acked)) = half.acked {
                    // A check that crossed the END on the wire is no fault; one long after it is.
                    assert!(
                        arrived.saturating_duration_since(acked).as_millis() < 500,
                        "{key}: checked although {decision:?} was acknowledged"
                    );
                }
            }
            other => panic!("{key}: a check for {other:?}"),
        }
    }

    /// A consumer's view of one message: it may be there, and only here.
    pub(crate) fn delivered(&mut self, key: &str, queue: i32, offset: i64) {
        match self.entries.get(key) {
            None => panic!("{key}: delivered but never sent"),
            Some(Entry::HalfInDoubt) => panic!("{key}: delivered but never ended"),
            Some(Entry::Half(half)) => {
                assert_eq!(
                    half.sent,
                    Some(Decision::Commit),
                    "{key}: delivered but never committed"
                );
            }
            Some(Entry::Plain { .. }) => {}
        }
        if let Some(first) = self.delivered.insert(key.to_owned(), (queue, offset)) {
            assert_eq!(first, (queue, offset), "{key}: in the queues twice");
        }
    }

    /// Everything acknowledged as committed, or as a plain message, has been seen.
    pub(crate) fn assert_nothing_lost(&self) {
        for (key, entry) in &self.entries {
            let must_be_there = match entry {
                Entry::Plain { acked } => *acked,
                Entry::HalfInDoubt => false,
                Entry::Half(half) => matches!(half.acked, Some((Decision::Commit, _))),
            };
            assert!(
                !must_be_there || self.delivered.contains_key(key),
                "{key}: acknowledged and lost ({entry:?})"
            );
        }
    }

    /// Up to `count` halfs for which `wanted` holds.
    pub(crate) fn halfs(
        &self,
        count: usize,
        wanted: impl Fn(&Half) -> bool,
    ) -> Vec<(String, Handle)> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| match entry {
                Entry::Half(half) if wanted(half) => Some((key.clone(), half.handle.clone())),
                _ => None,
            })
            .take(count)
            .collect()
    }

    /// How many acknowledged decisions, and how many messages seen.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let decided = self.halfs(usize::MAX, |half| half.acked.is_some()).len();
        (decided, self.delivered.len())
    }
}
