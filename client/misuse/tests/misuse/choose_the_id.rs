//! Only the producer draws ids.

use escrow_client::Message;
use escrow_client::database::{BoundProducer, TxId};
use sqlx::Sqlite;

async fn misuse(producer: &BoundProducer<Sqlite>, message: Message, id: TxId) {
    let _ = producer.begin(message, id).await;
}

fn main() {}
