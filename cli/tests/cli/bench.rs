//! `escrow bench` reports what it did, and leaves nothing behind that it should not.

use rustix::process::Signal;
use serde_json::Value;
use tempfile::tempdir;

use crate::support::{Served, escrow, printed};

fn bench(served: &Served, words: &[&str]) -> Value {
    let mut command = escrow();
    command
        .arg("bench")
        .args(words)
        .args(["--namesrv", &served.namesrv, "--json"]);
    command.args(["--connections", "2", "--depth", "4", "--queues", "3"]);
    serde_json::from_str(&printed(&mut command)).unwrap()
}

#[test]
fn transactions_and_plain_messages_all_become_visible() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    for mode in ["tx", "send"] {
        let report = bench(&served, &[mode, "--seconds", "0.5", "--warmup", "0.1"]);
        assert_eq!(report["mode"], mode);
        assert!(report["visible"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["total"]["outstanding"], 0, "{report}");
        assert_eq!(report["total"]["surplus"], 0, "{report}");
        assert_eq!(report["total"]["acknowledged"], report["total"]["visible"]);
        assert!(report["ack"]["count"].as_u64().unwrap() > 0);
    }
}

#[test]
fn an_open_loop_offers_what_it_was_told_to() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    let report = bench(
        &served,
        &["tx", "--seconds", "1", "--warmup", "0.2", "--rate", "200"],
    );
    let rate = report["visible_per_second"].as_f64().unwrap();
    assert!((100.0..300.0).contains(&rate), "{rate} for 200");
}

#[test]
fn every_transaction_reaches_the_consumer_and_its_time_is_told() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    let words = [
        "tx",
        "--receipts",
        "--seconds",
        "1",
        "--warmup",
        "0.2",
        "--rate",
        "200",
    ];
    let report = bench(&served, &words);
    let count = report["receipt"]["count"].as_u64().unwrap();
    assert!((100..300).contains(&count), "{count} for 200");
    let p50 = report["receipt"]["p50_us"].as_f64().unwrap();
    assert!(p50 > 0.0 && p50 < 1e6, "{p50}");
}

#[test]
fn halfs_left_pending_are_there_after_a_kill() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    let report = bench(&served, &["pending", "--count", "300"]);
    assert_eq!(report["acknowledged"], 300);
    served.stop(Signal::KILL);
    let served = Served::on(folder.path());
    let mut status = escrow();
    status.args(["status", "--json", "--admin-addr", &served.admin]);
    let status: Value = serde_json::from_str(&printed(&mut status)).unwrap();
    assert_eq!(status["pending"], 300);
}
