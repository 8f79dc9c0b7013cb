//! Reads markers page by page, for whoever compares them with what a broker decided.

use futures_core::future::BoxFuture;
use sqlx::{Database, Pool};

use super::marker::MarkerDb;

/// Markers in a page at most.
pub const PAGE: u32 = 1000;

/// A row of the marker table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The transaction's id.
    pub tx_id: String,
    /// Whether the transaction committed; else it was ruled out.
    pub committed: bool,
    /// When the row was inserted, by the database's clock, in milliseconds since 1970.
    pub born_at_ms: i64,
}

/// Which markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<'a> {
    /// Born at this time or later, in milliseconds since 1970.
    pub from_ms: i64,
    /// Born before.
    pub before_ms: i64,
    /// With a larger id: the last of the page before, or nothing.
    pub after: &'a str,
}

pub(super) async fn markers<DB: MarkerDb>(
    pool: &Pool<DB>,
    range: &Range<'_>,
) -> Result<Vec<Marker>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    DB::marker_page(&mut connection, *range).await
}

pub(super) async fn find<DB: MarkerDb>(
    pool: &Pool<DB>,
    ids: &[String],
) -> Result<Vec<Marker>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut found = Vec::new();
    for id in ids {
        found.extend(DB::marker_of(&mut connection, id).await?);
    }
    Ok(found)
}

pub(super) async fn now_ms<DB: MarkerDb>(pool: &Pool<DB>) -> Result<i64, sqlx::Error> {
    DB::now_ms(&mut *pool.acquire().await?).await
}

pub(super) async fn horizon_ms<DB: MarkerDb>(pool: &Pool<DB>) -> Result<i64, sqlx::Error> {
    DB::horizon_ms(&mut *pool.acquire().await?).await
}

/// The SQL of one engine.
pub trait ListingSql: Database {
    /// A page of markers in the order of their ids.
    fn marker_page<'c>(
        connection: &'c mut Self::Connection,
        range: Range<'c>,
    ) -> BoxFuture<'c, Result<Vec<Marker>, sqlx::Error>>;

    /// The row of one id.
    fn marker_of<'c>(
        connection: &'c mut Self::Connection,
        id: &'c str,
    ) -> BoxFuture<'c, Result<Option<Marker>, sqlx::Error>>;
}

type Row = (String, i64, i64);

fn marker((tx_id, state, born_at_ms): Row) -> Marker {
    Marker {
        tx_id,
        committed: state == 1,
        born_at_ms,
    }
}

/// The statements differ, what is done with them does not.
macro_rules! listing_sql {
    ($engine:ty, $connection:ty, { page: $page:literal, one: $one:literal, }) => {
        impl ListingSql for $engine {
            fn marker_page<'c>(
                connection: &'c mut $connection,
                range: Range<'c>,
            ) -> BoxFuture<'c, Result<Vec<Marker>, sqlx::Error>> {
                Box::pin(async move {
                    let page = sqlx::query_as::<_, Row>($page)
                        .bind(range.from_ms)
                        .bind(range.before_ms)
                        .bind(range.after)
                        .bind(i64::from(PAGE));
                    let rows = page.fetch_all(connection).await?;
                    Ok(rows.into_iter().map(marker).collect())
                })
            }

            fn marker_of<'c>(
                connection: &'c mut $connection,
                id: &'c str,
            ) -> BoxFuture<'c, Result<Option<Marker>, sqlx::Error>> {
                Box::pin(async move {
                    let row = sqlx::query_as::<_, Row>($one).bind(id);
                    Ok(row.fetch_optional(connection).await?.map(marker))
                })
            }
        }
    };
}

#[cfg(feature = "postgres")]
listing_sql!(sqlx::Postgres, sqlx::PgConnection, {
    page: "SELECT tx_id, state::bigint, (extract(epoch FROM born_at) * 1000)::bigint FROM escrow_marker \
        WHERE born_at >= to_timestamp($1::bigint / 1000.0) AND born_at < to_timestamp($2::bigint / 1000.0) \
        AND tx_id > $3 ORDER BY tx_id LIMIT $4",
    one: "SELECT tx_id, state::bigint, (extract(epoch FROM born_at) * 1000)::bigint FROM escrow_marker \
        WHERE tx_id = $1",
});

// FROM_UNIXTIME and UNIX_TIMESTAMP are in the session's time zone, as is what they are compared with.
#[cfg(feature = "mysql")]
listing_sql!(sqlx::MySql, sqlx::MySqlConnection, {
    page: "SELECT CAST(tx_id AS CHAR), CAST(state AS SIGNED), CAST(UNIX_TIMESTAMP(born_at) * 1000 AS SIGNED) \
        FROM escrow_marker WHERE born_at >= FROM_UNIXTIME(? / 1000) AND born_at < FROM_UNIXTIME(? / 1000) \
        AND tx_id > ? ORDER BY escrow_marker.tx_id LIMIT ?",
    one: "SELECT CAST(tx_id AS CHAR), CAST(state AS SIGNED), CAST(UNIX_TIMESTAMP(born_at) * 1000 AS SIGNED) \
        FROM escrow_marker WHERE tx_id = ?",
});

#[cfg(feature = "sqlite")]
listing_sql!(sqlx::Sqlite, sqlx::SqliteConnection, {
    page: "SELECT tx_id, state, born_at FROM escrow_marker \
        WHERE born_at >= ?1 AND born_at < ?2 AND tx_id > ?3 ORDER BY tx_id LIMIT ?4",
    one: "SELECT tx_id, state, born_at FROM escrow_marker WHERE tx_id = ?1",
});
