//! Delayed messages: they wait in one queue per level and are delivered when due.
//!
//! A level's queue is in the order of the store time, and all of its messages wait equally long,
//! so only its first undelivered message needs a timer. One task per level reads ahead; the log
//! thread appends. Where a level stands is derived from the log itself (each delivery names its
//! place in the level's queue), so a delivery is made exactly once, whatever happens between.

use std::sync::Arc;
use std::time::Duration;

use escrow_protocol::message;
use escrow_protocol::names::SCHEDULE_TOPIC;
use escrow_protocol::properties::{self, Properties, name};
use escrow_store::{ErrorKind, QueueEntry, QueueOffset};

use crate::config::Settings;
use crate::log_thread::{Delivery, LogError, NewMessage};
use crate::shared::{Phase, Shared};

/// Deliveries handed to the log thread at once.
const BATCH: usize = 64;

/// Pause before a level is tried again after an error.
const RETRY: Duration = Duration::from_secs(1);

/// The longest sleep: the wall clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Where a message with this `DELAY` waits: its level's queue. `None`: it is not delayed.
/// A level beyond the last one waits in the last.
pub(crate) fn level_queue(delay: Option<&str>, levels: usize) -> Option<i32> {
    let level: i32 = delay?.trim().parse().ok()?;
    let last = i32::try_from(levels).ok()?;
    (level > 0 && last > 0).then(|| level.min(last) - 1)
}

/// Turns a message for a topic into one that waits for its delivery there.
pub(crate) fn postpone(message: &mut NewMessage, queue: i32, schedule: &Arc<str>) {
    properties::set(&mut message.properties, name::REAL_TOPIC, &message.topic);
    properties::set(
        &mut message.properties,
        name::REAL_QID,
        &message.queue_id.to_string(),
    );
    message.topic = Arc::clone(schedule);
    message.queue_id = queue;
}

/// The message to deliver, made of the one that waited. `None` if it names no target.
fn due_message(record: &[u8]) -> Option<NewMessage> {
    let waited = message::decode(record).ok()?;
    let properties = Properties(waited.properties);
    let topic = Arc::from(properties.get(name::REAL_TOPIC)?);
    let queue_id = properties.get(name::REAL_QID)?.parse().ok()?;
    let unique_key = properties
        .get(name::UNIQ_KEY)
        .unwrap_or_default()
        .to_owned();
    Some(NewMessage {
        topic,
        queue_id,
        flag: waited.flag,
        sys_flag: waited.sys_flag,
        born_timestamp: waited.born_timestamp,
        born_host: waited.born_host,
        store_host: waited.store_host,
        reconsume_times: waited.reconsume_times,
        // With its DELAY, as a stock broker delivers it.
        properties: waited.properties.to_owned(),
        body: bytes::Bytes::copy_from_slice(waited.body),
        unique_key,
    })
}

/// The most levels that settings can have.
const LEVELS_MAX: usize = 18;

/// The levels' queues and how long messages wait there. There are always as many as could ever
/// have been set: what waits in a level that is no longer set is delivered after the longest time.
pub(crate) fn levels(settings: &Settings) -> impl Iterator<Item = (u32, Duration)> {
    let set = &settings.message_delay_level.0;
    let last = set.last().copied().unwrap_or_default();
    let all = set.iter().copied().chain(std::iter::repeat(last));
    (0..).zip(all.take(LEVELS_MAX.max(set.len())))
}

/// Delivers the messages of one level until the broker drains.
pub(crate) async fn run_level(shared: Arc<Shared>, queue: u32, delay: Duration) {
    let mut level = match Level::open(shared, queue, delay).await {
        Ok(level) => level,
        // The log thread has ended.
        Err(_) => return,
    };
    let shared = Arc::clone(&level.shared);
    loop {
        tokio::select! {
            turned = level.turn() => if let Err(error) = turned {
                tracing::error!(level = queue + 1, %error, "delayed messages not delivered; trying again");
                tokio::time::sleep(RETRY).await;
            },
            () = shared.phase.reached(Phase::Draining) => return,
        }
    }
}

/// One level's queue and how far it is.
struct Level {
    shared: Arc<Shared>,
    queue: u32,
    delay: Duration,
    next: u64,
}

impl Level {
    async fn open(shared: Arc<Shared>, queue: u32, delay: Duration) -> Result<Level, LogError> {
        let next = shared
            .log
            .look(move |store, _, _| store.schedule_progress(queue))
            .await?;
        Ok(Level {
            shared,
            queue,
            delay,
            next: next.0,
        })
    }

    /// Waits for the next due message, or for one to come, and delivers what is due by then.
    async fn turn(&mut self) -> Result<(), LogError> {
        let queue_id = i32::try_from(self.queue).unwrap_or(i32::MAX);
        let shared = Arc::clone(&self.shared);
        let bell = shared.long_polls.bell(SCHEDULE_TOPIC, queue_id);
        let rung = bell.rung().notified();
        let entries = self.entries(queue_id).await?;
        let Some(first) = entries.first() else {
            rung.await;
            return Ok(());
        };
        if let Some(wait) = self.until_due(first) {
            tokio::time::sleep(wait.min(LOOK_AGAIN)).await;
            return Ok(());
        }
        let due = entries
            .into_iter()
            .take_while(|entry| self.until_due(entry).is_none());
        self.deliver(queue_id, due.collect()).await
    }

    /// `None`: it is due.
    fn until_due(&self, entry: &QueueEntry) -> Option<Duration> {
        let stored = entry.store_timestamp;
        let delay = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let wait = stored.saturating_add(delay) - self.shared.clock.wall_ms();
        u64::try_from(wait)
            .ok()
            .filter(|wait| *wait > 0)
            .map(Duration::from_millis)
    }

    async fn entries(&mut self, queue_id: i32) -> Result<Vec<QueueEntry>, LogError> {
        let reader = self.shared.reader.clone();
        let (min, _) = reader.queue_range(SCHEDULE_TOPIC, queue_id);
        // What retention has removed can no longer be delivered.
        self.next = self.next.max(min.0);
        let from = QueueOffset(self.next);
        let read = move || reader.entries(SCHEDULE_TOPIC, queue_id, from, BATCH);
        let read = tokio::task::spawn_blocking(read).await;
        Ok(read.unwrap_or(Ok(Vec::new()))?)
    }

    /// A topic may have fewer queues than when the message was sent: it goes where a committed
    /// half would go.
    fn with_existing_queue(&self, mut message: NewMessage) -> NewMessage {
        let queues = self.shared.topics.write_queues(&message.topic);
        let queues = queues.and_then(|queues| i32::try_from(queues).ok());
        if let Some(queues) = queues.filter(|queues| *queues > 0) {
            message.queue_id %= queues;
        }
        message
    }

    /// Hands all of them to the log thread and waits for it.
    async fn deliver(&mut self, queue_id: i32, due: Vec<QueueEntry>) -> Result<(), LogError> {
        let first = self.next;
        let end = first + due.len() as u64;
        let reader = self.shared.reader.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = |(place, entry): (u64, QueueEntry)| {
                (
                    place,
                    reader.delivered(SCHEDULE_TOPIC, queue_id, QueueOffset(place), &entry),
                )
            };
            (first..).zip(due).map(read).collect::<Vec<_>>()
        });
        let mut deliveries = Vec::new();
        for (place, record) in read.await.unwrap_or_default() {
            let message = match record {
                Ok(record) => due_message(&record),
                Err(error) if error.kind() == ErrorKind::Stop => return Err(error.into()),
                Err(error) => {
                    self.shared.counters.damaged_skipped();
                    tracing::error!(level = self.queue + 1, place, %error, "delayed message lost");
                    None
                }
            };
            deliveries.extend(message.map(|message| Delivery {
                level_queue: self.queue,
                queue_offset: place,
                message: self.with_existing_queue(message),
            }));
        }
        self.shared.log.deliver(deliveries).await?;
        self.next = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use escrow_protocol::message::Message;

    use super::*;

    #[test]
    fn a_level_has_its_queue_and_the_last_one_takes_the_rest() {
        let check = |delay, expected| assert_eq!(level_queue(delay, 18), expected, "{delay:?}");
        check(Some("1"), Some(0));
        check(Some("18"), Some(17));
        check(Some("19"), Some(17));
        check(Some("0"), None);
        check(Some("-1"), None);
        check(Some("soon"), None);
        check(None, None);
        assert_eq!(level_queue(Some("1"), 0), None);
    }

    #[test]
    fn what_is_delivered_is_what_was_postponed() {
        let host = ([127, 0, 0, 1], 10911).into();
        let mut message = NewMessage {
            topic: "orders".into(),
            queue_id: 3,
            flag: 7,
            sys_flag: 0,
            born_timestamp: 1_000,
            born_host: host,
            store_host: host,
            reconsume_times: 2,
            properties: "DELAY\u{1}5\u{2}UNIQ_KEY\u{1}K\u{2}".to_owned(),
            body: bytes::Bytes::from_static(b"order 1"),
            unique_key: "K".to_owned(),
        };
        postpone(&mut message, 4, &SCHEDULE_TOPIC.into());
        assert_eq!((&*message.topic, message.queue_id), (SCHEDULE_TOPIC, 4));
        let mut record = Vec::new();
        let stored = Message {
            queue_offset: 9,
            physical_offset: 99,
            ..message.as_message()
        };
        message::encode(&stored, &mut record).expect("it fits");

        let due = due_message(&record).expect("it names its target");
        assert_eq!((&*due.topic, due.queue_id), ("orders", 3));
        assert_eq!(
            (due.flag, due.reconsume_times, &due.body[..]),
            (7, 2, &b"order 1"[..])
        );
        let properties = Properties(&due.properties);
        assert_eq!(properties.get(name::DELAY), Some("5"));
        assert_eq!(properties.get(name::UNIQ_KEY), Some("K"));
        assert_eq!(properties.get(name::REAL_TOPIC), Some("orders"));
    }
}
