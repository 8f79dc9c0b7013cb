//! A guard that is not kept is pointed out.
#![deny(unused_must_use)]

use escrow_client::Message;
use escrow_client::database::{BeginError, BoundProducer};
use sqlx::Sqlite;

async fn misuse(producer: &BoundProducer<Sqlite>, message: Message) -> Result<(), BeginError> {
    producer.begin(message).await?;
    Ok(())
}

fn main() {}
