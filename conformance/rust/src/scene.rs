//! The stage of one scenario: names nobody else uses, clients that end with it, bounded waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use escrow_client::{
    Client, Message, MessageQueue, Outcome, Producer, PullConsumer, PullSettings, PushConsumer,
    PushSettings, SendReceipt, Settings, Subscription,
};

use crate::inbox::Inbox;
use crate::report::Report;

pub(crate) struct Scene {
    namesrv: String,
    prefix: String,
    pub(crate) report: Arc<Report>,
}

impl Scene {
    pub(crate) fn new(namesrv: &str, run: &str, scenario: &str, report: Arc<Report>) -> Self {
        Self {
            namesrv: namesrv.to_owned(),
            prefix: format!("{run}_{scenario}_"),
            report,
        }
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let mut settings = Settings::new(&self.namesrv);
        settings.request_timeout = Duration::from_secs(10);
        settings.route_interval = Duration::from_secs(1);
        Ok(Client::start(settings).await?)
    }

    pub(crate) async fn producer(&self) -> anyhow::Result<Producer> {
        Ok(Producer::new(&self.client().await?, self.name("p")))
    }

    /// Creates a topic and waits for its route.
    pub(crate) async fn topic(&self, what: &str, queues: usize) -> anyhow::Result<String> {
        let topic = self.name(what);
        let client = self.client().await?;
        client.create_topic(&topic, i32::try_from(queues)?).await?;
        let start = Instant::now();
        loop {
            let route = client.route(&topic).await;
            if route.is_ok_and(|route| route.writable().len() == queues) {
                return Ok(topic);
            }
            ensure!(start.elapsed().as_secs() < 10, "no route for {topic}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A consumer that puts everything of a topic into the inbox, with a client of its own.
    pub(crate) async fn consumer(
        &self,
        group: &str,
        subscription: Subscription,
        inbox: &Inbox,
    ) -> anyhow::Result<PushConsumer> {
        let client = self.client().await?;
        let handler = inbox.handler(|_| Outcome::Consumed);
        Ok(PushConsumer::concurrent(
            &client,
            group,
            [subscription],
            settings(),
            handler,
        )?)
    }

    /// Everything of a topic, from the beginning, for a group of its own.
    pub(crate) async fn pull(&self, what: &str, topic: &str) -> anyhow::Result<PullConsumer> {
        let client = self.client().await?;
        let all = Subscription::all(topic);
        Ok(PullConsumer::subscribe(
            &client,
            self.name(what),
            all,
            PullSettings::default(),
        )?)
    }
}

/// The Java scenarios' settings: two handlers, offsets stored every second.
pub(crate) fn settings() -> PushSettings {
    PushSettings {
        parallel_max: 2,
        persist_interval: Duration::from_secs(1),
        ..PushSettings::default()
    }
}

pub(crate) fn queue(topic: &str, queue_id: usize) -> MessageQueue {
    MessageQueue {
        broker_name: "broker-a".to_owned(),
        queue_id: i32::try_from(queue_id).unwrap_or(-1),
        topic: topic.to_owned(),
    }
}

/// Sends a text to a queue.
pub(crate) async fn send_to(
    producer: &Producer,
    topic: &str,
    queue_id: usize,
    body: String,
) -> anyhow::Result<SendReceipt> {
    let message = Message::new(topic, body);
    Ok(producer.send_to(&message, &queue(topic, queue_id)).await?)
}

/// How many queues of a topic a consumer has.
pub(crate) fn held(consumer: &PushConsumer, topic: &str) -> usize {
    let assignment = consumer.assignment();
    let queues = assignment.borrow();
    queues.iter().filter(|queue| queue.topic == topic).count()
}

pub(crate) async fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Takes batches of a pull consumer until so many messages are there, for at most 30 s.
pub(crate) async fn take(consumer: &mut PullConsumer, count: usize) -> anyhow::Result<Vec<String>> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let Ok(batch) = tokio::time::timeout(seconds(30), consumer.next()).await else {
            break;
        };
        bodies.extend(batch?.messages().iter().map(crate::inbox::body));
    }
    Ok(bodies)
}
