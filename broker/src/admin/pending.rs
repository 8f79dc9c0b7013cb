//! Listing undecided halfs and showing one of them with its history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use escrow_coordinator::{Budget, Filter, HalfView, Page};
use escrow_store::{HalfSeq, HalfState};
use serde::Serialize;

use super::Admin;
use super::failure::Failure;
use super::half::{self, Row, Step};
use crate::config::parse_duration;
use crate::shared::Shared;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 500;

/// Halfs that one page looks at. The log thread stands still meanwhile, a few milliseconds at most.
const SCAN_MAX: usize = 50_000;

/// Longer filters match nothing.
const TEXT_BYTES_MAX: usize = 1024;

/// Which halfs, and how many.
#[derive(Debug, Clone)]
pub(super) struct Question {
    filter: Filter,
    cursor: HalfSeq,
    limit: usize,
}

/// A page of halfs.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// The cursor of the next page. A page may be short, even empty, and not the last.
    pub(super) next: Option<String>,
}

/// A half and what happened to it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    row: Row,
    first_check_after_ms: u64,
    checks_max: u32,
    history: Vec<Step>,
}

impl Question {
    pub(super) fn read(parameters: &HashMap<String, String>) -> Result<Question, Failure> {
        let mut question = Question {
            filter: Filter::default(),
            cursor: HalfSeq(0),
            limit: LIMIT_DEFAULT,
        };
        for (name, value) in parameters {
            question.take(name, value)?;
        }
        Ok(question)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        if value.len() > TEXT_BYTES_MAX {
            return Err(Failure::bad_request(format!(
                "{name}: longer than {TEXT_BYTES_MAX} bytes"
            )));
        }
        let text = || Some(value.to_owned());
        match name {
            "topic" => self.filter.topic = text(),
            "group" => self.filter.group = text(),
            "key" => self.filter.unique_key = text(),
            "state" => self.filter.state = Some(state(value)?),
            "older_than" => self.filter.age_min_ms = Some(age(name, value)?),
            "younger_than" => self.filter.age_max_ms = Some(age(name, value)?),
            "limit" => self.limit = half::limit(value, LIMIT_MAX)?,
            "cursor" => {
                let cursor = value
                    .parse()
                    .map_err(|_| Failure::bad_request("cursor: not one of this API"))?;
                self.cursor = HalfSeq(cursor);
            }
            // Of the watch.
            "interval" => {}
            _ => return Err(Failure::bad_request(format!("unknown parameter `{name}`"))),
        }
        Ok(())
    }

    /// Looks for one page.
    pub(super) async fn ask(self, shared: &Arc<Shared>) -> Result<Answer, Failure> {
        let (filter, cursor) = (self.filter.clone(), self.cursor);
        let budget = Budget {
            rows_max: self.limit,
            scan_max: SCAN_MAX,
        };
        let topics = Arc::clone(&shared.topics);
        let look = shared.log.look(move |store, coordinator, now| {
            coordinator.list(store, now, &filter, cursor, budget, &|topic| {
                topics.write_queues(topic)
            })
        });
        let page = look.await?;
        let next = page.next.map(|seq| seq.0.to_string());
        let rows = rows(shared, page, self.filter.unique_key).await?;
        Ok(Answer { rows, next })
    }
}

fn state(value: &str) -> Result<HalfState, Failure> {
    match value {
        "pending" => Ok(HalfState::Pending),
        "parked" => Ok(HalfState::Parked),
        _ => Err(Failure::bad_request("state: neither pending nor parked")),
    }
}

fn age(name: &str, value: &str) -> Result<u64, Failure> {
    let age: Duration = parse_duration(value)
        .map_err(|problem| Failure::bad_request(format!("{name}: {problem}")))?;
    Ok(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Reads the records of a page, off the async threads. The filter by key compares hashes; here the keys
/// themselves are.
async fn rows(shared: &Arc<Shared>, page: Page, key: Option<String>) -> Result<Vec<Row>, Failure> {
    let of = Arc::clone(shared);
    let now_ms = shared.clock.wall_ms();
    let read = move || {
        let rows = page
            .rows
            .into_iter()
            .map(|view| half::row(&of, view, now_ms));
        rows.filter(|row| key.is_none() || row.unique_key == key)
            .collect()
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Failure::internal(error.to_string()))
}

/// `GET /api/pending`.
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Json<Answer>, Failure> {
    Ok(Json(Question::read(&parameters)?.ask(&admin.shared).await?))
}

/// `GET /api/pending/{id}`: also of halfs that are decided, as long as they are kept.
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Failure> {
    let shared = &admin.shared;
    let seq = half::find(shared, &id).await?;
    let view = view(shared, seq).await?;
    let policy = view.policy;
    let of = Arc::clone(shared);
    let now_ms = shared.clock.wall_ms();
    let read = move || (half::row(&of, view, now_ms), of.reader.op_history(seq));
    let (row, history) = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Failure::internal(error.to_string()))?;
    let history = history.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Json(Shown {
        row,
        first_check_after_ms: policy.first_check_ms.0,
        checks_max: policy.checks_max.0,
        history: history.into_iter().map(Step::from).collect(),
    }))
}

/// The half with this number as the coordinator sees it.
pub(super) async fn view(shared: &Arc<Shared>, seq: HalfSeq) -> Result<HalfView, Failure> {
    let topics = Arc::clone(&shared.topics);
    let look = shared.log.look(move |store, coordinator, now| {
        coordinator.view(store, now, seq, &|topic| topics.write_queues(topic))
    });
    let unknown = || Failure::not_found("no half message has this id, or it is gone");
    look.await?.ok_or_else(unknown)
}
