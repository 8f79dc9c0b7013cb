//! The bounded queue in front of the log thread.
//!
//! What one socket read brought is handed over in one push: the hand-over, not the store, is the
//! expensive part of a pipelined request. Room is counted in kibibytes, so that a flood of small
//! requests and a few large bodies are bounded alike; who finds no room waits, which stops its
//! socket from being read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::command::Command;

/// Room of the whole queue, in units of [`Command::cost`].
const ROOM: u32 = 64 * 1024;

/// What the log thread takes at once: bounds what one positioned write stages.
const TAKE_MAX: u32 = 8 * 1024;

/// The part of the room that one connection may hold, so that its flood does not become
/// everybody's waiting time.
pub(crate) const CREDIT: u32 = ROOM / 16;

/// The commands of one hand-over and the room they hold.
struct Batch {
    commands: Vec<Command>,
    room: Room,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    closed: bool,
    /// Somebody has something to tell that is no command.
    woken: bool,
}

/// Room reserved for one hand-over; given back when the log thread has taken the batch.
#[must_use]
pub(crate) struct Room {
    units: u32,
    /// The connection's share of it, given back by being dropped.
    _credit: Option<OwnedSemaphorePermit>,
}

/// The queue was closed: the broker is shutting down.
#[derive(Debug)]
pub(crate) struct Closed;

pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Condvar,
    room: Semaphore,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            room: Semaphore::new(ROOM as usize),
        }
    }

    /// What waits, in kibibytes.
    pub(crate) fn waiting(&self) -> usize {
        (ROOM as usize).saturating_sub(self.room.available_permits())
    }

    /// Waits for room for commands of this total cost, out of `credit` if they are a
    /// connection's.
    pub(crate) async fn reserve(
        &self,
        cost: u32,
        credit: Option<Arc<Semaphore>>,
    ) -> Result<Room, Closed> {
        let credit = match credit {
            Some(credit) => {
                let share = credit.acquire_many_owned(cost.clamp(1, CREDIT)).await;
                Some(share.map_err(|_| Closed)?)
            }
            None => None,
        };
        let units = cost.clamp(1, ROOM);
        self.room
            .acquire_many(units)
            .await
            .map_err(|_| Closed)?
            .forget();
        Ok(Room {
            units,
            _credit: credit,
        })
    }

    /// Hands a batch over; its commands are applied in order, with nothing in between.
    pub(crate) fn push(&self, room: Room, commands: Vec<Command>) {
        self.enqueue(room, commands);
    }

    /// Hands over what must never wait for room: membership changes, which are few and small.
    pub(crate) fn push_at_once(&self, command: Command) {
        self.enqueue(
            Room {
                units: 0,
                _credit: None,
            },
            vec![command],
        );
    }

    fn enqueue(&self, room: Room, commands: Vec<Command>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            // Dropping a command drops its answer channel, which tells whoever waits.
            return;
        }
        queue.batches.push_back(Batch { commands, room });
        drop(queue);
        self.arrived.notify_one();
    }

    /// Ends the wait for commands, or the next one.
    pub(crate) fn wake(&self) {
        self.queue.lock().woken = true;
        self.arrived.notify_one();
    }

    /// Waits until there is something or `until` has come, then moves what is there into `into`.
    /// Returns false once the queue is closed and empty.
    pub(crate) fn take(&self, until: Instant, into: &mut Vec<Command>) -> bool {
        let mut queue = self.queue.lock();
        while queue.batches.is_empty() && !queue.closed && !queue.woken {
            if self.arrived.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.woken = false;
        let mut room = 0;
        while room < TAKE_MAX {
            let Some(batch) = queue.batches.pop_front() else {
                break;
            };
            room += batch.room.units;
            into.extend(batch.commands);
        }
        let open = !queue.closed || !into.is_empty() || !queue.batches.is_empty();
        drop(queue);
        self.room.add_permits(room as usize);
        open
    }

    /// Refuses further commands and drops those that are there: nobody will apply them.
    pub(crate) fn abandon(&self) {
        self.close();
        let left = std::mem::take(&mut self.queue.lock().batches);
        drop(left);
    }

    /// Refuses further commands; those already in the queue are still applied.
    pub(crate) fn close(&self) {
        self.room.close();
        self.queue.lock().closed = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    fn command() -> Command {
        Command::Barrier {
            done: oneshot::channel().0,
        }
    }

    fn take(inbox: &Inbox) -> (usize, bool) {
        let mut taken = Vec::new();
        let open = inbox.take(Instant::now(), &mut taken);
        (taken.len(), open)
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_the_log_thread() {
        let inbox = Inbox::new();
        let room = inbox.reserve(ROOM, None).await.expect("it is open");
        assert!(inbox.reserve(1, None).now_or_never().is_none());
        inbox.push(room, vec![command()]);
        assert!(inbox.reserve(1, None).now_or_never().is_none());
        assert_eq!(take(&inbox), (1, true));
        assert!(inbox.reserve(1, None).now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_connection_cannot_take_all_the_room() {
        let inbox = Inbox::new();
        let flood = Arc::new(Semaphore::new(CREDIT as usize));
        let room = inbox
            .reserve(CREDIT, Some(Arc::clone(&flood)))
            .await
            .expect("it is open");
        inbox.push(room, vec![command()]);
        assert!(
            inbox
                .reserve(1, Some(Arc::clone(&flood)))
                .now_or_never()
                .is_none()
        );
        assert!(inbox.reserve(1, None).now_or_never().is_some());
        assert_eq!(take(&inbox), (1, true));
        assert!(inbox.reserve(1, Some(flood)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_there_at_the_close_is_still_taken() {
        let inbox = Inbox::new();
        let room = inbox.reserve(1, None).await.expect("it is open");
        inbox.push(room, vec![command()]);
        inbox.close();
        inbox.push_at_once(command());
        assert!(inbox.reserve(1, None).await.is_err());
        assert_eq!(take(&inbox), (1, true));
        assert_eq!(take(&inbox), (0, false));
    }

    #[test]
    fn who_is_woken_before_it_waits_does_not_wait() {
        let inbox = Inbox::new();
        inbox.wake();
        let mut taken = Vec::new();
        let begun = Instant::now();
        assert!(inbox.take(begun + Duration::from_secs(60), &mut taken));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_arrival_ends_the_wait() {
        let inbox = Arc::new(Inbox::new());
        let taker = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                let mut taken = Vec::new();
                inbox.take(Instant::now() + Duration::from_secs(60), &mut taken);
                taken.len()
            })
        };
        inbox.push_at_once(command());
        assert_eq!(taker.join().expect("no panic"), 1);
    }
}
