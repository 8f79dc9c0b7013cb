//! Work that outlives the call that began it, and waiting for it at the end.
//!
//! Whatever must not stop half-way is a step: its caller drives it, and when the caller goes away a task goes on with it.
//! So dropping a future drops the step's *result*, never its work, and nobody pays for a task who stays to the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The steps and tasks of one producer.
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

    /// Runs `step` to its end, also when the returned future is dropped once it has been polled.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        step: impl Future<Output = T> + Send + 'static,
    ) -> T {
        Step {
            runtime: self.runtime.clone(),
            left: Some((Box::pin(step), self.enter())),
        }
        .await
    }

    /// Runs `task` for nobody in particular.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.enter();
        spawn(&self.runtime, async move {
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
        // Nobody waits for more.
        self.state.send_if_modified(|state| {
            state.running += 1;
            false
        });
        Running(self.state.clone())
    }
}

struct Running(watch::Sender<State>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            state.running -= 1;
            state.running == 0
        });
    }
}

/// A step in the hands of its caller; dropped before its end, it goes on as a task.
struct Step<T: Send + 'static> {
    runtime: Handle,
    /// None once it is over.
    left: Option<(BoxFuture<'static, T>, Running)>,
}

impl<T: Send + 'static> Future for Step<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: a step that panics is over.
        let Some(mut left) = self.left.take() else {
            return Poll::Pending;
        };
        // Its timers and connections want a runtime, which the caller's executor may not be.
        let _context = self.runtime.enter();
        let polled = left.0.as_mut().poll(context);
        if polled.is_pending() {
            self.left = Some(left);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Step<T> {
    fn drop(&mut self) {
        if let Some((step, running)) = self.left.take() {
            spawn(&self.runtime, async move {
                let _running = running;
                drop(step.await);
            });
        }
    }
}

fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    // Should the runtime be shutting down, the task is dropped here and now; connections in it want to know a runtime
    // even then.
    let _context = runtime.enter();
    runtime.spawn(task);
}
