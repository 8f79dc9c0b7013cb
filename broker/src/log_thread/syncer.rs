//! The sync thread: waits for the disk so that the log thread need not.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use escrow_store::{SyncDone, SyncJob};

use super::inbox::Inbox;

/// The log thread's side. At most one sync is on its way at a time.
pub(super) struct Syncer {
    jobs: Sender<SyncJob>,
    done: Receiver<SyncDone>,
}

impl Syncer {
    /// Starts the thread, which wakes whoever waits at `inbox` when a sync is over. It ends with the log thread.
    pub(super) fn start(inbox: Arc<Inbox>) -> std::io::Result<Syncer> {
        let (jobs, to_do) = channel::<SyncJob>();
        let (tell, done) = channel();
        let thread = std::thread::Builder::new().name("escrow-sync".to_owned());
        thread.spawn(move || {
            for job in to_do {
                let told = tell.send(job.run());
                inbox.wake();
                if told.is_err() {
                    return;
                }
            }
        })?;
        Ok(Syncer { jobs, done })
    }

    pub(super) fn begin(&self, job: SyncJob) {
        self.jobs
            .send(job)
            .expect("the sync thread outlives this one");
    }

    /// The outcome, if it is there.
    pub(super) fn done(&self) -> Option<SyncDone> {
        match self.done.try_recv() {
            Ok(done) => Some(done),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the sync thread has panicked"),
        }
    }

    /// Waits for the outcome of the sync that is on its way.
    pub(super) fn wait(&self) -> SyncDone {
        self.done.recv().expect("the sync thread outlives this one")
    }
}
