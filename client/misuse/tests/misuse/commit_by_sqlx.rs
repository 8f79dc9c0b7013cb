//! The work gets the connection, not the transaction: it cannot commit without the fence.

use escrow_client::Message;
use escrow_client::database::BoundProducer;
use sqlx::{Sqlite, SqliteConnection};

async fn misuse(producer: &BoundProducer<Sqlite>, message: Message) {
    let work = async |connection: &mut SqliteConnection| {
        connection.commit().await?;
        Ok::<(), sqlx::Error>(())
    };
    let _ = producer.run(message, work).await;
}

fn main() {}
