//! What the simulator promises of itself, and a few histories as plain tests.
#![allow(missing_docs)]

use escrow_simulator::{Telling, run};

#[test]
fn the_same_seed_gives_the_same_history_to_the_last_byte() {
    let telling = Telling {
        is_kept: true,
        ..Telling::default()
    };
    for seed in [0, 4, 6] {
        let (one, other) = (run(seed, telling), run(seed, telling));
        assert!(one.trace_lines > 100, "something happens");
        assert_eq!(one.history, other.history);
        assert_eq!(one.trace_hash, other.trace_hash);
    }
}

#[test]
fn different_seeds_give_different_histories() {
    let (one, other) = (run(1, Telling::default()), run(2, Telling::default()));
    assert_ne!(one.trace_hash, other.trace_hash);
}

#[test]
fn nothing_is_broken_in_the_first_histories() {
    for seed in 0..24 {
        let outcome = run(seed, Telling::default());
        assert_eq!(
            outcome.broken, None,
            "cargo run -p escrow-simulator --bin simulator -- --seed {seed} --trace"
        );
    }
}

#[test]
fn every_kind_of_fault_is_met_in_the_first_histories() {
    let mut tally = escrow_simulator::Tally::default();
    for seed in 0..60 {
        tally.merge(&run(seed, Telling::default()).tally);
    }
    for fault in [
        "power loss",
        "process killed",
        "crash in the middle of a disk operation",
        "failed write",
        "failed sync",
        "failed sync that forgets what reads still show",
        "forgotten bytes gone from the cache",
        "failed read",
        "disk filled up",
        "bit flipped in the log",
        "bit flipped in the log near another",
        "bit flipped in a derived file",
        "torn or unsynced tail cut",
        "request lost",
        "request late",
        "request doubled",
        "reply lost",
        "half sent again",
        "checkers of a group gone for long",
        "connection closed",
        "clock step",
        "topic deleted",
        "sync beside later rounds",
        "crash while a sync is on its way",
        "failed sync beside later rounds",
        "consumer restarted",
        "delayed message handed over twice",
    ] {
        assert!(tally.faults.contains_key(fault), "no {fault} in {tally}");
    }
}
