//! The broker under load and the topic on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use escrow_client::{Client, Error, MessageQueue, Settings};

use tokio::task::JoinSet;

use super::{REPLIES_WITHIN, TargetArgs};

/// How long a broker and its topic may take to be known.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);

/// What a run is aimed at.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) broker_name: String,
    pub(super) queues: Vec<MessageQueue>,
}

impl Target {
    pub(super) async fn find(args: &TargetArgs) -> anyhow::Result<Self> {
        // A broker under load answers late, and that is what we are here to see.
        let settings = Settings {
            request_timeout: Duration::from_secs(args.settle).max(REPLIES_WITHIN),
            ..Settings::new(&args.namesrv)
        };
        let client = Client::start(settings).await?;
        create(&client, &args.topic, args.queues)
            .await
            .with_context(|| format!("cannot create topic {}", args.topic))?;
        let route = wait_for_route(&client, &args.topic).await?;
        let Some((name, address)) = route.brokers().next() else {
            bail!("no broker has topic {}", args.topic);
        };
        let broker_name = name.to_owned();
        let queues: Vec<MessageQueue> = route
            .writable()
            .iter()
            .filter(|queue| queue.broker_name == broker_name)
            .cloned()
            .collect();
        ensure!(
            !queues.is_empty(),
            "topic {} has no queue to write to",
            args.topic
        );
        let address = args.broker.clone().unwrap_or_else(|| address.to_owned());
        Ok(Self {
            client,
            address,
            broker_name,
            queues,
        })
    }

    pub(super) fn queue_ids(&self) -> Arc<[u32]> {
        let ids = self
            .queues
            .iter()
            .map(|queue| queue.queue_id.unsigned_abs());
        ids.collect()
    }

    /// The sum of the visible ends of all queues, asked for at the same time.
    pub(super) async fn visible(&self) -> anyhow::Result<u64> {
        let mut asked = JoinSet::new();
        for queue in &self.queues {
            let (client, queue) = (self.client.clone(), queue.clone());
            asked.spawn(async move { client.max_offset(&queue).await });
        }
        let mut sum = 0;
        while let Some(end) = asked.join_next().await {
            sum += u64::try_from(end??)?;
        }
        Ok(sum)
    }
}

/// Creates the topic unless it is there. A broker that has just started is not yet known to its name server.
async fn create(client: &Client, topic: &str, queues: i32) -> escrow_client::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        if client.route(topic).await.is_ok() {
            return Ok(());
        }
        match client.create_topic(topic, queues).await {
            Err(Error::NoRoute { .. } | Error::Connect { .. }) if Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// A topic just created reaches the name server a moment later.
async fn wait_for_route(
    client: &Client,
    topic: &str,
) -> anyhow::Result<Arc<escrow_client::route::Route>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.route(topic).await {
            Ok(route) => return Ok(route),
            Err(error) if Instant::now() > until => {
                return Err(error).context("the topic was created but has no route");
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
