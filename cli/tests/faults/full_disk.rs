//! The disk fills up, by others and to the last byte, while producers work.

use crate::audit::Audit;
use crate::broker::{Serve, Setup, await_that};
use crate::scene::{Scene, times};
use crate::volume::Volume;

const SERVICE_NOT_AVAILABLE: i32 = 14;
const MIB: u64 = 1 << 20;
/// Below this halfs and messages are refused.
const REFUSE: u64 = 24 * MIB;

fn setup(volume: &Volume) -> Setup {
    Setup::on(&volume.folder())
        .flag("--max-message-size", "64KiB")
        // All of it stays in one segment: closed ones would leave early when the disk is full, as they should.
        .flag("--segment-size", "64MiB")
        .flag("--free-space-clean", REFUSE)
        .flag("--free-space-refuse", REFUSE)
        .flag("--free-space-reserve", "8MiB")
        // By default a plain message is acknowledged before its sync: a disk that fails right then takes it away, and it is
        // not shown while a decision before it in its queue is not durable.
        .flag("--flush-disk-type", "sync")
}

#[test]
fn a_full_ext4_refuses_what_is_new_takes_decisions_serves_reads_and_recovers() {
    fills_up(&Volume::ext4(160));
}

#[test]
fn a_full_tmpfs_refuses_what_is_new_takes_decisions_serves_reads_and_recovers() {
    fills_up(&Volume::tmpfs(160));
}

fn fills_up(volume: &Volume) {
    let mut scene = Scene::set();
    let setup = setup(volume);
    let serve = setup.start();

    // Below the watermark.
    let (ballast, met) = scene.under_load(&serve, |progress| {
        progress.await_decisions(300);
        let ballast = volume.fill(REFUSE - 4 * MIB);
        progress.await_refusal();
        ballast
    });
    refused_clearly(&met, "bytes are free");
    scene.look(&serve);
    let ledger = scene.ledger.get_mut().unwrap();
    Audit::settle(serve.broker, ledger, 50).unwrap();
    scene.look(&serve);
    drop(ballast);
    scene.under_load(&serve, |progress| progress.await_decisions(300));
    scene.verdict(&serve);

    // To the last byte, before the broker looks: what it was about to write, it cannot.
    let (ballast, met) = scene.under_load(&serve, |progress| {
        progress.await_decisions(100);
        let ballast = volume.fill(0);
        progress.await_refusal();
        ballast
    });
    refused_clearly(&met, "");
    scene.look(&serve);
    let (health, said) = serve.get("/health");
    if health == 200 {
        // It was within the segment, and the reserve is there for decisions.
        let ledger = scene.ledger.get_mut().unwrap();
        Audit::settle(serve.broker, ledger, 50).unwrap();
        drop(ballast);
        scene.under_load(&serve, |progress| progress.await_decisions(100));
        scene.verdict(&serve);
        drop(serve);
    } else {
        let said = said["error"].as_str().unwrap();
        assert!(
            said.contains("No space left") && said.contains("restart"),
            "{said}"
        );
        drop(serve);
        // Not before there is room, or with what the reserve gives.
        if let Ok(serve) = setup.try_start() {
            scene.look(&serve);
        }
        drop(ballast);
    }
    eprintln!("filled to the last byte: health {health}, {said}");
    let serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(100));
    let (decisions, delivered) = scene.last_verdict(&serve);
    eprintln!("{decisions} decisions, {delivered} delivered");
}

fn refused_clearly(met: &crate::traffic::Met, cause: &str) {
    assert_eq!(met.broken, 0, "{met:?}");
    let codes: Vec<i32> = met.refused.keys().copied().collect();
    assert_eq!(codes, [SERVICE_NOT_AVAILABLE], "{met:?}");
    assert!(
        met.refused[&SERVICE_NOT_AVAILABLE].1.contains(cause),
        "{met:?}"
    );
}

#[test]
fn a_file_system_that_turns_read_only_stops_writes_alone_and_a_restart_goes_on_once_it_is_repaired()
{
    // Whatever is under way at that moment.
    for _ in 0..times(8) {
        turns_read_only();
    }
}

fn turns_read_only() {
    let mut scene = Scene::set();
    let volume = Volume::ext4(160);
    let setup = setup(&volume);
    let serve = setup.start();
    scene.under_load(&serve, |progress| progress.await_decisions(300));
    // From here on the broker knows the audit's group: a new one could not be written down.
    scene.look(&serve);
    let ((), met) = scene.under_load(&serve, |progress| {
        progress.await_decisions(100);
        volume.turn_read_only();
        progress.await_refusal();
    });
    refused_clearly(&met, "restart");
    await_that("red health", || serve.get("/health").0 == 503);
    let said = serve.get("/health").1;
    let said = said["error"].as_str().unwrap();
    // A write or sync that was on its way meets the error itself.
    let cause = ["Read-only file system", "Input/output error"];
    assert!(
        cause.iter().any(|cause| said.contains(cause)) && said.contains("restart"),
        "{said}"
    );
    // What was acknowledged is still read, and still listed.
    scene.look(&serve);
    drop(serve);
    let said = setup
        .try_start()
        .map(Serve::kill)
        .expect_err("it cannot write");
    assert!(said.contains("Read-only file system"), "{said}");
    volume.repair();
    let serve = setup.start();
    scene.verdict(&serve);
    scene.under_load(&serve, |progress| progress.await_decisions(100));
    let (decisions, delivered) = scene.last_verdict(&serve);
    eprintln!("{decisions} decisions, {delivered} delivered");
}
