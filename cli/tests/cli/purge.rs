//! `escrow purge`.

use std::process::Command;

use escrow_client::{Check, Client, Message, Resolution, Settings, TransactionProducer};

use crate::orders::{Engine, Orders, on_each_engine};
use crate::support::{Served, escrow, printed, refusal};

const DAY_SECONDS: u32 = 24 * 3600;

on_each_engine!(
    old_markers_go_and_young_ones_stay,
    the_earliest_undecided_half_of_any_broker_and_group_holds_its_markers,
    without_a_watermark_only_the_operators_word_counts,
);

fn purge(orders: &Orders, more: &[&str]) -> Command {
    let mut command = escrow();
    command
        .args(["purge", "--group", &format!("orders={}", orders.url)])
        .args(more);
    command
}

async fn marker(orders: &Orders, id: &str, days_old: u32) {
    orders.commit(id).await;
    orders.age(id, days_old * DAY_SECONDS).await;
}

async fn old_markers_go_and_young_ones_stay(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::on(&folder.path().join("broker"));
    let orders = Orders::fresh(engine, folder.path()).await;
    for (id, days) in [("young", 0), ("kept", 6), ("old", 8)] {
        marker(&orders, id, days).await;
    }
    let by_broker = ["--broker-admin", &served.admin];
    let dry: Vec<&str> = by_broker.iter().copied().chain(["--dry-run"]).collect();
    let said = printed(&mut purge(&orders, &dry));
    assert!(
        said.contains("would delete 1 markers") && said.contains("groups orders"),
        "{said}"
    );
    assert!(orders.row("old").await.is_some());

    let said = printed(&mut purge(&orders, &by_broker));
    assert!(said.contains(": deleted 1 markers"), "{said}");
    assert_eq!(orders.row("old").await, None);
    assert!(orders.row("kept").await.is_some() && orders.row("young").await.is_some());

    let shorter: Vec<&str> = by_broker.iter().copied().chain(["--keep", "2d"]).collect();
    printed(&mut purge(&orders, &shorter));
    assert_eq!(orders.row("kept").await, None);
    assert!(orders.row("young").await.is_some());
}

async fn the_earliest_undecided_half_of_any_broker_and_group_holds_its_markers(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        Served::on(&folder.path().join("one")),
        Served::on(&folder.path().join("other")),
    );
    let orders = Orders::fresh(engine, folder.path()).await;
    let client = Client::start(Settings::new(&other.namesrv)).await.unwrap();
    let unsaid = |_: Check| async { Resolution::Unknown };
    let refunds = TransactionProducer::new(&client, "refunds", unsaid);
    refunds
        .send_half(&Message::new("Orders", "x"))
        .await
        .unwrap();
    // The database's clock is a week ahead: by age alone the marker would be old enough.
    marker(&orders, "of-today", 0).await;
    let both = format!("refunds={}", orders.url);
    let args = [
        "--broker-admin",
        &one.admin,
        "--broker-admin",
        &other.admin,
        "--keep",
        "0s",
        "--dry-run",
    ];
    let free = printed(&mut purge(&orders, &args));
    let args: Vec<&str> = args.iter().copied().chain(["--group", &both]).collect();
    let held = printed(&mut purge(&orders, &args));
    assert!(held.contains("groups orders, refunds"), "{held}");
    let since = |said: &str| said.split_once("undecided since ").unwrap().1[..24].to_owned();
    assert!(since(&held) <= since(&free), "{held}{free}");
    client.close().await;
}

async fn without_a_watermark_only_the_operators_word_counts(engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::fresh(engine, folder.path()).await;
    marker(&orders, "old", 8).await;
    let said = refusal(&mut purge(&orders, &[]));
    assert!(
        said.contains("--broker-admin") && said.contains("--older-than"),
        "{said}"
    );
    let said = refusal(&mut purge(&orders, &["--broker-admin", "127.0.0.1:1"]));
    assert!(
        said.contains("127.0.0.1:1") && said.contains("--older-than"),
        "{said}"
    );
    assert!(orders.row("old").await.is_some());
    let said = printed(&mut purge(&orders, &["--older-than", "7d"]));
    assert!(said.contains("deleted 1 markers"), "{said}");
    assert_eq!(orders.row("old").await, None);
}
