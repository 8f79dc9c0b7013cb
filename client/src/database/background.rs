//! Tasks that outlive the call that began them, and waiting for them at the end.
//!
//! Whatever must not stop half-way runs in a task of its own: dropping the caller's future then drops the task's
//! *result*, never its work.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// The tasks of one producer.
pub(super) struct Background {
    /// Guards are dropped anywhere, also on threads that know no runtime.
    runtime: Handle,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    closed: bool,
}

impl Background {
    /// Tasks will run on the runtime of the caller.
    pub(super) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            state: watch::Sender::default(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Runs `step` to its end, also when the returned future is dropped.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let running = self.enter();
        let task = self.runtime.spawn(async move {
            let _running = running;
            step.await
        });
        match task.await {
            Ok(result) => result,
            Err(failed) if failed.is_panic() => resume_unwind(failed.into_panic()),
            // The runtime shuts down, and this future with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Runs `task` for nobody in particular.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.enter();
        // Should the runtime be shutting down, the task is dropped here and now; connections in it want to know a
        // runtime even then.
        let _context = self.runtime.enter();
        self.runtime.spawn(async move {
            let _running = running;
            task.await;
        });
    }

    /// Lets nothing new begin, and waits until nothing runs.
    pub(super) async fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = state.wait_for(|state| state.running == 0).await;
    }

    fn enter(&self) -> Running {
        self.state.send_modify(|state| state.running += 1);
        Running(self.state.clone())
    }
}

struct Running(watch::Sender<State>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.running -= 1);
    }
}
