//! The process is stopped for seconds and goes on: a machine that swaps, or is moved to another host.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::broker::Setup;
use crate::producer::Producer;
use crate::scene::{Scene, times};

const CHECK_AFTER: Duration = Duration::from_secs(2);
const FROZEN: Duration = Duration::from_secs(5);
/// The broker's rate of checks, its burst, and the checks that one connection may have before it answers: those may have
/// been sent before the time in which they arrive.
const CHECKS_PER_SECOND: f64 = 1000.0;
const CHECKS_AT_ONCE: f64 = 20.0 + 64.0;

#[test]
fn a_frozen_broker_goes_on_where_it_stood_and_its_producers_with_it() {
    let mut scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::on(folder.path());
    let serve = setup.start();
    let freezes = times(8);
    let freeze_ms: Vec<u64> = (0..freezes)
        .map(|freeze| match freeze % 8 {
            // Longer than a check waits for its answer would be, and than any timer of the broker's.
            7 => 9_000,
            _ => 50 + scene.random.below(500),
        })
        .collect();
    let ((), met) = scene.under_load(&serve, |progress| {
        for ms in freeze_ms {
            progress.await_decisions(200);
            serve.signal(Signal::STOP);
            // Not a wait for something: how long it is frozen is what the test draws.
            std::thread::sleep(Duration::from_millis(ms));
            serve.signal(Signal::CONT);
        }
        progress.await_decisions(200);
    });
    assert_eq!(met.broken, 0, "no producer lost its connection");
    assert!(met.refused.is_empty(), "and none was refused: {met:?}");
    scene.verdict(&serve);
    drop(serve);
    let serve = setup.start();
    let (decisions, delivered) = scene.last_verdict(&serve);
    eprintln!(
        "frozen {freezes} times: {decisions} decisions, {delivered} delivered, all found again"
    );
}

#[test]
fn checks_that_fell_due_while_it_was_frozen_come_at_the_usual_rate_and_none_comes_early() {
    const HALFS: usize = 3_000;
    let _scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let ms = CHECK_AFTER.as_millis().try_into().unwrap();
    let serve = Setup::on(folder.path()).checks_after(ms).start();
    let mut producer = Producer::connect(serve.broker, "frozen", "Frozen").unwrap();
    let sent: HashMap<_, _> = (0..HALFS / 500)
        .flat_map(|_| producer.halfs(500, 100).unwrap())
        .map(|half| (half.key, half.at))
        .collect();
    serve.signal(Signal::STOP);
    // Not a wait for something: all the checks fall due meanwhile.
    std::thread::sleep(FROZEN);
    serve.signal(Signal::CONT);

    let fresh = producer.halfs(1, 100).unwrap().remove(0);
    let mut first = HashMap::new();
    let mut all = Vec::new();
    while first.len() < HALFS + 1 {
        let check = producer.check().unwrap();
        producer.answer_unknown(&check).unwrap();
        all.push(check.at);
        first.entry(check.key).or_insert(check.at);
    }
    for (key, at) in &first {
        let sent = sent.get(key).unwrap_or(&fresh.at);
        // The store's time has whole milliseconds.
        let early = Duration::from_millis(1) + at.duration_since(*sent);
        assert!(early >= CHECK_AFTER, "{key}: checked after {early:?}");
    }
    let fresh_after = first[&fresh.key].duration_since(fresh.at);
    assert!(
        fresh_after < CHECK_AFTER + FROZEN,
        "timers go on: {fresh_after:?}"
    );
    let busiest = busiest_second(&all);
    assert!(
        busiest <= CHECKS_PER_SECOND + CHECKS_AT_ONCE,
        "{busiest} checks in one second"
    );
    let took = all[all.len() - 1].duration_since(all[0]).as_secs_f64();
    eprintln!(
        "{} checks in {took:.1} s, {busiest} in the busiest second",
        all.len()
    );
}

/// The most checks that came within one second.
fn busiest_second(times: &[Instant]) -> f64 {
    let in_second = |from: usize| {
        let end = times[from] + Duration::from_secs(1);
        times[from..].iter().take_while(|at| **at < end).count()
    };
    let busiest = (0..times.len()).map(in_second).max();
    busiest.unwrap_or(0) as f64
}
