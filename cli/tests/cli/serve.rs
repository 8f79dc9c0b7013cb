//! `escrow serve`: what it says when it starts, when it cannot, and how it stops.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::tempdir;

use crate::support::{Served, escrow, http_get, refusal, serve_command};

#[test]
fn the_ready_line_gives_the_real_ports_and_nothing_else_is_on_stdout() {
    let folder = tempdir().unwrap();
    let served = Served::on(&folder.path().join("data"));
    let expected = format!(
        "escrow ready namesrv={} broker={} admin={}\n",
        served.namesrv, served.broker, served.admin
    );
    assert_eq!(served.ready_line, expected);
    for address in [&served.namesrv, &served.broker, &served.admin] {
        assert!(!address.ends_with(":0"), "{address}");
        std::net::TcpStream::connect(address).unwrap();
    }
    let stopped = served.stop(Signal::TERM);
    assert_eq!(stopped.stdout, "");
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
}

#[test]
fn health_is_answered_once_ready() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    let (status, body) = http_get(&served.admin, "/health", &served.admin);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn sigterm_and_sigint_end_it_in_time_and_it_starts_again() {
    let folder = tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let stopped = Served::on(folder.path()).stop(signal);
        assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
        assert!(stopped.took < Duration::from_secs(10), "{:?}", stopped.took);
    }
    Served::on(folder.path());
}

#[test]
fn it_starts_again_after_a_kill() {
    let folder = tempdir().unwrap();
    Served::on(folder.path()).stop(Signal::KILL);
    Served::on(folder.path());
}

#[test]
fn a_second_start_on_the_folder_is_refused() {
    let folder = tempdir().unwrap();
    let _first = Served::on(folder.path());
    let refusal = refusal(&mut serve_command(folder.path()));
    assert!(
        refusal.contains(&folder.path().display().to_string()),
        "{refusal}"
    );
}

#[test]
fn a_taken_port_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--namesrv-addr", "--broker-addr", "--admin-addr"] {
        let folder = tempdir().unwrap();
        let mut command = escrow();
        command.arg("serve").arg("--data-dir").arg(folder.path());
        for other in ["--namesrv-addr", "--broker-addr", "--admin-addr"] {
            command.args([
                other,
                if other == flag {
                    &address
                } else {
                    "127.0.0.1:0"
                },
            ]);
        }
        let refusal = refusal(&mut command);
        assert!(refusal.contains(&address), "{refusal}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    // Permissions do not stop root; a file in the folder's place stops everybody.
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let refusal = refusal(&mut serve_command(&file.join("data")));
    assert!(refusal.contains(&file.display().to_string()), "{refusal}");
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("escrow.toml");
    std::fs::write(&file, "flushDiskTyp = \"sync\"\n").unwrap();
    let mut command = serve_command(folder.path());
    let refusal = refusal(command.arg("--config").arg(&file));
    assert!(refusal.contains("flushDiskTyp"), "{refusal}");
}

#[test]
fn a_missing_settings_file_is_refused() {
    let folder = tempdir().unwrap();
    let mut command = serve_command(folder.path());
    let refusal = refusal(command.args(["--config", "/nowhere/escrow.toml"]));
    assert!(refusal.contains("/nowhere/escrow.toml"), "{refusal}");
}

#[test]
fn another_broker_name_on_the_same_folder_is_refused() {
    let folder = tempdir().unwrap();
    Served::on(folder.path()).stop(Signal::TERM);
    let mut command = serve_command(folder.path());
    let refusal = refusal(command.args(["--broker-name", "broker-b"]));
    assert!(
        refusal.contains("broker-a") && refusal.contains("broker-b"),
        "{refusal}"
    );
}

#[test]
fn settings_come_from_file_environment_and_flags_in_this_order() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("escrow.toml");
    std::fs::write(
        &file,
        "brokerName = \"from-file\"\nflushDiskType = \"sync\"\n",
    )
    .unwrap();
    let data = folder.path().join("data");
    let mut command = serve_command(&data);
    command
        .arg("--config")
        .arg(&file)
        .env("ESCROW_BROKER_NAME", "from-environment");
    Served::start(&mut command).stop(Signal::TERM);
    // The name is kept in the folder: what it was tells which source won.
    let mut command = serve_command(&data);
    let refusal = refusal(command.args(["--broker-name", "from-flag"]));
    assert!(refusal.contains("from-environment"), "{refusal}");
}

#[test]
fn a_foreign_host_is_refused_by_the_admin_api() {
    let folder = tempdir().unwrap();
    let served = Served::on(folder.path());
    let (status, _) = http_get(&served.admin, "/api/status", "evil.example");
    assert_eq!(status, 403);
}
