//! The end of a committed transaction: telling the broker, which nobody has to wait for.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::transaction::Delivery;

/// The messages of a committed transaction on their way: await it to learn how far the broker is with them, of several the
/// one that is least far.
///
/// Whether it is awaited or dropped, the producer tells the broker in the background. Correctness does not depend on it:
/// a broker that is not told asks, and the database has the answer. So a service need not wait for it before it answers
/// its own caller; [`close`](super::BoundProducer::close) waits for what is still under way.
#[derive(Debug)]
pub struct Delivering(oneshot::Receiver<Delivery>);

impl Delivering {
    pub(super) fn new(told: oneshot::Receiver<Delivery>) -> Self {
        Self(told)
    }
}

impl Future for Delivering {
    type Output = Delivery;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Delivery> {
        // An error means that the runtime shuts down: the broker will ask.
        let told = Pin::new(&mut self.0).poll(context);
        told.map(|told| told.unwrap_or(Delivery::Deferred(Error::Closed)))
    }
}
