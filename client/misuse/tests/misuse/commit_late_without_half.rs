//! A late transaction cannot be committed before its messages are prepared.

use escrow_client::database::LateTx;
use sqlx::Sqlite;

async fn misuse(tx: LateTx<Sqlite>) {
    let _ = tx.commit().await;
}

fn main() {}
