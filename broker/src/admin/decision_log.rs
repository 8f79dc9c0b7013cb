//! `GET /api/decisions`: what was decided, oldest first, for comparing it with what databases say.
//!
//! A page reads a bounded piece of the log, off the log thread. It may be short, even empty, and not the last.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use escrow_coordinator::source_name;
use escrow_protocol::message;
use escrow_protocol::properties::name;
use escrow_protocol::transaction::Resolution;
use escrow_store::{DecisionPage, DecisionQuery, DecisionRecord, PhysicalOffset};
use serde::Serialize;

use super::Admin;
use super::failure::Failure;
use super::half;
use crate::shared::Shared;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 500;

/// Bytes of the log that one page reads.
const PAGE_BYTES: u64 = 64 << 20;

/// Records begin at multiples of this.
const ALIGNMENT: u64 = 8;

const GROUP_BYTES_MAX: usize = 1024;

/// A page of decisions.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    decisions: Vec<Row>,
    /// The cursor of the next page; it stays good. Null when all that is durable by now was read.
    next: Option<String>,
    /// Milliseconds: what was decided before has left the log. Null if the oldest record cannot be read.
    kept_since: Option<i64>,
    /// Bytes of this page's piece of the log that are damaged and may hold decisions that are not listed.
    unreadable_bytes: u64,
}

/// A decision. What the log no longer knows is null.
#[derive(Debug, Serialize)]
struct Row {
    /// The half's `UNIQ_KEY`.
    transaction_id: Option<String>,
    topic: Option<String>,
    group: Option<String>,
    outcome: &'static str,
    source: &'static str,
    /// Milliseconds.
    decided_at: i64,
    stored_at: Option<i64>,
    /// The half's `ESCROW_DOMAIN`.
    domain: Option<String>,
    /// The half's message id.
    id: Option<String>,
}

impl Row {
    fn new(shared: &Shared, record: DecisionRecord) -> Row {
        let image = record.image.as_deref();
        let half = image.and_then(|image| message::decode(image).ok());
        let property = |name| {
            let half = half.as_ref()?;
            half.properties().get(name).map(str::to_owned)
        };
        Row {
            transaction_id: property(name::UNIQ_KEY),
            domain: property(name::ESCROW_DOMAIN),
            outcome: match record.resolution {
                Resolution::Commit => "commit",
                Resolution::Rollback | Resolution::Unknown => "rollback",
            },
            source: source_name(record.source),
            decided_at: record.decided_at,
            stored_at: record.stored_at,
            id: record.handle.map(|handle| half::id(shared, handle)),
            topic: record.topic,
            group: record.group,
        }
    }
}

/// What is asked for.
#[derive(Debug)]
struct Question {
    group: Option<String>,
    since_ms: i64,
    cursor: Option<PhysicalOffset>,
    limit: usize,
}

impl Question {
    fn read(parameters: &HashMap<String, String>) -> Result<Question, Failure> {
        let mut question = Question {
            group: None,
            since_ms: 0,
            cursor: None,
            limit: LIMIT_DEFAULT,
        };
        for (name, value) in parameters {
            match name.as_str() {
                "group" if value.len() > GROUP_BYTES_MAX => {
                    return Err(Failure::bad_request(format!(
                        "group: longer than {GROUP_BYTES_MAX} bytes"
                    )));
                }
                "group" => question.group = Some(value.clone()),
                "since" => {
                    question.since_ms = value.parse().map_err(|_| {
                        Failure::bad_request("since: not a time in milliseconds since 1970")
                    })?;
                }
                "limit" => question.limit = half::limit(value, LIMIT_MAX)?,
                "cursor" => question.cursor = Some(cursor(value)?),
                _ => return Err(Failure::bad_request(format!("unknown parameter `{name}`"))),
            }
        }
        Ok(question)
    }

    fn ask(&self, shared: &Shared) -> Result<DecisionPage, escrow_store::Error> {
        shared.reader.decisions(&DecisionQuery {
            group: self.group.as_deref(),
            since_ms: self.since_ms,
            from: self.cursor,
            decisions_max: self.limit,
            bytes_max: PAGE_BYTES,
        })
    }
}

fn cursor(value: &str) -> Result<PhysicalOffset, Failure> {
    let offset = value.parse().ok();
    let offset = offset.filter(|offset: &u64| offset.is_multiple_of(ALIGNMENT));
    let foreign = || Failure::bad_request("cursor: not one of this API");
    offset.map(PhysicalOffset).ok_or_else(foreign)
}

/// `GET /api/decisions`.
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Result<Json<Answer>, Failure> {
    let question = Question::read(&parameters)?;
    let shared = Arc::clone(&admin.shared);
    let read = move || {
        let page = question.ask(&shared)?;
        let rows = page.decisions.into_iter();
        Ok(Answer {
            decisions: rows.map(|record| Row::new(&shared, record)).collect(),
            next: page.next.map(|next| next.0.to_string()),
            kept_since: page.kept_since,
            unreadable_bytes: page.unreadable_bytes,
        })
    };
    let answer = tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Failure::internal(error.to_string()))?;
    answer
        .map(Json)
        .map_err(|error: escrow_store::Error| Failure::internal(error.to_string()))
}
