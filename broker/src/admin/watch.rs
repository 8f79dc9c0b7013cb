//! `GET /api/pending/watch`: the list again and again, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::Admin;
use super::failure::Failure;
use super::pending::Question;
use crate::config::parse_duration;
use crate::shared::Phase;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Somebody who watches.
struct Watcher {
    admin: Admin,
    question: Question,
    interval: Duration,
    begun: bool,
    ended: bool,
    /// Given back when the watcher goes.
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if self.begun {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.admin.shared.phase.reached(Phase::Draining) => return None,
            }
        }
        self.begun = true;
        match self.question.clone().ask(&self.admin.shared).await {
            Ok(answer) => Event::default().event("pending").json_data(answer).ok(),
            Err(failure) => {
                self.ended = true;
                Some(Event::default().event("failed").data(failure.error()))
            }
        }
    }
}

/// Sends an event `pending` with the first page every `interval`, the first at once, until the reader goes or
/// the broker drains. An error ends it with an event `failed`.
pub(super) async fn watch(
    State(admin): State<Admin>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let interval = match parameters.get("interval") {
        Some(text) => parse_duration(text)
            .map_err(|problem| Failure::bad_request(format!("interval: {problem}")))?
            .max(INTERVAL_MIN),
        None => INTERVAL_DEFAULT,
    };
    let question = Question::read(&parameters)?;
    let place = Arc::clone(&admin.watchers).try_acquire_owned();
    let _place = place.map_err(|_| Failure::busy("too many watchers"))?;
    let watcher = Watcher {
        admin,
        question,
        interval,
        begun: false,
        ended: false,
        _place,
    };
    Ok(Sse::new(stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    })))
}
