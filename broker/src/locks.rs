//! Queue locks of orderly consumers: LOCK_BATCH_MQ 41 and UNLOCK_BATCH_MQ 42.
//!
//! A lock belongs to a client id, not to a connection, and lives 60 s from its last confirmation. It is in
//! memory only: after a restart clients lock again within 20 s, as with Apache.

use std::collections::HashMap;

use escrow_protocol::body::MessageQueue;
use parking_lot::Mutex;

/// How long a lock outlives its last confirmation; the value of Apache's `rebalance.lockMaxLiveTime`.
const LOCK_LIFE_MS: u64 = 60_000;

#[derive(Debug)]
struct Lock {
    client_id: String,
    confirmed_ms: u64,
}

impl Lock {
    fn expired(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.confirmed_ms) > LOCK_LIFE_MS
    }
}

/// All queue locks, by consumer group. Times are milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
}

impl QueueLocks {
    /// Locks what is free, expired or already this client's; returns those, in the order asked.
    pub(crate) fn lock(
        &self,
        now_ms: u64,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let locks = groups.entry(group.to_owned()).or_default();
        let mut granted = Vec::with_capacity(queues.len());
        for queue in queues {
            let held_by_other = locks
                .get(&queue)
                .is_some_and(|lock| lock.client_id != client_id && !lock.expired(now_ms));
            if !held_by_other {
                locks.insert(
                    queue.clone(),
                    Lock {
                        client_id: client_id.to_owned(),
                        confirmed_ms: now_ms,
                    },
                );
                granted.push(queue);
            }
        }
        granted
    }

    /// Releases those of the queues that this client holds; the locks of others stay.
    pub(crate) fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(locks) = groups.get_mut(group) else {
            return;
        };
        for queue in queues {
            if locks
                .get(queue)
                .is_some_and(|lock| lock.client_id == client_id)
            {
                locks.remove(queue);
            }
        }
        if locks.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether any member of the group holds a live lock: then the group consumes in order, and what it sends
    /// to its retry topic goes to the dead-letter topic instead.
    pub(crate) fn is_held(&self, now_ms: u64, group: &str) -> bool {
        self.groups
            .lock()
            .get(group)
            .is_some_and(|locks| locks.values().any(|lock| !lock.expired(now_ms)))
    }

    /// Forgets expired locks, so that groups which are gone cost nothing.
    pub(crate) fn expire(&self, now_ms: u64) {
        self.groups.lock().retain(|_, locks| {
            locks.retain(|_, lock| !lock.expired(now_ms));
            !locks.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            topic: "orders".into(),
            broker_name: "broker-a".into(),
            queue_id,
        }
    }

    #[test]
    fn a_queue_has_one_holder_in_a_group() {
        let locks = QueueLocks::default();
        assert_eq!(
            locks.lock(0, "g", "one", vec![queue(0), queue(1)]),
            [queue(0), queue(1)]
        );
        assert_eq!(
            locks.lock(1, "g", "two", vec![queue(0), queue(2)]),
            [queue(2)]
        );
        assert_eq!(
            locks.lock(1, "other group", "two", vec![queue(0)]),
            [queue(0)]
        );
    }

    #[test]
    fn confirming_keeps_a_lock_alive_and_silence_frees_it() {
        let locks = QueueLocks::default();
        locks.lock(0, "g", "one", vec![queue(0)]);
        assert_eq!(locks.lock(50_000, "g", "one", vec![queue(0)]), [queue(0)]);
        assert_eq!(locks.lock(110_000, "g", "two", vec![queue(0)]), []);
        assert_eq!(locks.lock(110_001, "g", "two", vec![queue(0)]), [queue(0)]);
        assert_eq!(locks.lock(110_002, "g", "one", vec![queue(0)]), []);
    }

    #[test]
    fn only_the_holder_can_unlock() {
        let locks = QueueLocks::default();
        locks.lock(0, "g", "one", vec![queue(0)]);
        locks.unlock("g", "two", &[queue(0)]);
        assert!(locks.is_held(1, "g"));
        locks.unlock("g", "one", &[queue(0), queue(7)]);
        assert!(!locks.is_held(1, "g"));
        locks.unlock("nobody", "one", &[queue(0)]);
    }

    #[test]
    fn a_group_consumes_in_order_while_a_lock_lives() {
        let locks = QueueLocks::default();
        assert!(!locks.is_held(0, "g"));
        locks.lock(0, "g", "one", vec![queue(0)]);
        assert!(locks.is_held(60_000, "g"));
        assert!(!locks.is_held(60_001, "g"));
        locks.expire(60_001);
        assert!(locks.groups.lock().is_empty());
    }
}
