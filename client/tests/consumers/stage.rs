//! A broker in a temporary folder, clients that know it, and an inbox for what they are handed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use escrow_broker::Broker;
use escrow_broker::config::{DelayLevels, Settings as BrokerSettings};
use escrow_client::{
    Client, Message, MessageQueue, Outcome, Producer, PushConsumer, PushSettings, ReceivedMessage,
    Settings,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here takes as long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for what must not come.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    folder: tempfile::TempDir,
}

/// Delay levels are a tenth of a second each.
fn broker_settings(folder: &Path) -> BrokerSettings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = BrokerSettings::default();
    settings.data_dir = folder.to_owned();
    settings.namesrv_addr = free;
    settings.broker_addr = free;
    settings.admin_addr = free;
    settings.message_delay_level = DelayLevels(vec![Duration::from_millis(100); 18]);
    settings
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = broker_settings(folder.path());
        Self {
            broker: Broker::start(settings).await.unwrap(),
            folder,
        }
    }

    /// Stops the broker and starts it again where it was.
    pub(crate) async fn restart(self) -> Self {
        let before = self.broker.addresses();
        let mut settings = broker_settings(self.folder.path());
        settings.namesrv_addr = before.namesrv;
        settings.broker_addr = before.broker;
        self.broker.shutdown().await;
        Self {
            broker: Broker::start(settings).await.unwrap(),
            folder: self.folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let names = self.broker.addresses().namesrv.to_string();
        Client::start(Settings::new(&names)).await.unwrap()
    }

    /// A client and a topic with so many queues.
    pub(crate) async fn with_topic(&self, topic: &str, queues: i32) -> Client {
        let client = self.client().await;
        client.create_topic(topic, queues).await.unwrap();
        client
    }
}

/// Defaults, but offsets stored often.
pub(crate) fn settings() -> PushSettings {
    PushSettings {
        persist_interval: Duration::from_millis(100),
        suspend: Duration::from_millis(50),
        ..PushSettings::default()
    }
}

pub(crate) fn queue(topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: "broker-a".to_owned(),
        queue_id,
        topic: topic.to_owned(),
    }
}

/// Sends `from..to` as texts, each to the queue of its remainder.
pub(crate) async fn send(client: &Client, topic: &str, queues: i32, numbers: std::ops::Range<i32>) {
    let producer = Producer::new(client, "sender");
    for number in numbers {
        let message = Message::new(topic, number.to_string());
        let queue = queue(topic, number % queues);
        producer.send_to(&message, &queue).await.unwrap();
    }
}

/// Waits until a consumer has so many queues of the topic.
pub(crate) async fn until_assigned(consumer: &PushConsumer, topic: &str, count: usize) {
    let mut assignment = consumer.assignment();
    let enough = |queues: &Vec<MessageQueue>| {
        queues.iter().filter(|queue| queue.topic == topic).count() == count
    };
    timeout(PATIENCE, assignment.wait_for(enough))
        .await
        .unwrap_or_else(|_| panic!("never had {count} queues"))
        .unwrap();
}

pub(crate) fn body(message: &ReceivedMessage) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

/// What handlers put down.
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Arc<ReceivedMessage>>,
    messages: mpsc::UnboundedReceiver<Arc<ReceivedMessage>>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        Self { sender, messages }
    }

    /// A handler that puts every message into this inbox, and answers what `outcome` says.
    pub(crate) fn taking<F>(
        &self,
        outcome: F,
    ) -> impl Fn(Arc<ReceivedMessage>) -> std::future::Ready<Outcome> + Send + Sync + 'static
    where
        F: Fn(&ReceivedMessage) -> Outcome + Send + Sync + 'static,
    {
        let sender = self.sender.clone();
        move |message| {
            let answer = outcome(&message);
            let _ = sender.send(message);
            std::future::ready(answer)
        }
    }

    /// A handler that is content with everything.
    pub(crate) fn everything(
        &self,
    ) -> impl Fn(Arc<ReceivedMessage>) -> std::future::Ready<Outcome> + Send + Sync + 'static {
        self.taking(|_| Outcome::Consumed)
    }

    pub(crate) fn sender(&self) -> mpsc::UnboundedSender<Arc<ReceivedMessage>> {
        self.sender.clone()
    }

    pub(crate) async fn next(&mut self) -> Arc<ReceivedMessage> {
        timeout(PATIENCE, self.messages.recv())
            .await
            .expect("a message comes")
            .unwrap()
    }

    pub(crate) async fn bodies(&mut self, count: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            bodies.push(body(&*self.next().await));
        }
        bodies
    }

    pub(crate) async fn sorted(&mut self, count: usize) -> Vec<String> {
        let mut bodies = self.bodies(count).await;
        bodies.sort_by_key(|body| body.parse::<i32>().unwrap_or(-1));
        bodies
    }

    pub(crate) async fn stays_empty(&mut self) {
        let more = timeout(A_WHILE, self.messages.recv()).await;
        assert!(more.is_err(), "came too: {more:?}");
    }
}

pub(crate) fn numbers(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
