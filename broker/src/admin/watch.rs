//! `GET /api/pending/watch`: the list again and again, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream;

use super::Admin;
use super::failure::Failure;
use super::pending::Question;
use crate::config::parse_duration;
use crate::shared::Phase;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
const INTERVAL_MIN: Duration = Duration::from_millis(200);

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
    let events = stream::unfold(Some(true), move |step| {
        let (admin, question) = (admin.clone(), question.clone());
        async move {
            let first = step?;
            if !first {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = admin.shared.phase.reached(Phase::Draining) => return None,
                }
            }
            match question.ask(&admin.shared).await {
                Ok(answer) => {
                    let event = Event::default().event("pending");
                    Some((Ok(event.json_data(answer).unwrap_or_default()), Some(false)))
                }
                Err(_) => Some((
                    Ok(Event::default()
                        .event("failed")
                        .data("the broker is stopping")),
                    None,
                )),
            }
        }
    });
    Ok(Sse::new(events))
}
