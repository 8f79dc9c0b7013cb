//! What a consumer was handed, in order of arrival.

use std::sync::Arc;
use std::time::{Duration, Instant};

use escrow_client::{Outcome, ReceivedMessage};
use parking_lot::Mutex;

use crate::scene::until;

#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Vec<Arrival>>>);

#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) message: Arc<ReceivedMessage>,
    pub(crate) at: Instant,
}

pub(crate) fn body(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

/// The names of the properties.
pub(crate) fn property_names(message: &ReceivedMessage) -> Vec<String> {
    let mut names: Vec<String> = message.properties().map(|(n, _)| n.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

impl Inbox {
    /// A handler that puts every message here and answers what `outcome` says.
    pub(crate) fn handler<F>(
        &self,
        outcome: F,
    ) -> impl Fn(Arc<ReceivedMessage>) -> std::future::Ready<Outcome> + Send + Sync + 'static
    where
        F: Fn(&ReceivedMessage) -> Outcome + Send + Sync + 'static,
    {
        let inbox = self.clone();
        move |message| {
            inbox.add(&message);
            std::future::ready(outcome(&message))
        }
    }

    pub(crate) fn add(&self, message: &Arc<ReceivedMessage>) {
        self.0.lock().push(Arrival {
            message: Arc::clone(message),
            at: Instant::now(),
        });
    }

    pub(crate) fn all(&self) -> Vec<Arrival> {
        self.0.lock().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.all().iter().map(|a| body(&a.message)).collect()
    }

    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut bodies = self.bodies();
        bodies.sort();
        bodies
    }

    /// Waits for so many messages; what is missing then, an expectation tells.
    pub(crate) async fn wait_for(&self, count: usize, seconds: u64) -> bool {
        until(Duration::from_secs(seconds), || self.len() >= count).await
    }
}
