//! `kill -9` at random moments under transactional load, with a ledger of what was acknowledged: no acknowledged
//! half, decision or message is lost, nothing rolled back or undecided is delivered, every committed message is in
//! its queue exactly once, queue offsets are dense, and no decided half is checked (G1 to G5, G8).

#[path = "kill_nine/audit.rs"]
mod audit;
#[path = "kill_nine/ledger.rs"]
mod ledger;
#[path = "kill_nine/load.rs"]
mod load;
#[path = "kill_nine/process.rs"]
mod process;
#[path = "kill_nine/random.rs"]
mod random;
#[path = "kill_nine/wire.rs"]
mod wire;

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use audit::Audit;
use ledger::Ledger;
use load::Ended;
use process::Serve;
use random::Random;

const KILLS: u64 = 50;
const PRODUCERS: u64 = 4;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_undecided_is_delivered() {
    let seed = std::env::var("ESCROW_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64)
        });
    eprintln!("ESCROW_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let ledger = Mutex::new(Ledger::default());
    let mut audit = Audit::default();

    for kill in 0..KILLS {
        let transaction_flush = if kill % 2 == 0 { "sync" } else { "follow" };
        let mut serve = Serve::start(folder.path(), transaction_flush);
        // Most lives are short; some are long enough for checks to be sent and answered by silence.
        let life = if kill % 10 == 9 {
            2_500
        } else {
            20 + random.below(280)
        };
        let broker = serve.broker;
        std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let random = Random::new(random.below(u64::MAX) ^ producer);
                let ledger = &ledger;
                scope.spawn(move || {
                    match load::run(broker, ledger, random, &AtomicBool::new(true)) {
                        Ended::Broken => {}
                        Ended::Told => unreachable!("nobody tells it to"),
                        Ended::Refused(reply) => panic!("refused: {reply:?}"),
                    }
                });
            }
            // Not a wait for something: the moment of the crash is what the test draws.
            std::thread::sleep(Duration::from_millis(life));
            serve.kill();
        });

        let serve = Serve::start(folder.path(), transaction_flush);
        let mut ledger = ledger.lock().unwrap();
        audit.queues(serve.broker, &mut ledger).unwrap();
        Audit::decisions_stand(serve.broker, &ledger, 20).unwrap();
        Audit::settle(serve.broker, &mut ledger, 20).unwrap();
        audit.queues(serve.broker, &mut ledger).unwrap();
        // The audited broker is killed as well (drop), with decisions of its own in the log.
    }

    let serve = Serve::start(folder.path(), "sync");
    let mut ledger = ledger.into_inner().unwrap();
    Audit::settle(serve.broker, &mut ledger, usize::MAX).unwrap();
    audit.queues(serve.broker, &mut ledger).unwrap();
    Audit::default().queues(serve.broker, &mut ledger).unwrap();
    Audit::decisions_stand(serve.broker, &ledger, usize::MAX).unwrap();
    let (decided, delivered) = ledger.totals();
    eprintln!(
        "{} kills, {decided} decisions acknowledged, {delivered} messages delivered once",
        KILLS * 2
    );
    assert!(decided > 0 && delivered > 0);
}
