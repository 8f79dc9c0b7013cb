//! An order service: `POST /orders` stores an order in PostgreSQL and announces it on the topic `Orders`, both or neither.
//!
//! Settings come from the environment: `NAMESRV` (host:port), `DATABASE` (a PostgreSQL URL), `PORT` (0 picks one).

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use escrow_client::database::{BoundProducer, BoundSettings, RunError};
use escrow_client::{Client, Message, Settings};
use escrow_examples::{Order, TOPIC, log_to_stderr, setting, told_to_stop};
use sqlx::postgres::{PgPoolOptions, Postgres};
use tokio::net::TcpListener;

const GROUP: &str = "order-service";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    log_to_stderr();
    let database = PgPoolOptions::new()
        .max_connections(8)
        .connect(&setting("DATABASE")?)
        .await?;
    let client = Client::start(Settings::new(&setting("NAMESRV")?)).await?;
    let producer =
        BoundProducer::start(&client, GROUP, &database, BoundSettings::default()).await?;

    let port = std::env::var("PORT").unwrap_or_default();
    let listener = TcpListener::bind(format!("127.0.0.1:{port:0>1}")).await?;
    println!("order-service ready http={}", listener.local_addr()?);
    let service = Router::new()
        .route("/orders", post(place))
        .with_state(producer.clone());
    axum::serve(listener, service)
        .with_graceful_shutdown(told_to_stop())
        .await?;
    producer.close().await;
    client.close().await;
    Ok(())
}

/// Places an order. The message goes out if, and only if, the order is in the database.
async fn place(
    State(producer): State<BoundProducer<Postgres>>,
    Json(order): Json<Order>,
) -> (StatusCode, String) {
    let message = match announcement(&order) {
        Ok(message) => message,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let placed = producer
        .run(message, async |connection| {
            sqlx::query("INSERT INTO orders (id, item, quantity) VALUES ($1, $2, $3)")
                .bind(&order.id)
                .bind(&order.item)
                .bind(order.quantity)
                .execute(connection)
                .await
        })
        .await;
    match placed {
        Ok(_) => (StatusCode::CREATED, order.id),
        // The database itself refused the order; nothing of it is left, and no message.
        Err(RunError::App(error)) => (StatusCode::CONFLICT, error.to_string()),
        Err(error) if error.in_doubt() => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not known to be placed; ask for it later: {error}"),
        ),
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not placed: {error}"),
        ),
    }
}

fn announcement(order: &Order) -> anyhow::Result<Message> {
    Ok(Message::new(TOPIC, serde_json::to_vec(order)?).keys(&order.id)?)
}
