//! Markers, fences and checks against real databases.

use escrow_client::database::{CheckQuery, MarkerDb, TxId, Verdict, migrate};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Sqlite, SqlitePool};

async fn sqlite(folder: &tempfile::TempDir) -> SqlitePool {
    let file = SqliteConnectOptions::new()
        .filename(folder.path().join("orders.db"))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(file).await.unwrap();
    migrate(&pool).await.unwrap();
    pool
}

fn query(id: &TxId) -> CheckQuery {
    CheckQuery {
        tx_id: id.clone(),
        stored_at_ms: i64::MAX,
        decided_by: "test".to_owned(),
        domain: None,
        may_tombstone: true,
    }
}

#[tokio::test]
async fn a_marker_commits_with_its_transaction_and_a_tombstone_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let pool = sqlite(&folder).await;
    let ids: Vec<TxId> = ["A", "B"].map(|id| id.parse().unwrap()).into();
    let mut tx = pool.begin_with(Sqlite::BEGIN).await.unwrap();
    Sqlite::mark(&mut tx, &ids).await.unwrap();
    assert!(Sqlite::fence(&mut tx, &ids).await.unwrap());
    assert!(matches!(
        Sqlite::decide(&pool, &query(&ids[0])).await,
        Verdict::Unknown(_)
    ));
    tx.commit().await.unwrap();
    for id in &ids {
        assert_eq!(Sqlite::decide(&pool, &query(id)).await, Verdict::Committed);
    }

    let never = ["C".parse().unwrap()];
    let ruled_out = Sqlite::decide(&pool, &query(&never[0])).await;
    assert_eq!(ruled_out, Verdict::RolledBack);
    let mut tx = pool.begin_with(Sqlite::BEGIN).await.unwrap();
    assert!(Sqlite::mark(&mut tx, &never).await.is_err());
}
