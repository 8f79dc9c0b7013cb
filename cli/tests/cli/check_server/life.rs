//! Starts, ends, and what comes and goes meanwhile.

use rustix::process::Signal;
use serde_json::Value;

use super::{GROUP, Scene, eventually, health};
use crate::orders::Orders;
use crate::support::{Running, escrow, http_get};

/// Members of the producer group, by the broker's account.
fn members(scene: &Scene) -> usize {
    let groups = scene.api("/api/groups");
    let producers = groups["producers"].as_array().unwrap();
    let ours = producers.iter().find(|row| row["group"] == GROUP);
    ours.map_or(0, |row| row["members"].as_array().map_or(0, Vec::len))
}

#[tokio::test]
async fn two_servers_share_a_group_and_one_of_them_killed_is_not_missed() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let groups = [format!("{GROUP}={}", orders.url)];
    let one = Running::start(&mut scene.check_server(&groups));
    let other = Running::start(&mut scene.check_server(&groups));
    assert_eq!(members(&scene), 2);
    for _ in 0..4 {
        let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
        assert_eq!(scene.decision(&half).await, "rollback");
    }
    one.stop(Signal::KILL);
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    assert_eq!(scene.decision(&half).await, "rollback");
    assert_eq!(health(&other).0, 200);
}

#[tokio::test]
async fn a_broker_that_comes_back_is_answered_again() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let mut command = scene.check_server(&[format!("{GROUP}={}", orders.url)]);
    let server = Running::start(&mut command);
    let killed = scene.kill();
    let lost = || (health(&server).0 == 503).then_some(());
    eventually("the lost broker in the health", lost).await;
    let scene = killed.start();
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    assert_eq!(scene.decision(&half).await, "rollback");
    assert_eq!(health(&server).0, 200);
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_joined_when_it_comes() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let half = scene.half(&[("ESCROW_DOMAIN", &orders.domain)]).await;
    let mut command = scene.check_server(&[format!("{GROUP}={}", orders.url)]);
    let killed = scene.kill();
    let server = Running::start(&mut command);
    assert_eq!(server.field("brokers"), "0");
    assert_eq!(health(&server).0, 503);
    let scene = killed.start();
    assert_eq!(scene.decision(&half).await, "rollback");
}

#[tokio::test]
async fn sigterm_leaves_the_groups_and_prints_nothing_more() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let server = Running::start(&mut scene.check_server(&[format!("{GROUP}={}", orders.url)]));
    assert!(
        server
            .ready_line
            .starts_with("escrow check-server ready admin=127.0.0.1:")
            && server.ready_line.ends_with(" groups=1 brokers=1\n"),
        "{}",
        server.ready_line
    );
    assert_eq!(members(&scene), 1);
    let stopped = server.stop(Signal::TERM);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert_eq!(stopped.stdout, "");
    assert_eq!(members(&scene), 0);
}

#[tokio::test]
async fn a_settings_file_is_enough() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let secret = scene.path("orders-url");
    std::fs::write(&secret, format!("{}\n", orders.url)).unwrap();
    let settings = scene.path("check-server.toml");
    let text = format!(
        "namesrvAddr = {:?}\nadminAddr = \"127.0.0.1:0\"\n[[group]]\nname = {GROUP:?}\nuntagged = \"decide\"\n\
         database = \"file:{}\"\n",
        scene.served.namesrv,
        secret.display()
    );
    std::fs::write(&settings, text).unwrap();
    let half = scene.half(&[]).await;
    let mut command = escrow();
    let server = Running::start(command.args(["check-server", "--config"]).arg(&settings));
    assert_eq!(scene.decision(&half).await, "rollback");
    let (_, said): (u16, Value) = health(&server);
    assert_eq!(
        said["databases"][0]["database"],
        format!("file:{}", secret.display())
    );
}

#[tokio::test]
async fn whoever_calls_the_port_by_a_foreign_name_is_refused() {
    let scene = Scene::set();
    let orders = Orders::in_file(scene.path("orders.db"));
    let group = format!("{GROUP}={}", orders.url);
    let server = Running::start(&mut scene.check_server(&[group]));
    let admin = server.field("admin");
    for path in ["/health", "/metrics"] {
        let (status, said) = http_get(&admin, path, "evil.example");
        assert_eq!(status, 403);
        assert!(
            said.contains("foreign Host") && !said.contains("orders.db"),
            "{said}"
        );
        assert_eq!(http_get(&admin, path, "localhost").0, 200);
    }
}
