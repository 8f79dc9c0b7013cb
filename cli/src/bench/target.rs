//! The broker under load and the topic on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use escrow_client::{Client, MessageQueue, Settings};

use super::TargetArgs;

/// What a run is aimed at.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) broker_name: String,
    pub(super) queues: Vec<MessageQueue>,
}

impl Target {
    pub(super) async fn find(args: &TargetArgs) -> anyhow::Result<Self> {
        let client = Client::start(Settings::new(&args.namesrv)).await?;
        if client.route(&args.topic).await.is_err() {
            client
                .create_topic(&args.topic, args.queues)
                .await
                .with_context(|| format!("cannot create topic {}", args.topic))?;
        }
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

    /// The sum of the visible ends of all queues.
    pub(super) async fn visible(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for queue in &self.queues {
            sum += u64::try_from(self.client.max_offset(queue).await?)?;
        }
        Ok(sum)
    }
}

/// A topic just created reaches the name server a moment later.
async fn wait_for_route(
    client: &Client,
    topic: &str,
) -> anyhow::Result<Arc<escrow_client::route::Route>> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match client.route(topic).await {
            Ok(route) => return Ok(route),
            Err(error) if Instant::now() > until => {
                return Err(error).context("the topic was created but has no route");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
