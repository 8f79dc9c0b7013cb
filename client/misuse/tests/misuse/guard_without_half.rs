//! A guard is no transaction of one's own: there would be no half.

use escrow_client::database::BoundTx;
use sqlx::{Sqlite, SqlitePool};

async fn misuse(pool: &SqlitePool) {
    let _tx: BoundTx<Sqlite> = pool.begin().await.unwrap();
}

fn main() {}
