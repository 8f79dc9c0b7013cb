//! `escrow topic`: list, create and delete topics, by the requests that every RocketMQ broker knows.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use escrow_client::{Client, Settings};

use crate::table::{Align, Table};

#[derive(Args, Debug)]
pub(crate) struct TopicArgs {
    /// Name server
    #[arg(
        long,
        global = true,
        env = "ESCROW_NAMESRV_ADDR",
        default_value = "127.0.0.1:9876",
        value_name = "ADDR"
    )]
    namesrv_addr: String,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Subcommand, Debug)]
enum TopicCommand {
    /// List the topics, with their queues and messages
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a topic, or change its number of queues
    Create {
        topic: String,
        /// Queues to write and to read
        #[arg(long, default_value_t = 8)]
        queues: i32,
    },
    /// Delete a topic and all its messages
    Delete { topic: String },
}

pub(crate) async fn run(args: TopicArgs) -> anyhow::Result<()> {
    let client = Client::start(Settings::new(&args.namesrv_addr)).await?;
    match args.command {
        TopicCommand::List { json } => list(&client, json).await?,
        TopicCommand::Create { topic, queues } => {
            client
                .create_topic(&topic, queues)
                .await
                .with_context(|| format!("cannot create {topic}"))?;
            println!("{topic}: {queues} queues");
        }
        TopicCommand::Delete { topic } => {
            client
                .delete_topic(&topic)
                .await
                .with_context(|| format!("cannot delete {topic}"))?;
            println!("{topic}: deleted");
        }
    }
    client.close().await;
    Ok(())
}

async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let mut topics = client.topics().await.context("cannot list topics")?;
    topics.sort();
    let mut table = Table::new(&[
        ("TOPIC", Align::Left),
        ("QUEUES", Align::Right),
        ("MESSAGES", Align::Right),
    ]);
    let mut rows = Vec::new();
    for topic in topics {
        // It may have been deleted since, or be one that only the system reads.
        let Ok((queues, messages)) = extent(client, &topic).await else {
            table.row([topic.clone(), "-".to_owned(), "-".to_owned()]);
            rows.push(serde_json::json!({"topic": topic}));
            continue;
        };
        table.row([topic.clone(), queues.to_string(), messages.to_string()]);
        rows.push(serde_json::json!({"topic": topic, "queues": queues, "messages": messages}));
    }
    if json {
        println!("{}", serde_json::Value::from(rows));
    } else {
        print!("{}", table.render());
    }
    Ok(())
}

/// Queues of a topic, and messages that consumers can still read.
async fn extent(client: &Client, topic: &str) -> escrow_client::Result<(usize, i64)> {
    let route = client.route(topic).await?;
    let mut messages = 0;
    for queue in route.readable() {
        messages += client.max_offset(queue).await? - client.min_offset(queue).await?;
    }
    Ok((route.readable().len(), messages))
}
