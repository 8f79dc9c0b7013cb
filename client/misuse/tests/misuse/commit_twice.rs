//! A guard is used up by its end.

use escrow_client::database::BoundTx;
use sqlx::Sqlite;

async fn misuse(tx: BoundTx<Sqlite>) {
    let _ = tx.commit().await;
    tx.rollback().await;
}

fn main() {}
