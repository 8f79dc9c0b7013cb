//! Old markers go, and a check about a half whose marker may be gone rules nothing out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use escrow_client::database::purge::{KEEP_DEFAULT, Limit, purge};
use escrow_client::database::{PURGE_MARGIN, Verdict};

use crate::support::{Database, TestDb, asking, id, migrated, on_each_engine, unknown};

on_each_engine!(
    markers_below_the_watermark_go_and_nothing_older_is_ruled_out,
    markers_are_kept_for_as_long_as_one_says,
    the_horizon_never_sinks,
);

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

fn ms(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap()
}

/// A committed marker, born so long ago.
async fn marker<DB: TestDb>(database: &Database<DB>, id: &str, age: Duration) {
    let seconds = age.as_secs();
    let born = match DB::NAME {
        "PostgreSQL" => format!("now() - interval '{seconds} seconds'"),
        "MySQL" => format!("NOW(3) - INTERVAL {seconds} SECOND"),
        _ => (now_ms() - ms(age)).to_string(),
    };
    let insert = format!("INSERT INTO escrow_marker (tx_id, born_at) VALUES ('{id}', {born})");
    database.run(&insert).await.unwrap();
}

/// What a check finds about a half that was stored so long ago.
async fn asked<DB: TestDb>(database: &Database<DB>, half: &str, age: Duration) -> Verdict {
    let mut query = asking(&id(half));
    query.stored_at_ms = now_ms() - ms(age);
    DB::decide(&database.pool, &query).await
}

async fn markers_below_the_watermark_go_and_nothing_older_is_ruled_out<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for (id, age) in [("old", 10 * DAY), ("open", 8 * DAY), ("new", DAY)] {
        marker(&database, id, age).await;
    }
    // The oldest undecided half was stored just before its marker.
    let open = 8 * DAY + Duration::from_secs(1);
    let limit = Limit::Watermark {
        watermark_ms: now_ms() - ms(open),
        keep: DAY,
    };
    let purged = purge(&database.pool, limit).await.unwrap();
    assert_eq!(purged.markers, 1);
    let off = purged.horizon_ms - (now_ms() - ms(open) - ms(PURGE_MARGIN));
    assert!(off.abs() < 60_000, "{off} ms off");

    // Still undecided, still there.
    assert_eq!(asked(&database, "open", open).await, Verdict::Committed);
    assert_eq!(asked(&database, "lost", open).await, Verdict::RolledBack);
    assert_eq!(asked(&database, "new", DAY).await, Verdict::Committed);
    // Committed once, gone now: never the opposite.
    assert_eq!(unknown(asked(&database, "old", 10 * DAY).await), "purged");
    let left = "SELECT COUNT(*) FROM escrow_marker WHERE state = 2";
    assert_eq!(database.number(left).await, 1);
}

async fn markers_are_kept_for_as_long_as_one_says<DB: TestDb>() {
    let database = migrated::<DB>().await;
    for (id, age) in [("A", 6 * DAY), ("B", 8 * DAY)] {
        marker(&database, id, age).await;
    }
    // Everything is decided.
    let limit = Limit::Watermark {
        watermark_ms: now_ms(),
        keep: KEEP_DEFAULT,
    };
    assert_eq!(purge(&database.pool, limit).await.unwrap().markers, 1);
    assert_eq!(
        database.number("SELECT COUNT(*) FROM escrow_marker").await,
        1
    );
    let limit = Limit::OlderThan(5 * DAY);
    assert_eq!(purge(&database.pool, limit).await.unwrap().markers, 1);
}

async fn the_horizon_never_sinks<DB: TestDb>() {
    let database = migrated::<DB>().await;
    let first = purge(&database.pool, Limit::OlderThan(DAY)).await.unwrap();
    let second = purge(&database.pool, Limit::OlderThan(5 * DAY))
        .await
        .unwrap();
    assert_eq!(second.horizon_ms, first.horizon_ms);
    assert_eq!(unknown(asked(&database, "A", 3 * DAY).await), "purged");
}
