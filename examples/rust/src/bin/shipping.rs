//! A shipping service: ships each order that is announced on the topic `Orders`, once, however often it is delivered.
//!
//! Settings come from the environment: `NAMESRV` (host:port), `DATABASE` (a PostgreSQL URL).

use std::sync::Arc;

use escrow_client::consumer::{Outcome, PushConsumer, PushSettings, Subscription};
use escrow_client::database::inbox::{Inbox, OnceError};
use escrow_client::{Client, ReceivedMessage, Settings};
use escrow_examples::{Order, TOPIC, log_to_stderr, setting, told_to_stop};
use sqlx::postgres::{PgPoolOptions, Postgres};

const GROUP: &str = "shipping";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log_to_stderr();
    let database = PgPoolOptions::new()
        .max_connections(8)
        .connect(&setting("DATABASE")?)
        .await?;
    let client = Client::start(Settings::new(&setting("NAMESRV")?)).await?;
    let inbox = Arc::new(Inbox::new(database, GROUP)?);
    let orders = PushConsumer::concurrent(
        &client,
        GROUP,
        [Subscription::all(TOPIC)],
        PushSettings::default(),
        move |message: Arc<ReceivedMessage>| {
            let inbox = Arc::clone(&inbox);
            async move { ship(&inbox, &message).await }
        },
    )?;
    println!("shipping ready");
    told_to_stop().await;
    orders.close().await;
    client.close().await;
    Ok(())
}

/// Ships one order. The shipment and the note that this message is done are one transaction.
async fn ship(inbox: &Inbox<Postgres>, message: &ReceivedMessage) -> Outcome {
    let order: Order = match serde_json::from_slice(&message.body) {
        Ok(order) => order,
        Err(error) => {
            // It would fail each time: after some attempts it ends among the group's dead letters.
            tracing::error!(id = message.id(), %error, "not an order");
            return Outcome::RetryLater;
        }
    };
    let shipped = inbox
        .once(message, async |connection| {
            sqlx::query("INSERT INTO shipments (order_id) VALUES ($1)")
                .bind(&order.id)
                .execute(connection)
                .await
        })
        .await;
    match shipped {
        Ok(_) => Outcome::Consumed,
        Err(OnceError::InFlight(_)) => Outcome::RetryLater,
        Err(error) => {
            tracing::warn!(order = order.id, %error, "not shipped yet");
            Outcome::RetryLater
        }
    }
}
