//! How many halfs of each topic are undecided.
//!
//! Nobody keeps this count, so the pending table is gone through, in slices between which the log thread works
//! on. A result serves for a while: however often somebody scrapes, the log thread is not held up more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use escrow_store::{HalfSeq, NameId};

use super::failure::Failure;
use crate::shared::Shared;

/// Halfs looked at in one slice: about a millisecond.
const SLICE: usize = 20_000;

/// How long a result serves.
const SERVES_MS: u64 = 5_000;

/// Undecided halfs by topic.
type Counts = Arc<BTreeMap<String, u64>>;

/// The last result and when it was made, in monotonic milliseconds.
#[derive(Debug, Default)]
pub(super) struct HalfCounts(tokio::sync::Mutex<Option<(u64, Counts)>>);

impl HalfCounts {
    pub(super) async fn by_topic(&self, shared: &Shared) -> Result<Counts, Failure> {
        let mut last = self.0.lock().await;
        let now_ms = shared.clock.now().mono_ms;
        if let Some((made_ms, counts)) = &*last
            && now_ms.saturating_sub(*made_ms) < SERVES_MS
        {
            return Ok(Arc::clone(counts));
        }
        let counts = Arc::new(count(shared).await?);
        *last = Some((now_ms, Arc::clone(&counts)));
        Ok(counts)
    }
}

async fn count(shared: &Shared) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts: HashMap<NameId, u64> = HashMap::new();
    let mut from = Some(HalfSeq(0));
    while let Some(cursor) = from {
        (counts, from) = shared
            .log
            .look(move |store, _, _| {
                for (looked, (seq, entry)) in store.undecided_from(cursor).enumerate() {
                    if looked == SLICE {
                        return (counts, Some(seq));
                    }
                    *counts.entry(entry.topic).or_default() += 1;
                }
                (counts, None)
            })
            .await?;
    }
    let look = shared.log.look(move |store, _, _| {
        counts
            .into_iter()
            .map(|(topic, count)| (store.name(topic).to_owned(), count))
            .collect()
    });
    Ok(look.await?)
}
