//! Tasks that a shutdown waits for.

use std::future::Future;

use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Spawns tasks and knows when the last one has ended.
pub(crate) struct Tasks {
    /// Every task holds a clone; the channel ends with the last of them.
    held: Mutex<Option<mpsc::Sender<()>>>,
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Tasks {
    pub(crate) fn new() -> Tasks {
        let (held, ended) = mpsc::channel(1);
        Tasks {
            held: Mutex::new(Some(held)),
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Spawns, unless the broker is past finishing what it works on.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Some(held) = self.held.lock().clone() else {
            return;
        };
        tokio::spawn(async move {
            work.await;
            drop(held);
        });
    }

    /// Starts no more tasks and waits for those that run.
    pub(crate) async fn finish(&self) {
        self.held.lock().take();
        // Nobody sends: the wait ends with the last holder.
        let _ = self.ended.lock().await.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finish_waits_for_what_was_started_and_starts_nothing_more() {
        let tasks = Tasks::new();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (done, mut seen) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            let _ = gone.await;
            let _ = done.send(());
        });
        let finish = tasks.finish();
        let release = async { go.send(()) };
        let ((), _) = tokio::join!(finish, release);
        assert_eq!(seen.try_recv(), Ok(()));
        tasks.spawn(async { panic!("started after the end") });
    }
}
