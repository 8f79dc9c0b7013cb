//! Who waits for a message to appear in a queue.
//!
//! One bell per queue that somebody waits on. A waiter first takes hold of the bell, then looks
//! into the queue, then waits: an arrival between looking and waiting still wakes it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

type Queues = HashMap<i32, Arc<Notify>>;

#[derive(Default)]
pub(crate) struct LongPolls {
    bells: Mutex<HashMap<Arc<str>, Queues>>,
}

/// A hold on one queue's bell; the last one to let go removes it.
pub(crate) struct Bell<'a> {
    polls: &'a LongPolls,
    topic: Arc<str>,
    queue_id: i32,
    rung: Arc<Notify>,
}

impl Bell<'_> {
    pub(crate) fn rung(&self) -> &Notify {
        &self.rung
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        let mut bells = self.polls.bells.lock();
        // The table's and this one: nobody else waits.
        if Arc::strong_count(&self.rung) > 2 {
            return;
        }
        if let Some(queues) = bells.get_mut(&self.topic) {
            queues.remove(&self.queue_id);
            if queues.is_empty() {
                bells.remove(&self.topic);
            }
        }
    }
}

impl LongPolls {
    pub(crate) fn bell(&self, topic: &str, queue_id: i32) -> Bell<'_> {
        let mut bells = self.bells.lock();
        let topic = match bells.get_key_value(topic) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(topic),
        };
        let queues = bells.entry(Arc::clone(&topic)).or_default();
        let rung = Arc::clone(queues.entry(queue_id).or_default());
        Bell {
            polls: self,
            topic,
            queue_id,
            rung,
        }
    }

    /// Wakes everybody who waits for one of these queues.
    pub(crate) fn arrived<'a>(&self, arrivals: impl IntoIterator<Item = (&'a str, i32)>) {
        let bells = self.bells.lock();
        if bells.is_empty() {
            return;
        }
        let mut last = None;
        for (topic, queue_id) in arrivals {
            // Messages of one send follow each other.
            if last.replace((topic, queue_id)) == Some((topic, queue_id)) {
                continue;
            }
            if let Some(rung) = bells.get(topic).and_then(|queues| queues.get(&queue_id)) {
                rung.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_arrival_after_looking_wakes_the_waiter() {
        let polls = LongPolls::default();
        let bell = polls.bell("orders", 3);
        let rung = bell.rung().notified();
        polls.arrived([("orders", 3)]);
        rung.await;
    }

    #[test]
    fn the_last_waiter_takes_the_bell_away() {
        let polls = LongPolls::default();
        let first = polls.bell("orders", 3);
        let second = polls.bell("orders", 3);
        drop(first);
        assert_eq!(polls.bells.lock().len(), 1);
        drop(second);
        assert!(polls.bells.lock().is_empty());
    }
}
