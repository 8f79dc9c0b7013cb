//! Stopping a worker exactly at a step of the protocol: its producer tells each step as a tracing event, and whoever
//! handles the event holds up the thread that takes the step.

use std::sync::{Condvar, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::talk::Event;

const TARGET: &str = "escrow_client::database";

/// Which step is waited for.
struct Watch {
    step: String,
    /// Hold up the thread; otherwise only tell.
    park: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotYet,
    Armed,
    Reached,
    Released,
}

/// The one watch of this process.
#[derive(Clone, Copy)]
pub(crate) struct Steps(&'static Watch);

impl Steps {
    /// Listens for `step` from now on, but does nothing about it until armed.
    pub(crate) fn watch(step: String, park: bool) -> Self {
        let watch = Box::leak(Box::new(Watch {
            step,
            park,
            state: Mutex::new(State::NotYet),
            changed: Condvar::new(),
        }));
        tracing_subscriber::registry().with(Listener(watch)).init();
        Self(watch)
    }

    pub(crate) fn arm(self) {
        self.0.set(State::Armed);
    }

    /// Lets a parked thread go on.
    pub(crate) fn release(self) {
        if self.reached() {
            self.0.set(State::Released);
        }
    }

    /// Whether the step was taken since it was armed.
    pub(crate) fn reached(self) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Reached | State::Released)
    }
}

impl Watch {
    fn set(&self, new: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.changed.notify_all();
    }

    fn take(&self, tx_id: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Armed {
            return;
        }
        *state = State::Reached;
        Event::Step(tx_id.to_owned()).tell();
        if self.park {
            // The rest of the process goes on meanwhile, and answers checks.
            tokio::task::block_in_place(|| {
                let held = self
                    .changed
                    .wait_while(state, |state| *state == State::Reached);
                drop(held);
            });
        }
    }
}

struct Listener(&'static Watch);

/// Not by a filter of its own: that one forgets what is enabled when somebody on the same thread asks `enabled!`, as
/// sqlx does after each statement.
impl<S: Subscriber> Layer<S> for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target() {
            TARGET => Interest::always(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.step == self.0.step {
            self.0.take(&fields.tx_id);
        }
    }
}

#[derive(Default)]
struct Fields {
    step: String,
    tx_id: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "step" {
            value.clone_into(&mut self.step);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "tx_id" {
            self.tx_id = format!("{value:?}");
        }
    }
}
