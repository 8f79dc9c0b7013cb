//! The log thread: one named OS thread that owns the store and the coordinator by value.
//!
//! Everything that changes the log is a command in its bounded queue. It takes what is there,
//! applies it, writes once, shows what may be shown, answers what needs no sync, has it synced if
//! anybody waits for that, and answers the rest in log order. While a sync is on its way it goes on. Reads do not pass through here:
//! they use the store's `Reader`.

mod apply;
mod command;
mod inbox;
mod syncer;
mod upkeep;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use escrow_coordinator::{
    CheckNow, CheckRequest, ConnectionId, Coordinator, DecideRefused, Decided, Decision, Now,
    ResumeRefused, Resumed, Watermark,
};
use escrow_protocol::code::response;
use escrow_store::{
    CheckpointDone, CheckpointJob, Durability, ErrorKind, HalfSeq, PhysicalOffset, Placed, Store,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::long_polls::LongPolls;
use crate::remoting::answer::Refusal;
use crate::topics::Topics;

pub(crate) use command::{
    Asking, Command, Delivery, EndTransaction, NewHalf, NewMember, NewMessage, Operator, Request,
    cost,
};
use inbox::Inbox;
pub(crate) use inbox::{CREDIT, Closed, Room};
use syncer::Syncer;
pub(crate) use worker::FlushPolicy;
use worker::Worker;

/// What helps against a store that has failed: it takes nothing more until it is opened again.
const CURE: &str = "mend the disk, then restart the broker";

/// Why the log thread did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The broker is shutting down; nothing was done.
    #[error("the broker is shutting down")]
    Closed,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] escrow_store::Error),
}

impl LogError {
    /// The answer to a request that met this error.
    pub(crate) fn refusal(&self) -> Refusal {
        let code = match self {
            LogError::Closed => response::SERVICE_NOT_AVAILABLE,
            LogError::Store(error) => match error.kind() {
                ErrorKind::Request => response::MESSAGE_ILLEGAL,
                ErrorKind::Space | ErrorKind::Stop => response::SERVICE_NOT_AVAILABLE,
                ErrorKind::Damaged => response::SYSTEM_ERROR,
            },
        };
        let remark = match self {
            LogError::Closed => self.to_string(),
            LogError::Store(error) if error.kind() == ErrorKind::Stop => {
                format!("service not available now: {error}; {CURE}")
            }
            LogError::Store(error) => format!("service not available now: {error}"),
        };
        Refusal::new(code, remark)
    }
}

/// What the log thread is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) coordinator: Coordinator,
    pub(crate) clock: Clock,
    pub(crate) policy: FlushPolicy,
    pub(crate) topics: Arc<Topics>,
    pub(crate) long_polls: Arc<LongPolls>,
    pub(crate) checks: mpsc::UnboundedSender<CheckRequest>,
    /// To the maintenance thread.
    pub(crate) jobs: Sender<CheckpointJob>,
}

/// Whether the store still takes writes.
#[derive(Debug, Default)]
struct Health {
    failure: Mutex<Option<String>>,
}

impl Health {
    /// The first failure stays: the store takes nothing more until it is opened again.
    fn failed(&self, cause: &str) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            tracing::error!(cause, "nothing more is acknowledged: {CURE}");
            *failure = Some(format!("{cause}; {CURE}"));
        }
    }
}

/// Lets nobody wait for a log thread that has ended, however it did.
struct OnEnd {
    inbox: Arc<Inbox>,
    health: Arc<Health>,
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.failed("the log thread has panicked");
        }
        self.inbox.abandon();
    }
}

/// Everybody's way to the log thread.
#[derive(Clone)]
pub(crate) struct LogHandle {
    inbox: Arc<Inbox>,
    health: Arc<Health>,
}

impl LogHandle {
    /// Starts the log thread. It ends, all durable, after [`LogHandle::close`].
    pub(crate) fn start(parts: Parts) -> std::io::Result<(LogHandle, JoinHandle<()>)> {
        let inbox = Arc::new(Inbox::new());
        let health = Arc::new(Health::default());
        let syncer = Syncer::start(Arc::clone(&inbox))?;
        let worker = Worker::new(parts, Arc::clone(&inbox), Arc::clone(&health), syncer);
        let thread = std::thread::Builder::new().name("escrow-log".to_owned());
        let end = OnEnd {
            inbox: Arc::clone(&inbox),
            health: Arc::clone(&health),
        };
        let thread = thread.spawn(move || {
            let _end = end;
            worker.run();
        })?;
        Ok((LogHandle { inbox, health }, thread))
    }

    /// Why the store takes no more writes; `None` while it does.
    pub(crate) fn failure(&self) -> Option<String> {
        self.health.failure.lock().clone()
    }

    /// Takes no more commands; those that are there are still carried out.
    pub(crate) fn close(&self) {
        self.inbox.close();
    }

    /// What waits for the log thread, in kibibytes.
    pub(crate) fn waiting(&self) -> usize {
        self.inbox.waiting()
    }

    /// Makes a metadata value durable.
    pub(crate) async fn set_meta(&self, key: String, value: Vec<u8>) -> Result<(), LogError> {
        let value = Some(value);
        self.ask(|done| Command::SetMeta { key, value, done }).await
    }

    /// Removes a topic's queues and, in the same step, the META record under `key`.
    pub(crate) async fn delete_topic(&self, topic: String, key: String) -> Result<(), LogError> {
        self.ask(|done| Command::DropTopic { topic, key, done })
            .await
    }

    /// Appends a message that no peer waits for; resolves once it is as durable as `need` says.
    pub(crate) async fn append(
        &self,
        message: NewMessage,
        need: Durability,
    ) -> Result<Placed, LogError> {
        let message = Box::new(message);
        self.ask(|done| Command::Append {
            message,
            need,
            done,
        })
        .await
    }

    /// Delivers due messages, each unless that was done before.
    pub(crate) async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), LogError> {
        let mut commands = Vec::with_capacity(deliveries.len());
        let mut answers = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let (done, answer) = oneshot::channel();
            commands.push(Command::Deliver {
                delivery: Box::new(delivery),
                done,
            });
            answers.push(answer);
        }
        self.hand_over(commands).await?;
        for answer in answers {
            answer.await.unwrap_or(Err(LogError::Closed))?;
        }
        Ok(())
    }

    /// Resolves when everything handed over before has been answered.
    pub(crate) async fn barrier(&self) -> Result<(), LogError> {
        self.ask(|done| Command::Barrier { done }).await
    }

    /// An operator's decision.
    pub(crate) async fn decide(
        &self,
        seq: HalfSeq,
        decision: Decision,
        operator: Operator,
    ) -> Result<Result<Decided, DecideRefused>, LogError> {
        self.ask(|done| Command::Decide {
            seq,
            decision,
            operator,
            done,
        })
        .await
    }

    /// Asks the half's producer now.
    pub(crate) async fn check_now(&self, seq: HalfSeq) -> Result<CheckNow, LogError> {
        self.ask(|done| Command::CheckNow { seq, done }).await
    }

    /// Takes a parked half back into the ordinary check schedule.
    pub(crate) async fn resume(
        &self,
        handle: PhysicalOffset,
        operator: Operator,
    ) -> Result<Result<Resumed, ResumeRefused>, LogError> {
        self.ask(|done| Command::Resume {
            handle,
            operator,
            done,
        })
        .await
    }

    /// One step towards the purge watermark of a producer group; `None` if there must be another.
    pub(crate) async fn watermark(&self, group: String) -> Result<Option<Watermark>, LogError> {
        self.ask(|done| Command::Watermark { group, done }).await
    }

    /// A connection may be asked about halfs of a group. Never waits.
    pub(crate) fn joined(&self, member: NewMember) {
        self.inbox.push_at_once(Command::Joined(member));
    }

    /// A connection no longer speaks for a group. Never waits.
    pub(crate) fn left_group(&self, group: Arc<str>, connection: ConnectionId) {
        self.inbox
            .push_at_once(Command::LeftGroup { group, connection });
    }

    /// A connection has closed. Never waits.
    pub(crate) fn left(&self, connection: ConnectionId) {
        self.inbox.push_at_once(Command::Left(connection));
    }

    /// A check could not be handed to its connection. Never waits.
    pub(crate) fn not_sent(&self, seq: HalfSeq) {
        self.inbox.push_at_once(Command::NotSent(seq));
    }

    /// A checkpoint has been written, or not. Never waits.
    pub(crate) fn checkpointed(&self, done: CheckpointDone) {
        self.inbox.push_at_once(Command::Checkpointed(done));
    }

    /// Runs `look` on the log thread between two batches. It must be quick: everybody waits.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store, &Coordinator, Now) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        self.ask(|done| {
            Command::Look(Box::new(move |store, coordinator, now| {
                // A receiver that went away needs no answer.
                let _ = done.send(Ok(look(store, coordinator, now)));
            }))
        })
        .await
    }

    /// Waits for room for commands of this cost; `credit` is the share of the connection that sent them.
    pub(crate) fn reserve(
        &self,
        cost: u32,
        credit: Option<Arc<Semaphore>>,
    ) -> impl Future<Output = Result<Room, Closed>> + '_ {
        self.inbox.reserve(cost, credit)
    }

    /// Hands commands over for which there is room; they are applied in order.
    pub(crate) fn push(&self, room: Room, commands: Vec<Command>) {
        self.inbox.push(room, commands);
    }

    async fn hand_over(&self, commands: Vec<Command>) -> Result<(), LogError> {
        let cost = commands
            .iter()
            .fold(0, |sum: u32, command| sum.saturating_add(command.cost()));
        let room = self
            .reserve(cost, None)
            .await
            .map_err(|Closed| LogError::Closed)?;
        self.push(room, commands);
        Ok(())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Command,
    ) -> Result<T, LogError> {
        let (done, answer) = oneshot::channel();
        let commands = vec![command(done)];
        self.hand_over(commands).await?;
        answer.await.unwrap_or(Err(LogError::Closed))
    }
}
