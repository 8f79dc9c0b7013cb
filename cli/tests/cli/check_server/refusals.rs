//! What a check server refuses to start with, each by what it says.

use std::process::Command;

use super::GROUP;
use crate::orders::Orders;
use crate::support::{escrow, refusal};

pub(super) fn command(groups: &[&str]) -> Command {
    let mut command = escrow();
    // Nothing listens there: what is refused is refused before any broker is asked.
    command.args([
        "check-server",
        "-n",
        "127.0.0.1:1",
        "--admin-addr",
        "127.0.0.1:0",
    ]);
    for group in groups {
        command.args(["--group", group]);
    }
    command
}

#[track_caller]
fn refused(groups: &[&str], words: &[&str]) {
    let said = refusal(&mut command(groups));
    for word in words {
        assert!(said.contains(word), "{word:?} not in {said}");
    }
}

#[test]
fn no_group() {
    refused(&[], &["no producer group given", "--group"]);
}

#[test]
fn a_url_of_no_engine_is_shown_without_its_password() {
    let said = refusal(&mut command(&["g=oracle://app:s3cret@db/orders"]));
    assert!(
        said.contains("oracle://app@db/orders") && said.contains("postgres://"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_pause_that_cannot_be_kept_to() {
    for pause in ["0s", "2d", "100000000000d"] {
        let mut command = command(&["g=sqlite:orders.db"]);
        let said = refusal(command.args(["--probe-interval", pause]));
        assert!(said.contains("not from 1ms to 1d"), "{pause}: {said}");
    }
}

#[test]
fn a_variable_or_a_file_that_is_not_there() {
    refused(&["g=env:NO_SUCH_VARIABLE"], &["NO_SUCH_VARIABLE", "set it"]);
    refused(&["g=file:/no/such/file"], &["cannot read", "/no/such/file"]);
}

#[test]
fn a_database_file_that_is_not_there_or_has_no_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let group = format!("g=sqlite:{}", path.display());
    refused(&[&group], &["unable to open database file"]);
    assert!(!path.exists(), "a check server makes no database");
    std::fs::write(&path, "").unwrap();
    refused(&[&group], &["escrow migrate"]);
}

#[tokio::test]
async fn tables_of_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::in_file(folder.path().join("orders.db"));
    for (version, words) in [(0, "run `escrow migrate`"), (99, "use a newer program")] {
        let version = format!("UPDATE escrow_meta SET version = {version}");
        orders.run(&version).await;
        refused(&[&format!("g={}", orders.url)], &[words]);
    }
}

#[test]
fn a_copy_that_still_says_it_is_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::in_file(folder.path().join("orders.db"));
    let copy = folder.path().join("copy.db");
    std::fs::copy(folder.path().join("orders.db"), &copy).unwrap();
    let groups = [
        format!("{GROUP}/eu={}", orders.url),
        format!("{GROUP}/us=sqlite:{}", copy.display()),
    ];
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    refused(
        &groups,
        &["say they are the same database", "escrow migrate --adopt"],
    );
}

#[test]
fn groups_that_contradict_themselves() {
    let (a, b) = ("sqlite:a.db", "sqlite:b.db");
    let both = [&*format!("g={a}"), &*format!("g/eu={b}")];
    refused(&both, &["with and without shard"]);
    let twice = [&*format!("g/eu={a}"), &*format!("g/eu={b}")];
    refused(&twice, &["two databases for one shard"]);
    let mut undecidable = command(&[&format!("g={a}"), &format!("g={b}")]);
    let said = refusal(undecidable.args(["--untagged", "decide"]));
    assert!(said.contains("commit-only"), "{said}");
}

#[test]
fn an_address_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders::in_file(folder.path().join("orders.db"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = escrow();
    command.args([
        "check-server",
        "-n",
        "127.0.0.1:1",
        "--admin-addr",
        &address,
    ]);
    let said = refusal(command.args(["--group", &format!("g={}", orders.url)]));
    assert!(
        said.contains(&address) && said.contains("--admin-addr"),
        "{said}"
    );
}
