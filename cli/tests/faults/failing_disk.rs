//! A disk that fails in the ways that disks do, under load, and loses at a power cut what was not synced.

use std::time::Duration;

use crate::broker::{Serve, Setup, await_that};
use crate::disk::Disk;
use crate::scene::{Scene, times};

const SERVICE_NOT_AVAILABLE: i32 = 14;

/// Small files, so that segments, checkpoints and index runs come and go.
fn setup(disk: &Disk) -> Setup {
    Setup::on(&disk.folder())
        .flag("--max-message-size", "64KiB")
        .flag("--segment-size", "1MiB")
        .flag("--free-space-reserve", 0)
        .flag("--flush-consumer-offset-interval", "200ms")
        .flag("--flush-disk-type", "sync")
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut scene = Scene::set();
    let disk = Disk::mount();
    let setup = setup(&disk);
    let mut serve = setup.start();
    let cuts = times(8);
    for _ in 0..cuts {
        let decisions = 20 + scene.random.below(400) as usize;
        scene.under_load(&serve, |progress| {
            progress.await_decisions(decisions);
            serve.signal(rustix::process::Signal::KILL);
        });
        drop(serve);
        disk.power_cut(&mut scene.random);
        serve = setup.start();
        scene.verdict(&serve);
    }
    let (decisions, delivered) = scene.last_verdict(&serve);
    eprintln!("{cuts} power cuts: {decisions} decisions, {delivered} delivered");
}

#[test]
fn a_failed_sync_stops_the_store_which_says_so_and_nothing_is_lost_although_its_pages_are() {
    strikes("sync", times(10), |disk, after| {
        disk.faults().sync_fails_after = Some(after);
    });
}

#[test]
fn a_failed_write_stops_the_store_which_says_so_and_a_restart_loses_nothing() {
    strikes("write", times(10), |disk, after| {
        disk.faults().write_fails_after = Some(after);
    });
}

/// What comes after the fault.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Restart,
    PowerCut,
    /// A restart, more work, and then the power cut.
    WorkAndPowerCut,
}

const IN_TURN: [Then; 4] = [
    Then::Restart,
    Then::PowerCut,
    Then::Restart,
    Then::WorkAndPowerCut,
];

/// Lets one operation fail, early in the log or late, while producers work.
fn strikes(what: &str, count: u64, arm: impl Fn(&Disk, u64)) {
    let mut scene = Scene::set();
    let disk = Disk::mount();
    let setup = setup(&disk);
    let mut serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(50));
    let mut stopped = 0;
    for strike in 0..count {
        let after = scene.random.below(300);
        let ((), met) = scene.under_load(&serve, |progress| {
            let struck = disk.faults().struck;
            arm(&disk, after);
            await_that("the fault", || disk.faults().struck > struck);
            // What failed may have been the log, or something that can be made again. What was acknowledged may still be
            // on its way.
            let goal = progress.decisions() + 200;
            await_that("the store's end, or its going on", || {
                let has_stopped = serve.get("/health").0 != 200 && progress.refusals() > 0;
                has_stopped || progress.decisions() >= goal
            });
        });
        let (health, said) = serve.get("/health");
        if health != 200 {
            stopped += 1;
            let why = said["error"].as_str().unwrap().to_owned();
            assert!(why.contains("os error 5"), "names the cause: {why}");
            let (_, remark) = &met.refused[&SERVICE_NOT_AVAILABLE];
            assert!(remark.contains("restart"), "names the cure: {remark}");
            assert_eq!(met.refused.len(), 1, "{met:?}");
        }
        let then = IN_TURN[strike as usize % IN_TURN.len()];
        if then == Then::WorkAndPowerCut {
            drop(serve);
            serve = setup.start();
            scene.under_load(&serve, |progress| progress.await_decisions(50));
        }
        drop(serve);
        if then != Then::Restart {
            disk.power_cut(&mut scene.random);
        }
        serve = setup.start();
        scene.verdict(&serve);
    }
    let (decisions, delivered) = scene.last_verdict(&serve);
    assert!(stopped > 0, "the log was never struck");
    eprintln!(
        "{count} failed {what}s, {stopped} of which stopped the store: {decisions} decisions, {delivered} delivered"
    );
}

#[test]
fn failing_reads_cost_the_reads_alone_and_a_start_says_what_it_could_not_read() {
    let mut scene = Scene::set();
    let disk = Disk::mount();
    let setup = setup(&disk);
    let serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(500));
    drop(serve);
    disk.faults().reads_fail = true;
    let said = setup
        .try_start()
        .map(Serve::kill)
        .expect_err("it cannot read its log");
    assert!(said.contains("os error 5"), "names the cause: {said}");
    disk.faults().reads_fail = false;
    let serve = setup.start();
    let ((), met) = scene.under_load(&serve, |progress| {
        disk.faults().reads_fail = true;
        progress.await_decisions(300);
        assert_eq!(serve.get("/health").0, 200, "{}", serve.log());
        disk.faults().reads_fail = false;
    });
    assert_eq!(met.broken, 0, "{}", serve.log());
    assert!(
        met.refused.is_empty(),
        "what is new is written and needs no read: {met:?}"
    );
    scene.last_verdict(&serve);
    drop(serve);
    let serve = setup.start();
    scene.last_verdict(&serve);
}

#[test]
fn slow_syncs_delay_acknowledgements_and_nothing_else() {
    let mut scene = Scene::set();
    let disk = Disk::mount();
    let setup = setup(&disk);
    let serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(100));
    scene.look(&serve);
    let ((), met) = scene.under_load(&serve, |progress| {
        disk.faults().sync_takes = Some(Duration::from_secs(2));
        progress.await_decisions(20);
        disk.faults().sync_takes = None;
        progress.await_decisions(200);
    });
    assert_eq!(met.broken, 0, "{}", serve.log());
    assert!(met.refused.is_empty(), "{met:?}");
    scene.verdict(&serve);
    drop(serve);
    disk.power_cut(&mut scene.random);
    let serve = setup.start();
    scene.last_verdict(&serve);
}
