//! The messages of one queue between pull and done: how many may be there, and how far the group has come.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::settings::PushSettings;

/// Bounds of a cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    messages: usize,
    bytes: usize,
    span: i64,
}

impl From<&PushSettings> for Bounds {
    fn from(settings: &PushSettings) -> Self {
        Self {
            messages: settings.cached_messages_max,
            bytes: settings.cached_bytes_max,
            span: settings.cached_span_max,
        }
    }
}

/// What is pulled of a queue and not done.
#[derive(Debug)]
pub(super) struct Cache {
    bounds: Bounds,
    state: Mutex<State>,
    done: Notify,
}

#[derive(Debug)]
struct State {
    /// Body size by queue offset.
    pending: BTreeMap<i64, usize>,
    bytes: usize,
    /// Where the next pull begins: everything before is done or pending.
    next: i64,
    /// What the store of offsets was told last.
    stored: i64,
}

impl Cache {
    /// An empty cache of a queue whose offset `start` is stored.
    pub(super) fn new(start: i64, bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::new(State {
                pending: BTreeMap::new(),
                bytes: 0,
                next: start,
                stored: start,
            }),
            done: Notify::new(),
        }
    }

    /// Waits until there is room for another pull; says where it begins.
    pub(super) async fn room(&self) -> i64 {
        loop {
            let done = self.done.notified();
            {
                let state = self.state.lock();
                if !state.is_full(&self.bounds) {
                    return state.next;
                }
            }
            done.await;
        }
    }

    /// Takes in a message that was pulled.
    pub(super) fn add(&self, queue_offset: i64, bytes: usize) {
        let mut state = self.state.lock();
        state.pending.insert(queue_offset, bytes);
        state.bytes += bytes;
    }

    /// The next pull begins here.
    pub(super) fn advance(&self, next: i64) {
        self.state.lock().next = next;
    }

    /// A message need not come again.
    pub(super) fn done(&self, queue_offset: i64) {
        let mut state = self.state.lock();
        if let Some(bytes) = state.pending.remove(&queue_offset) {
            state.bytes -= bytes;
        }
        drop(state);
        self.done.notify_one();
    }

    /// The offset to be stored for the group, unless it is stored already: that of the oldest message not done.
    pub(super) fn unstored(&self) -> Option<i64> {
        let state = self.state.lock();
        let reached = state.reached();
        (reached != state.stored).then_some(reached)
    }

    pub(super) fn stored(&self, offset: i64) {
        self.state.lock().stored = offset;
    }
}

impl State {
    fn reached(&self) -> i64 {
        let oldest = self.pending.first_key_value();
        oldest.map_or(self.next, |(offset, _)| *offset)
    }

    fn is_full(&self, bounds: &Bounds) -> bool {
        self.pending.len() >= bounds.messages
            || self.bytes >= bounds.bytes
            || self.next - self.reached() >= bounds.span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        messages: 3,
        bytes: 100,
        span: 10,
    };

    fn is_full(cache: &Cache) -> bool {
        cache.state.lock().is_full(&cache.bounds)
    }

    #[test]
    fn a_group_has_come_to_its_oldest_message_that_is_not_done() {
        let cache = Cache::new(5, BOUNDS);
        assert_eq!(cache.unstored(), None);
        cache.add(5, 1);
        cache.add(7, 1);
        cache.advance(9);
        cache.done(7);
        assert_eq!(cache.unstored(), None);
        cache.done(5);
        assert_eq!(cache.unstored(), Some(9));
        cache.stored(9);
        assert_eq!(cache.unstored(), None);
    }

    #[test]
    fn messages_bytes_and_span_are_bounded() {
        let cache = Cache::new(0, BOUNDS);
        for offset in 0..3 {
            assert!(!is_full(&cache));
            cache.add(offset, 1);
        }
        assert!(is_full(&cache));
        cache.done(1);
        assert!(!is_full(&cache));
        cache.add(3, 98);
        cache.done(2);
        assert!(!is_full(&cache), "2 messages, 99 bytes");
        cache.add(4, 1);
        cache.done(0);
        assert!(!is_full(&cache), "2 messages, 99 bytes");
        cache.advance(13);
        assert!(is_full(&cache), "3 is not done, 13 would be next");
        cache.done(3);
        assert!(!is_full(&cache));
        let one_large = Cache::new(0, BOUNDS);
        one_large.add(0, 100);
        assert!(is_full(&one_large));
    }

    #[tokio::test]
    async fn what_gets_done_makes_room() {
        let cache = Cache::new(
            0,
            Bounds {
                messages: 1,
                ..BOUNDS
            },
        );
        cache.add(0, 1);
        cache.advance(1);
        let ((), next) = tokio::join!(async { cache.done(0) }, cache.room());
        assert_eq!(next, 1);
    }
}
