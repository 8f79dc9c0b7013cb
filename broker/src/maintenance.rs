//! The maintenance thread: what takes long and need not hold the log thread up.
//!
//! It writes checkpoints that the log thread has begun, and between them fills the next segment
//! with zeros, one small step at a time.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use escrow_store::{CheckpointJob, Preallocator};

use crate::log_thread::LogHandle;

/// How often it looks whether a segment should be prepared.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Between two steps of a mebibyte at the least: about as fast as a busy log needs it. Faster, the
/// dirty pages would be in the way of the log's own syncs.
const PAUSE_MIN: Duration = Duration::from_millis(8);

/// Between two steps at the most.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What a step fills.
const STEP_BYTES: u64 = 1 << 20;

/// After a failed step: the log thread makes its own segment meanwhile.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// Starts the thread. It ends when the sender of `jobs` has gone.
pub(crate) fn start(
    preallocator: Preallocator,
    jobs: Receiver<CheckpointJob>,
    log: LogHandle,
) -> std::io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("escrow-maintenance".to_owned());
    thread.spawn(move || run(&preallocator, &jobs, &log))
}

fn run(preallocator: &Preallocator, jobs: &Receiver<CheckpointJob>, log: &LogHandle) {
    let mut pause = LOOK_EVERY;
    let mut last = (Instant::now(), preallocator.written());
    loop {
        match jobs.recv_timeout(pause) {
            Ok(job) => log.checkpointed(job.run()),
            Err(RecvTimeoutError::Timeout) => {
                let now = (Instant::now(), preallocator.written());
                let grown = now.1.0.saturating_sub(last.1.0);
                pause = step(preallocator, pause_after(now.0 - last.0, grown));
                last = now;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One step of preparing the next segment, and the pause until the next.
fn step(preallocator: &Preallocator, pause: Duration) -> Duration {
    match preallocator.step() {
        Ok(true) => pause,
        Ok(false) => LOOK_EVERY,
        Err(error) => {
            tracing::warn!(%error, "next log segment not prepared; it will be made when needed");
            FAILURE_PAUSE
        }
    }
}

/// The pause with which the spare fills half as fast again as the log, which grew by `grown` bytes in
/// this time. Who waits for one of the few syncs of a calm log hardly ever meets one of the spare's.
fn pause_after(elapsed: Duration, grown: u64) -> Duration {
    let scaled = elapsed.as_nanos() * u128::from(2 * STEP_BYTES);
    let pause = scaled.checked_div(u128::from(grown) * 3);
    let pause = pause.and_then(|nanos| u64::try_from(nanos).ok());
    pause
        .map_or(PAUSE_MAX, Duration::from_nanos)
        .clamp(PAUSE_MIN, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spare_fills_faster_than_the_log_and_no_faster_than_it_must() {
        let second = Duration::from_secs(1);
        assert_eq!(pause_after(second, 0), PAUSE_MAX);
        assert_eq!(pause_after(second, 1000), PAUSE_MAX);
        assert_eq!(pause_after(second, 40 << 20), second / 60);
        assert_eq!(pause_after(second, 1 << 30), PAUSE_MIN);
        let briefly = Duration::from_millis(8);
        assert_eq!(pause_after(briefly, 64 << 10), briefly * 32 / 3);
    }
}
