//! One change of a name at a time, while changes of other names share the log thread's syncs.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Names are spread over so many locks.
const LOCKS: usize = 64;

/// A lock for every name; some names share one.
#[derive(Debug)]
pub(crate) struct NameLocks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for NameLocks {
    fn default() -> NameLocks {
        NameLocks {
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl NameLocks {
    /// Waits until nobody else changes this name.
    pub(crate) async fn lock(&self, name: &str) -> MutexGuard<'_, ()> {
        // The remainder is below 64 and the hash's low bits are as good as any.
        let at = usize::try_from(self.hasher.hash_one(name) % LOCKS as u64).unwrap_or(0);
        self.locks[at].lock().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_name_is_locked_for_itself() {
        let locks = NameLocks::default();
        let held = locks.lock("orders").await;
        assert!(locks.lock("orders").now_or_never().is_none());
        let others = (0..50)
            .filter(|n| locks.lock(&n.to_string()).now_or_never().is_some())
            .count();
        assert!(others > 40, "{others} of 50 other names are free");
        drop(held);
        assert!(locks.lock("orders").now_or_never().is_some());
    }
}
