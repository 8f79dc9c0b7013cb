//! A transaction begins on the producer's pool: there is no other to name.

use escrow_client::Message;
use escrow_client::database::BoundProducer;
use sqlx::{Sqlite, SqlitePool};

async fn misuse(producer: &BoundProducer<Sqlite>, message: Message, pool: &SqlitePool) {
    let _ = producer.begin(message, pool).await;
}

fn main() {}
