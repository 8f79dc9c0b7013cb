//! A producer that goes on sending and never reads what it is asked.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::broker::Setup;
use crate::ledger::Decision;
use crate::listed;
use crate::producer::{Producer, Sent};
use crate::scene::Scene;

const CHECK_AFTER: Duration = Duration::from_secs(1);
const BODY: usize = 256 * 1024;
const HALFS: usize = 200;
const MIB: u64 = 1 << 20;
/// Checks that one connection may leave unanswered at a time, each with its half, as a frame and as the bytes to write; and
/// as much again for what the allocator keeps.
const GROWTH_MAX: u64 = 2 * 2 * 64 * BODY as u64;

#[test]
fn a_producer_that_reads_no_checks_holds_up_nobody_and_others_are_asked_in_its_place() {
    let _scene = Scene::set();
    let folder = tempfile::tempdir().unwrap();
    let ms = CHECK_AFTER.as_millis().try_into().unwrap();
    let serve = Setup::on(folder.path()).checks_after(ms).start();
    let connect = |group: &str| Producer::connect(serve.broker, group, "Deaf").unwrap();
    let mut hearing = connect("half-deaf");
    let mut deaf = connect("half-deaf");
    let mut other = connect("other");
    let own = hearing.halfs(1, 10).unwrap();
    let unheard: Vec<Sent> = (0..HALFS / 20)
        .flat_map(|_| deaf.halfs(20, BODY).unwrap())
        .collect();
    let before = serve.resident();

    // Another group's checks come when they are due.
    let others = other.halfs(50, 100).unwrap();
    let mut late = Duration::ZERO;
    for _ in &others {
        let check = other.check().unwrap();
        let sent = others.iter().find(|half| half.key == check.key).unwrap();
        late = late.max(check.at.duration_since(sent.at).saturating_sub(CHECK_AFTER));
    }
    assert!(
        late < Duration::from_secs(2),
        "other checks were {late:?} late"
    );
    let ended = other.end(&others, Decision::Commit).unwrap();
    assert!(ended.iter().all(|reply| reply.code == 0));

    // So do those of the deaf one's halfs, to another member of its group, once it has been silent for long enough.
    let mut waiting: HashSet<&str> = unheard.iter().map(|half| half.key.as_str()).collect();
    let since = Instant::now();
    let mut most = before;
    while !waiting.is_empty() {
        let check = hearing.check().unwrap();
        waiting.remove(check.key.as_str());
        hearing.answer_unknown(&check).unwrap();
        most = most.max(serve.resident());
    }
    let took = since.elapsed();
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{} MiB more", grown / MIB);

    let undecided = listed::undecided(&serve, "&group=half-deaf");
    for half in unheard.iter().chain(&own) {
        assert!(undecided.contains(&half.key), "{} is not listed", half.key);
    }
    let ended = hearing.end(&unheard, Decision::Commit).unwrap();
    assert!(
        ended.iter().all(|reply| reply.code == 0),
        "all are decidable"
    );
    let undecided = listed::undecided(&serve, "&group=half-deaf");
    assert_eq!(undecided.len(), 1, "{undecided:?}");
    eprintln!(
        "{HALFS} halfs of a deaf producer were asked about elsewhere after {took:.1?}; others' checks at most {late:?} late; \
         {} MiB resident before, {} at most",
        before / MIB,
        most / MIB
    );
}
