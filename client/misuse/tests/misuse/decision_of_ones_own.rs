//! Nobody but the guard tells the broker what became of its halfs.

use escrow_client::Resolution;
use escrow_client::database::BoundTx;
use sqlx::Sqlite;

async fn misuse(tx: BoundTx<Sqlite>) {
    let _ = tx.end(Resolution::Commit).await;
}

fn main() {}
