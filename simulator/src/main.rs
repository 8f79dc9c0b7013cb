//! `simulator`: runs seeds and says what broke.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use escrow_simulator::{Outcome, Tally, Telling, run};

/// Runs the broker's store and coordinator through simulated histories. Ends with 1 if a guarantee is broken.
#[derive(Parser)]
struct Arguments {
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the history.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run the seeds from 0 up to and without this number.
    #[arg(long, default_value_t = 0)]
    seeds: u64,
    /// Then run fresh seeds for so many seconds.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Then run fresh seeds for so many hours.
    #[arg(long, default_value_t = 0.0)]
    hours: f64,
    /// Say nothing of faults, only whether all is well.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let telling = Telling {
        is_printed: arguments.trace,
        is_kept: false,
    };
    let mut tally = Tally::default();
    let until = Instant::now()
        + Duration::from_secs(arguments.seconds)
        + Duration::from_secs_f64(arguments.hours.max(0.0) * 3_600.0);
    let fixed = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => 0..arguments.seeds,
    };
    let first_fresh = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |now| now.as_nanos() as u64)
        >> 8;
    let fresh = (first_fresh..).take_while(|_| Instant::now() < until);
    for seed in fixed.chain(fresh) {
        let outcome = run(seed, telling);
        tally.merge(&outcome.tally);
        if !is_well(&outcome) {
            return ExitCode::FAILURE;
        }
        if arguments.seed.is_some() {
            println!(
                "trace {:032x}, {} lines",
                outcome.trace_hash, outcome.trace_lines
            );
        }
    }
    if !arguments.quiet {
        print!("{tally}");
    }
    ExitCode::SUCCESS
}

fn is_well(outcome: &Outcome) -> bool {
    let Some(broken) = &outcome.broken else {
        return true;
    };
    println!("seed {}: {broken}", outcome.seed);
    println!(
        "replay: cargo run -p escrow-simulator --bin simulator -- --seed {} --trace",
        outcome.seed
    );
    false
}
