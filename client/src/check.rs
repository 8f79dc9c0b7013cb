//! Answering the broker's question "what became of this half message?".

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{CheckTransactionState, EndTransaction};
use escrow_protocol::message;
use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use crate::connection::Connection;
use crate::message::ReceivedMessage;

/// How long an answer may wait for room on the connection; the broker asks again after a lost one.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// One question of the broker.
#[derive(Debug, Clone)]
pub struct Check {
    /// The half message.
    pub message: ReceivedMessage,
    /// The half's transaction id: the unique key that its producer gave it.
    pub transaction_id: String,
    /// How often the broker has asked, this time included, if it says so.
    pub attempt: Option<u32>,
    /// When the half was stored, or earlier, in ms. Where the broker does not tell (Apache renews the store time at
    /// each check), the producer's clock may have to do.
    pub stored_at_ms: i64,
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    resolution: Resolution,
    reason: Option<String>,
}

impl Answer {
    /// Adds why, for the broker's record of this check.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// What was found.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }
}

impl From<Resolution> for Answer {
    fn from(resolution: Resolution) -> Self {
        Self {
            resolution,
            reason: None,
        }
    }
}

/// Finds out what became of the local transaction behind a half message.
///
/// Commit and Rollback are final for the broker: a checker says either only when its database cannot change
/// its mind any more, and [`Resolution::Unknown`] whenever it cannot tell. A panic counts as unknown.
pub trait Checker: Send + Sync + 'static {
    /// Answers one check. Several run at the same time.
    fn check(&self, check: Check) -> impl Future<Output = Answer> + Send;
}

impl<F, Fut, A> Checker for F
where
    F: Fn(Check) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = A> + Send,
    A: Into<Answer>,
{
    async fn check(&self, check: Check) -> Answer {
        self(check).await.into()
    }
}

type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Erased = dyn Fn(Check) -> Pending + Send + Sync;

/// The checker of one group, and room for the checks that it works on: a group whose database is slow must not
/// keep the others from being answered.
#[derive(Clone)]
struct Member {
    checker: Arc<Erased>,
    room: Arc<Semaphore>,
}

/// The checkers of one client, by producer group.
pub(crate) struct Checkers {
    by_group: RwLock<HashMap<String, Member>>,
    at_once_max: usize,
}

impl Checkers {
    pub(crate) fn new(at_once_max: usize) -> Self {
        Self {
            by_group: RwLock::default(),
            at_once_max,
        }
    }

    pub(crate) fn insert(&self, group: &str, checker: impl Checker) {
        let member = self.member(checker);
        self.by_group.write().insert(group.to_owned(), member);
    }

    /// Registers `checker` unless the group has one; answers whether it did.
    pub(crate) fn claim(&self, group: &str, checker: impl Checker) -> bool {
        let member = self.member(checker);
        match self.by_group.write().entry(group.to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(member);
                true
            }
        }
    }

    fn member(&self, checker: impl Checker) -> Member {
        let checker = Arc::new(checker);
        let erased = move |check| -> Pending {
            let checker = Arc::clone(&checker);
            Box::pin(async move { checker.check(check).await })
        };
        Member {
            checker: Arc::new(erased),
            room: Arc::new(Semaphore::new(self.at_once_max)),
        }
    }

    /// The groups whose checks are answered here, in order.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.by_group.read().keys().cloned().collect();
        groups.sort_unstable();
        groups
    }

    pub(crate) fn remove(&self, group: &str) {
        self.by_group.write().remove(group);
    }

    /// Starts answering one check; drops it with a log line where nobody here can.
    pub(crate) fn dispatch(&self, connection: &Connection, question: &Frame) {
        let asked = match Asked::read(question) {
            Ok(asked) => asked,
            Err(reason) => {
                tracing::warn!(broker = connection.address(), %reason, "unreadable check");
                return;
            }
        };
        let Some(member) = self.by_group.read().get(&asked.group).cloned() else {
            tracing::debug!(group = %asked.group, "check for a group that is not ours");
            return;
        };
        // The broker asks again, and a queue of questions would only make every answer late.
        let Ok(permit) = Arc::clone(&member.room).try_acquire_owned() else {
            tracing::debug!(group = %asked.group, "too many checks at once, one dropped");
            return;
        };
        let connection = connection.clone();
        tokio::spawn(async move {
            let answer = tokio::spawn((member.checker)(asked.check.clone()))
                .await
                .unwrap_or_else(|_| Answer::from(Resolution::Unknown).because("checker panicked"));
            let end = asked.answered(&answer);
            if let Err(error) = connection.oneway(end, ANSWER_WITHIN).await {
                tracing::debug!(broker = connection.address(), %error, "answer to a check not sent");
            }
            drop(permit);
        });
    }
}

/// A check with what its answer must repeat.
struct Asked {
    check: Check,
    group: String,
    topic: Option<String>,
    half_queue_offset: i64,
    commit_log_offset: i64,
    broker_name: Option<String>,
}

impl Asked {
    fn read(question: &Frame) -> Result<Self, String> {
        let header = CheckTransactionState::decode(&question.ext).map_err(|e| e.to_string())?;
        let record = message::decode(&question.body).map_err(|e| e.to_string())?;
        let properties = record.properties();
        let group = properties
            .get(name::PGROUP)
            .ok_or("the half names no producer group")?;
        let attempt = properties.get(name::TRANSACTION_CHECK_TIMES);
        let half = ReceivedMessage::from_record(&record)?;
        Ok(Self {
            group: group.to_owned(),
            topic: header.topic.map(str::to_owned),
            half_queue_offset: header.half_queue_offset,
            commit_log_offset: header.commit_log_offset,
            broker_name: header.broker_name.map(str::to_owned),
            check: Check {
                transaction_id: header
                    .transaction_id
                    .unwrap_or_else(|| half.id())
                    .to_owned(),
                attempt: attempt.and_then(|times| times.parse().ok()),
                stored_at_ms: header
                    .stored_at_ms
                    .unwrap_or(half.store_timestamp.min(half.born_timestamp)),
                message: half,
            },
        })
    }

    fn answered(&self, answer: &Answer) -> Frame {
        let mut end = Frame::request(request::END_TRANSACTION);
        EndTransaction {
            topic: self.topic.as_deref(),
            producer_group: &self.group,
            half_queue_offset: self.half_queue_offset,
            commit_log_offset: self.commit_log_offset,
            commit_or_rollback: answer.resolution.to_wire(),
            from_check: true,
            message_id: self.check.message.id(),
            transaction_id: Some(&self.check.transaction_id),
            broker_name: self.broker_name.as_deref(),
        }
        .encode(&mut end.ext);
        end.remark = answer.reason.clone();
        end
    }
}
