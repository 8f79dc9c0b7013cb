//! Nor by parts, with an id of one's own choice.

use escrow_client::database::BoundTx;
use sqlx::Sqlite;

fn misuse() -> BoundTx<Sqlite> {
    BoundTx { open: None }
}

fn main() {}
