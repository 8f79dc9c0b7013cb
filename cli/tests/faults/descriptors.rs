//! The broker at its limit of file descriptors.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::broker::{Serve, Setup};
use crate::scene::Scene;

const DESCRIPTORS: u64 = 256;

/// Small segments, so that files are opened all the time.
fn setup(folder: &std::path::Path) -> Setup {
    Setup::on(folder)
        .flag("--max-message-size", "64KiB")
        .flag("--segment-size", "1MiB")
        .descriptors_max(DESCRIPTORS)
}

#[test]
fn connections_leave_file_descriptors_to_the_store() {
    let mut scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let serve = setup.start();
    let (refused, met) = scene.under_load(&serve, |progress| {
        progress.await_decisions(50);
        let crowd: Vec<TcpStream> = (0..400)
            .map(|_| TcpStream::connect(serve.broker).unwrap())
            .collect();
        // Several segments are opened meanwhile.
        progress.await_decisions(1_500);
        crowd.iter().filter(|stream| is_closed(stream)).count()
    });
    assert!(refused > 200, "only {refused} connections were refused");
    assert_eq!(met.broken, 0, "who was there stays");
    assert!(met.refused.is_empty(), "and is served: {met:?}");
    assert_eq!(serve.get("/health").0, 200, "{}", serve.log());
    scene.verdict(&serve);
    drop(serve);
    let serve = setup.start();
    scene.last_verdict(&serve);
    eprintln!("{refused} of 400 connections refused with {DESCRIPTORS} descriptors");
}

#[test]
fn out_of_file_descriptors_it_neither_spins_nor_dies_and_accepts_again_when_there_are_some() {
    let mut scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let serve = Setup::on(folder.path()).start();
    scene.under_load(&serve, |progress| {
        progress.await_decisions(50);
        limit(&serve, Some(0));
        let _waiting = TcpStream::connect(serve.broker).unwrap();
        serve.await_log("cannot accept a connection");
        // Whoever is there is served.
        progress.await_decisions(200);
    });
    // Nobody works now, and a connection waits to be accepted: that costs next to nothing.
    let _waiting = TcpStream::connect(serve.broker).unwrap();
    let before = serve.processor_time();
    // Not a wait for something: spinning takes time.
    std::thread::sleep(Duration::from_secs(2));
    let spun = serve.processor_time().saturating_sub(before);
    assert!(spun < Duration::from_millis(500), "{spun:?} in two seconds");
    limit(&serve, None);
    assert_eq!(serve.get("/health").0, 200, "{}", serve.log());
    scene.last_verdict(&serve);
}

/// Sets how many descriptors the running broker may have, by default as many as we; those that are open stay open.
fn limit(serve: &Serve, count: Option<u64>) {
    let own = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: count.or(own.maximum),
        maximum: own.maximum,
    };
    prlimit(Some(serve.pid()), Resource::Nofile, limit).unwrap();
}

/// Whether the broker has closed this connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0]);
    read.map_or_else(
        |error| error.kind() != std::io::ErrorKind::WouldBlock,
        |_| true,
    )
}
