//! Deletes old markers.
//!
//! A marker that is deleted while its half can still be asked about would turn a commit into a rollback. So the
//! meta row says first up to which time markers may be gone (the horizon), and a check about a half that is older
//! rules nothing out any more.

use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::{Database, Pool};

use super::decide::PURGE_MARGIN;
use super::marker::MarkerDb;

/// How long markers are kept at least unless one says otherwise: 7 days, more than any broker keeps a half.
pub const KEEP_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Rows a statement deletes, so that none holds its locks for long.
const BATCH: u32 = 5_000;

/// A check that read the horizon before it rose has ended by then: its statements have tighter limits.
const CHECKS_END_WITHIN: Duration = Duration::from_secs(3);

/// Which markers may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Those of decided halfs, as the brokers say, that are older than `keep` as well.
    Watermark {
        /// The earliest store time of an undecided half, of all groups that use this database and all their
        /// brokers, in milliseconds since 1970.
        watermark_ms: i64,
        /// How long to keep them in any case.
        keep: Duration,
    },
    /// All that are older than this, on the word of an operator that no half so old is undecided.
    OlderThan(Duration),
}

/// What a purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Markers born before this time are gone, in milliseconds since 1970.
    pub horizon_ms: i64,
    /// How many this call deleted.
    pub markers: u64,
}

/// Raises the horizon and deletes the markers below it, an hour's margin subtracted. A horizon never sinks.
///
/// Needs the right to update `escrow_meta` and to delete from `escrow_marker`. May be interrupted and repeated at
/// any time.
///
/// # Errors
/// The database refused or could not be reached; what was deleted until then stays deleted.
pub async fn purge<DB: MarkerDb>(pool: &Pool<DB>, limit: Limit) -> Result<Purged, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let now_ms = DB::now_ms(&mut connection).await?;
    let horizon_ms = DB::raise_horizon(&mut connection, below(limit, now_ms)).await?;
    tokio::time::sleep(CHECKS_END_WITHIN).await;
    let mut markers = 0;
    loop {
        let deleted = DB::delete_markers(&mut connection, horizon_ms, BATCH).await?;
        markers += deleted;
        if deleted < u64::from(BATCH) {
            return Ok(Purged {
                horizon_ms,
                markers,
            });
        }
    }
}

/// What [`purge`] would do now: the horizon, and how many markers are below it. Changes nothing.
///
/// # Errors
/// The database refused or could not be reached.
pub async fn would_purge<DB: MarkerDb>(
    pool: &Pool<DB>,
    limit: Limit,
) -> Result<Purged, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let now_ms = DB::now_ms(&mut connection).await?;
    let horizon_ms = below(limit, now_ms).max(DB::horizon_ms(&mut connection).await?);
    let markers = DB::count_markers(&mut connection, horizon_ms).await?;
    Ok(Purged {
        horizon_ms,
        markers: u64::try_from(markers).unwrap_or_default(),
    })
}

fn below(limit: Limit, now_ms: i64) -> i64 {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let before = match limit {
        Limit::Watermark { watermark_ms, keep } => {
            watermark_ms.min(now_ms.saturating_sub(ms(keep)))
        }
        Limit::OlderThan(age) => now_ms.saturating_sub(ms(age)),
    };
    // No marker is older than the epoch, and PostgreSQL could not print such a time as ours.
    before.saturating_sub(ms(PURGE_MARGIN)).max(0)
}

/// The SQL of one engine. Times are milliseconds since 1970, by the database's clock.
pub trait PurgeSql: Database {
    /// The time.
    fn now_ms(connection: &mut Self::Connection) -> BoxFuture<'_, Result<i64, sqlx::Error>>;

    /// Where the horizon is.
    fn horizon_ms(connection: &mut Self::Connection) -> BoxFuture<'_, Result<i64, sqlx::Error>>;

    /// How many markers were born before `before_ms`.
    fn count_markers(
        connection: &mut Self::Connection,
        before_ms: i64,
    ) -> BoxFuture<'_, Result<i64, sqlx::Error>>;

    /// Raises the horizon to `horizon_ms` unless it is there already; answers where it is.
    fn raise_horizon(
        connection: &mut Self::Connection,
        horizon_ms: i64,
    ) -> BoxFuture<'_, Result<i64, sqlx::Error>>;

    /// Deletes at most `rows` markers born before `before_ms`.
    fn delete_markers(
        connection: &mut Self::Connection,
        before_ms: i64,
        rows: u32,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Deletes at most `rows` rows of the inbox done before `before_ms`.
    fn delete_done(
        connection: &mut Self::Connection,
        before_ms: i64,
        rows: u32,
    ) -> BoxFuture<'_, Result<u64, sqlx::Error>>;
}

/// The statements differ, what is done with them does not.
macro_rules! purge_sql {
    ($engine:ty, $connection:ty, {
        now: $now:literal,
        raise: $raise:literal,
        horizon: $horizon:literal,
        count: $count:literal,
        markers: $markers:literal,
        done: $done:literal,
    }) => {
        impl PurgeSql for $engine {
            fn now_ms(connection: &mut $connection) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
                Box::pin(async move { sqlx::query_scalar($now).fetch_one(connection).await })
            }

            fn horizon_ms(connection: &mut $connection) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
                Box::pin(async move { sqlx::query_scalar($horizon).fetch_one(connection).await })
            }

            fn count_markers(
                connection: &mut $connection,
                before_ms: i64,
            ) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
                Box::pin(async move {
                    let count = sqlx::query_scalar($count).bind(before_ms);
                    count.fetch_one(connection).await
                })
            }

            fn raise_horizon(
                connection: &mut $connection,
                horizon_ms: i64,
            ) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
                Box::pin(async move {
                    sqlx::query($raise)
                        .bind(horizon_ms)
                        .execute(&mut *connection)
                        .await?;
                    Self::horizon_ms(connection).await
                })
            }

            fn delete_markers(
                connection: &mut $connection,
                before_ms: i64,
                rows: u32,
            ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
                Box::pin(async move {
                    let delete = sqlx::query($markers).bind(before_ms).bind(i64::from(rows));
                    Ok(delete.execute(connection).await?.rows_affected())
                })
            }

            fn delete_done(
                connection: &mut $connection,
                before_ms: i64,
                rows: u32,
            ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
                Box::pin(async move {
                    let delete = sqlx::query($done).bind(before_ms).bind(i64::from(rows));
                    Ok(delete.execute(connection).await?.rows_affected())
                })
            }
        }
    };
}

#[cfg(feature = "postgres")]
purge_sql!(sqlx::Postgres, sqlx::PgConnection, {
    now: "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    raise: "UPDATE escrow_meta SET purged_before = GREATEST(purged_before, to_timestamp($1::bigint / 1000.0))",
    // A database that was never purged holds -infinity.
    horizon: "SELECT (extract(epoch FROM GREATEST(purged_before, to_timestamp(0))) * 1000)::bigint FROM escrow_meta",
    count: "SELECT COUNT(*) FROM escrow_marker WHERE born_at < to_timestamp($1::bigint / 1000.0)",
    markers: "DELETE FROM escrow_marker WHERE tx_id IN (SELECT tx_id FROM escrow_marker \
        WHERE born_at < to_timestamp($1::bigint / 1000.0) ORDER BY born_at LIMIT $2)",
    done: "DELETE FROM escrow_inbox WHERE (consumer_group, message_id) IN \
        (SELECT consumer_group, message_id FROM escrow_inbox \
        WHERE done_at < to_timestamp($1::bigint / 1000.0) ORDER BY done_at LIMIT $2)",
});

// FROM_UNIXTIME is in the session's time zone, as is what it is compared with.
#[cfg(feature = "mysql")]
purge_sql!(sqlx::MySql, sqlx::MySqlConnection, {
    now: "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
    raise: "UPDATE escrow_meta SET purged_before = GREATEST(purged_before, ?)",
    horizon: "SELECT purged_before FROM escrow_meta",
    count: "SELECT COUNT(*) FROM escrow_marker WHERE born_at < FROM_UNIXTIME(? / 1000)",
    markers: "DELETE FROM escrow_marker WHERE born_at < FROM_UNIXTIME(? / 1000) ORDER BY born_at LIMIT ?",
    done: "DELETE FROM escrow_inbox WHERE done_at < FROM_UNIXTIME(? / 1000) ORDER BY done_at LIMIT ?",
});

#[cfg(feature = "sqlite")]
purge_sql!(sqlx::Sqlite, sqlx::SqliteConnection, {
    now: "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
    raise: "UPDATE escrow_meta SET purged_before = MAX(purged_before, ?1)",
    horizon: "SELECT purged_before FROM escrow_meta",
    count: "SELECT COUNT(*) FROM escrow_marker WHERE born_at < ?1",
    markers: "DELETE FROM escrow_marker WHERE tx_id IN \
        (SELECT tx_id FROM escrow_marker WHERE born_at < ?1 ORDER BY born_at LIMIT ?2)",
    done: "DELETE FROM escrow_inbox WHERE (consumer_group, message_id) IN \
        (SELECT consumer_group, message_id FROM escrow_inbox WHERE done_at < ?1 ORDER BY done_at LIMIT ?2)",
});

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn the_horizon_is_an_hour_below_the_older_of_watermark_and_age() {
        let now = 1_700_000_000_000;
        let by = |watermark_ms, keep| below(Limit::Watermark { watermark_ms, keep }, now);
        assert_eq!(by(now, DAY), now - 25 * HOUR_MS);
        assert_eq!(by(now - 50 * HOUR_MS, DAY), now - 51 * HOUR_MS);
        assert_eq!(below(Limit::OlderThan(DAY), now), now - 25 * HOUR_MS);
        assert_eq!(below(Limit::OlderThan(Duration::MAX), now), 0);
    }
}
