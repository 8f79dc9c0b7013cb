//! The connection does not leave the work.

use escrow_client::Message;
use escrow_client::database::BoundProducer;
use sqlx::{Sqlite, SqliteConnection};

async fn misuse(producer: &BoundProducer<Sqlite>, message: Message) {
    let mut kept: Option<&mut SqliteConnection> = None;
    let work = async |connection: &mut SqliteConnection| {
        kept = Some(connection);
        Ok::<(), sqlx::Error>(())
    };
    let _ = producer.run(message, work).await;
    drop(kept);
}

fn main() {}
