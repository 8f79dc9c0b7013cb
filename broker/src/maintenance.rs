//! The maintenance thread: what takes long and need not hold the log thread up.
//!
//! It writes checkpoints that the log thread has begun, and between them fills the next segment
//! with zeros, one small step at a time.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use escrow_store::{CheckpointJob, Preallocator};

use crate::log_thread::LogHandle;

/// How often it looks whether a segment should be prepared.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Between two steps of a mebibyte: about as fast as a busy log needs it. Faster, the dirty pages
/// would be in the way of the log's own syncs.
const STEP_PAUSE: Duration = Duration::from_millis(8);

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
    loop {
        match jobs.recv_timeout(pause) {
            Ok(job) => log.checkpointed(job.run()),
            Err(RecvTimeoutError::Timeout) => pause = step(preallocator),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One step of preparing the next segment, and the pause until the next.
fn step(preallocator: &Preallocator) -> Duration {
    match preallocator.step() {
        Ok(true) => STEP_PAUSE,
        Ok(false) => LOOK_EVERY,
        Err(error) => {
            tracing::warn!(%error, "next log segment not prepared; it will be made when needed");
            FAILURE_PAUSE
        }
    }
}
