//! The application's side of a push consumer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::message::ReceivedMessage;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done: it need not come again.
    Consumed,
    /// It shall come again: later and on any member of the group, or, where order counts, here and next.
    RetryLater,
}

/// Does the work for each message. A panic counts as [`Outcome::RetryLater`].
///
/// A message may come more than once; work that must not be done twice has to recognise it by
/// [`ReceivedMessage::id`].
pub trait Handler: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, message: Arc<ReceivedMessage>) -> impl Future<Output = Outcome> + Send;
}

impl<F, Fut> Handler for F
where
    F: Fn(Arc<ReceivedMessage>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send,
{
    async fn handle(&self, message: Arc<ReceivedMessage>) -> Outcome {
        self(message).await
    }
}

type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Any handler.
#[derive(Clone)]
pub(super) struct ErasedHandler(Arc<dyn Fn(Arc<ReceivedMessage>) -> Pending + Send + Sync>);

impl ErasedHandler {
    pub(super) fn new(handler: impl Handler) -> Self {
        let handler = Arc::new(handler);
        Self(Arc::new(move |message| {
            let handler = Arc::clone(&handler);
            Box::pin(async move { handler.handle(message).await })
        }))
    }

    /// Handles one message; dropping the future stops the handler at its next await point.
    pub(super) async fn handle(&self, message: &Arc<ReceivedMessage>) -> Outcome {
        // A task of its own, because a panic must not take more with it than this one message.
        let mut task = JoinSet::new();
        task.spawn((self.0)(Arc::clone(message)));
        match task.join_next().await {
            Some(Ok(outcome)) => outcome,
            _ => {
                tracing::error!(id = message.id(), "the handler panicked");
                Outcome::RetryLater
            }
        }
    }
}
