//! Which queues are this member's: looked up again and again, and work on them started and ended accordingly.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use escrow_protocol::body::{self, ConsumerList, MessageQueue};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use escrow_protocol::header::GetConsumerList;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::allocation;
use super::concurrent;
use super::member::{Held, Member, Stop};
use super::orderly;
use super::pull::RETRY_PAUSE;
use super::subscription::Subscription;
use crate::client::unreadable;
use crate::error::{Error, Result};
use crate::route::Route;

/// Who gets the queues of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Each member some.
    Averagely,
    /// Each member all.
    Everything,
}

/// How the messages of a queue are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Concurrent,
    Orderly,
}

/// The task behind a push consumer.
pub(super) struct Rebalance {
    member: Arc<Member>,
    share: Share,
    work: Work,
    topics: Vec<Topic>,
    workers: HashMap<MessageQueue, Worker>,
    tasks: JoinSet<()>,
    /// Addresses of brokers that know this member.
    met: HashSet<String>,
    assignment: watch::Sender<Vec<MessageQueue>>,
}

struct Topic {
    subscription: Arc<Subscription>,
    /// The queues of the first look.
    at_first: Option<HashSet<MessageQueue>>,
    /// The queues that are ours as of the last look.
    ours: Vec<MessageQueue>,
}

struct Worker {
    stop: watch::Sender<Stop>,
    task: AbortHandle,
}

impl Rebalance {
    pub(super) fn new(
        member: Arc<Member>,
        share: Share,
        work: Work,
        subscriptions: Vec<Subscription>,
        assignment: watch::Sender<Vec<MessageQueue>>,
    ) -> Self {
        let topic = |subscription| Topic {
            subscription: Arc::new(subscription),
            at_first: None,
            ours: Vec::new(),
        };
        Self {
            member,
            share,
            work,
            topics: subscriptions.into_iter().map(topic).collect(),
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            met: HashSet::new(),
            assignment,
        }
    }

    /// Works until told to close; then ends the work on all queues and leaves the group.
    pub(super) async fn run(mut self, changed: Arc<Notify>, mut close: watch::Receiver<bool>) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                () = changed.notified() => {}
                Some(_) = self.tasks.join_next() => {
                    // A queue that was given up may have become ours again meanwhile.
                    self.apply();
                    continue;
                }
                _ = close.wait_for(|close| *close) => break,
            }
            let complete = tokio::select! {
                complete = self.look() => complete,
                _ = close.wait_for(|close| *close) => break,
            };
            self.apply();
            let pause = if complete {
                self.member.settings.rebalance_interval
            } else {
                RETRY_PAUSE
            };
            due = Instant::now() + pause;
        }
        for worker in self.workers.values() {
            worker.stop.send_replace(Stop::Closing);
        }
        while self.tasks.join_next().await.is_some() {}
        self.assignment.send_replace(Vec::new());
        self.member.client.leave(&self.member.group, true).await;
    }

    /// Finds out which queues are ours; false if that is not known of every topic.
    async fn look(&mut self) -> bool {
        let mut complete = true;
        for index in 0..self.topics.len() {
            if let Err(error) = self.look_at(index).await {
                let topic = self.topics[index].subscription.topic();
                tracing::debug!(topic, %error, "queues stay as they are");
                complete = false;
            }
        }
        complete
    }

    async fn look_at(&mut self, index: usize) -> Result<()> {
        let name = self.topics[index].subscription.topic().to_owned();
        let route = self.member.client.route(&name).await;
        let topic = &mut self.topics[index];
        match &route {
            Ok(route) => {
                let queues = || route.readable().iter().cloned().collect();
                topic.at_first.get_or_insert_with(queues);
            }
            Err(Error::NoRoute { .. }) => {
                topic.at_first.get_or_insert_default();
            }
            Err(_) => {}
        }
        let route = route?;
        self.meet(&route).await?;
        self.topics[index].ours = match self.share {
            Share::Everything => route.readable().to_vec(),
            Share::Averagely => {
                let members = self.members(&route).await?;
                let me = self.member.client.id();
                if !members.iter().any(|member| member == me) {
                    // A broker that has forgotten us is told again.
                    self.met.clear();
                }
                allocation::averagely(me, &members, route.readable()).to_vec()
            }
        };
        Ok(())
    }

    /// Makes this member known to brokers, so that the list of members has it.
    async fn meet(&mut self, route: &Route) -> Result<()> {
        let client = &self.member.client;
        for (_, address) in route.brokers() {
            if !self.met.contains(address) {
                client.introduce(&client.broker(address)).await?;
                self.met.insert(address.to_owned());
            }
        }
        Ok(())
    }

    /// The members of the group, in the order in which they share; any broker of the topic knows.
    async fn members(&self, route: &Route) -> Result<Vec<String>> {
        let client = &self.member.client;
        let mut failure = Error::Settings("a topic without brokers");
        for (_, address) in route.brokers() {
            let broker = client.broker(address);
            let mut frame = Frame::request(request::GET_CONSUMER_LIST_BY_GROUP);
            GetConsumerList {
                consumer_group: &self.member.group,
            }
            .encode(&mut frame.ext);
            match client.call(&broker, frame).await {
                Ok(reply) => {
                    let list: ConsumerList =
                        body::decode(&reply.body).map_err(|error| unreadable(&broker, error))?;
                    let mut members = list.consumer_id_list;
                    members.sort();
                    return Ok(members);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Starts work on queues that became ours, and ends it on those that are no longer.
    fn apply(&mut self) {
        self.workers.retain(|_, worker| !worker.task.is_finished());
        let ours: HashSet<&MessageQueue> = self.topics.iter().flat_map(|t| &t.ours).collect();
        for (queue, worker) in &self.workers {
            if !ours.contains(queue) {
                worker.stop.send_replace(Stop::Revoked);
            }
        }
        for topic in &self.topics {
            for queue in &topic.ours {
                if self.workers.contains_key(queue) {
                    continue;
                }
                let at_first = topic.at_first.as_ref();
                let held = Held {
                    queue: queue.clone(),
                    subscription: Arc::clone(&topic.subscription),
                    is_new: at_first.is_some_and(|queues| !queues.contains(queue)),
                };
                let worker = start(&mut self.tasks, Arc::clone(&self.member), self.work, held);
                self.workers.insert(queue.clone(), worker);
            }
        }
        let mut now: Vec<MessageQueue> = ours.into_iter().cloned().collect();
        now.sort();
        self.assignment.send_if_modified(|known| {
            *known != now && {
                *known = now;
                true
            }
        });
    }
}

fn start(tasks: &mut JoinSet<()>, member: Arc<Member>, work: Work, held: Held) -> Worker {
    let (stop, stopped) = watch::channel(Stop::No);
    let task = match work {
        Work::Concurrent => tasks.spawn(concurrent::work(member, held, stopped)),
        Work::Orderly => tasks.spawn(orderly::work(member, held, stopped)),
    };
    Worker { stop, task }
}
