//! What has to be done from time to time: members that fell silent, locks that ran out, offsets to disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::remoting::heartbeat;
use crate::shared::{Phase, Shared};

/// How often silence is looked for; Apache does it every 10 s.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Ends when the broker drains.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut look = interval(LOOK_EVERY);
    let mut save = interval(shared.settings.flush_consumer_offset_interval);
    save.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => expire(&shared),
            _ = save.tick() => save_offsets(&shared).await,
            () = shared.phase.reached(Phase::Draining) => return,
        }
    }
}

/// Removes members and locks whose owner has been silent too long; closes the connections of such members.
fn expire(shared: &Shared) {
    let now_ms = shared.clock.now().mono_ms;
    let (changes, consumers) = shared.consumers.expire(now_ms);
    for connection in consumers.into_iter().chain(shared.producers.expire(now_ms)) {
        shared.connections.close(connection);
        shared.log.left(connection);
    }
    for change in &changes {
        heartbeat::tell(shared, change);
    }
    shared.locks.expire(now_ms);
}

/// Writes the consumer offsets. A failure is told and tried again the next time.
pub(crate) async fn save_offsets(shared: &Arc<Shared>) {
    let of = Arc::clone(shared);
    let saved = tokio::task::spawn_blocking(move || of.offsets.save()).await;
    if let Err(error) = saved.map_err(io::Error::other).and_then(|saved| saved) {
        tracing::error!(%error, "consumer offsets not written; a crash now would redeliver more");
    }
}
