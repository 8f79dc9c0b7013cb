//! The wall clock is set while halfs are pending. libfaketime stands between the broker and the clock; the monotonic one is
//! left alone, as it is when a machine's clock is set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::Setup;
use crate::ledger::Decision;
use crate::listed;
use crate::producer::Producer;
use crate::scene::Scene;
use crate::wire::pull;

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
const CHECK_AFTER: Duration = Duration::from_secs(4);
const HALFS: usize = 50;

#[test]
fn a_clock_set_forward_or_back_by_two_hours_decides_nothing_drops_nothing_and_hastens_no_check() {
    let mut scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    set(&offset, "+0");
    let setup = Setup::on(&folder.path().join("data"))
        .checks_after(CHECK_AFTER.as_millis().try_into().unwrap())
        .environment("LD_PRELOAD", library().display())
        .environment("FAKETIME_TIMESTAMP_FILE", offset.display())
        .environment("FAKETIME_NO_CACHE", 1)
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", 1);
    let serve = setup.start();
    for to in ["+2h", "+0", "-2h", "+0"] {
        let mut producer = Producer::connect(serve.broker, "clock", "Clock").unwrap();
        let halfs = producer.halfs(HALFS, 100).unwrap();
        set(&offset, to);
        scene.under_load(&serve, |progress| progress.await_decisions(200));
        let listed = listed::undecided(&serve, "&group=clock");
        for half in &halfs {
            assert!(
                listed.contains(&half.key),
                "{} is not pending at {to}",
                half.key
            );
        }
        for _ in 0..HALFS {
            let check = producer.check().unwrap();
            let half = halfs.iter().find(|half| half.key == check.key).unwrap();
            let after = check.at.duration_since(half.at) + Duration::from_millis(1);
            assert!(after >= CHECK_AFTER, "{to}: checked after {after:?}");
            assert!(
                after < 2 * CHECK_AFTER,
                "{to}: checked only after {after:?}"
            );
        }
        let ended = producer.end(&halfs, Decision::Commit).unwrap();
        assert!(ended.iter().all(|reply| reply.code == 0), "{ended:?}");
        scene.look(&serve);
    }
    let log = serve.log();
    assert!(!log.contains("panicked"), "{log}");
    let stood = stood_at(&log);
    let mut seen = stood.iter();
    let all = [2, 0, -2, 0].iter().all(|hours| seen.any(|at| at == hours));
    assert!(all && stood.last() == Some(&0), "{stood:?}: {log}");
    let times = store_times(serve.broker);
    assert_eq!(times.len(), 4 * HALFS);
    assert!(times.is_sorted(), "the store's time never goes back");
    scene.verdict(&serve);
    // A start with a clock that is behind what is stored.
    drop(serve);
    set(&offset, "-2h");
    let serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(100));
    let (decisions, delivered) = scene.last_verdict(&serve);
    eprintln!("5 clock steps of two hours: {decisions} decisions, {delivered} delivered");
}

/// Where the clock stood after each step that the broker noticed, in hours. There may be more steps than the test made: while one
/// thread has libfaketime read its file, another may see no offset for a moment.
fn stood_at(log: &str) -> Vec<i64> {
    let steps = log.split("ClockStepped { by_ms: ").skip(1);
    let stood = steps.scan(0, |at, step| {
        let by_ms: i64 = step.split(' ').next()?.parse().ok()?;
        *at += by_ms;
        Some(*at)
    });
    stood
        .map(|at_ms| (at_ms + 1_800_000).div_euclid(3_600_000))
        .collect()
}

fn library() -> PathBuf {
    let found = LIBRARIES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    found.expect("libfaketime is missing: apt-get install faketime")
}

/// Sets the broker's clock, at its next look; the file is never seen half written.
fn set(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// The store timestamps of all messages of the test's own topic, in the order of the queue.
fn store_times(broker: std::net::SocketAddr) -> Vec<i64> {
    let mut wire = crate::wire::Wire::connect(broker).unwrap();
    let mut times = Vec::new();
    loop {
        let asked = pull(
            "clock-audit",
            "Clock",
            0,
            i64::try_from(times.len()).unwrap(),
        );
        let reply = wire.call(asked).unwrap();
        if reply.code != 0 {
            return times;
        }
        let messages = escrow_protocol::message::decode_all(&reply.body);
        times.extend(messages.map(|view| view.unwrap().message.store_timestamp));
    }
}
