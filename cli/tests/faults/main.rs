//! What the machine can do to a broker: `escrow serve` as a process of its own is frozen, starved, filled up and lied to
//! while producers work, and afterwards the ledger of what was acknowledged decides.
//!
//! The tests run one at a time: each measures, or fills something up. `ESCROW_FAULTS=n` strikes n times as often.

#[path = "../kill_nine/audit.rs"]
mod audit;
#[path = "../kill_nine/ledger.rs"]
mod ledger;
#[path = "../kill_nine/load.rs"]
mod load;
#[path = "../kill_nine/random.rs"]
mod random;
#[path = "../kill_nine/wire.rs"]
mod wire;

mod broker;
mod clock;
mod crowd;
mod deaf;
mod descriptors;
mod disk;
mod failing_disk;
mod frozen;
mod full_disk;
mod listed;
mod mounts;
mod producer;
mod scene;
mod traffic;
mod volume;
