//! What an operator may do about a half: decide it, have it checked, take it out of parking.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestExt};
use escrow_coordinator::{CheckNow, DecideRefused, Decided, Decision, ResumeRefused};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::failure::Failure;
use super::half;
use super::listener::From;
use super::pending::view;
use crate::log_thread::Operator;

/// Bytes of an operator's name, and of a reason; the log keeps no more of a reason.
const NAME_BYTES_MAX: usize = 128;
const REASON_BYTES_MAX: usize = 256;

/// Who does it and why; both are kept with what was done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    reason: String,
    operator: String,
}

/// Read from the body of a request and the address that it came from.
impl FromRequest<Admin> for Operator {
    type Rejection = Response;

    async fn from_request(mut request: Request, admin: &Admin) -> Result<Operator, Response> {
        is_json(request.headers()).map_err(IntoResponse::into_response)?;
        let from: ConnectInfo<From> = request
            .extract_parts()
            .await
            .map_err(IntoResponse::into_response)?;
        let body = Bytes::from_request(request, admin)
            .await
            .map_err(IntoResponse::into_response)?;
        word(&body, from.0.0).map_err(IntoResponse::into_response)
    }
}

fn word(body: &Bytes, from: SocketAddr) -> Result<Operator, Failure> {
    let word: Word = serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("body: {error}; it needs reason and operator"))
    })?;
    let (reason, name) = (word.reason.trim(), word.operator.trim());
    for (what, text, max) in [
        ("reason", reason, REASON_BYTES_MAX),
        ("operator", name, NAME_BYTES_MAX),
    ] {
        if text.is_empty() || text.len() > max {
            return Err(Failure::bad_request(format!(
                "{what}: needs from 1 to {max} bytes"
            )));
        }
    }
    Ok(Operator {
        name: name.to_owned(),
        address: from.to_string(),
        reason: reason.to_owned(),
    })
}

/// Anything else could be sent by a form on a foreign page.
fn is_json(headers: &HeaderMap) -> Result<(), Failure> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Failure::media_type())
}

/// `POST /api/pending/{id}/commit`.
pub(super) async fn commit(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    operator: Operator,
) -> Result<Json<Value>, Failure> {
    decide(&admin, &id, Decision::Commit, operator).await
}

/// `POST /api/pending/{id}/rollback`.
pub(super) async fn rollback(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    operator: Operator,
) -> Result<Json<Value>, Failure> {
    decide(&admin, &id, Decision::Rollback, operator).await
}

async fn decide(
    admin: &Admin,
    id: &str,
    decision: Decision,
    operator: Operator,
) -> Result<Json<Value>, Failure> {
    let seq = half::find(&admin.shared, id).await?;
    tracing::info!(
        id,
        decision = decision.name(),
        operator = operator.name,
        reason = operator.reason,
        "decision by an operator"
    );
    match admin.shared.log.decide(seq, decision, operator).await? {
        Ok(decided) => Ok(Json(told(id, decided))),
        Err(refused) => Err(refusal(&refused)),
    }
}

fn told(id: &str, decided: Decided) -> Value {
    let published = decided.published.map(|at| {
        json!({ "topic": at.topic, "queue_id": at.queue_id, "queue_offset": at.queue_offset.0 })
    });
    json!({
        "id": id,
        "decision": decided.decision.name(),
        // The same was decided before; nothing was published now.
        "repeated": decided.repeated,
        "published": published,
    })
}

fn refusal(refused: &DecideRefused) -> Failure {
    let error = refused.to_string();
    match refused {
        DecideRefused::NotFound => Failure::not_found(error),
        DecideRefused::NoReason => Failure::bad_request(error),
        DecideRefused::Opposite(_) | DecideRefused::TopicMissing(_) => Failure::conflict(error),
        DecideRefused::Store(_) => Failure::busy(error),
    }
}

/// `POST /api/pending/{id}/check`: its producer group is asked now.
pub(super) async fn check(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    is_json(&headers)?;
    let seq = half::find(&admin.shared, &id).await?;
    let result = match admin.shared.log.check_now(seq).await? {
        CheckNow::Queued => "queued",
        CheckNow::InFlight => "in flight",
        CheckNow::NobodyToAsk => "nobody to ask",
        CheckNow::NotUndecided => {
            return Err(Failure::conflict(
                "the half is decided, or there is no such half",
            ));
        }
    };
    Ok(Json(json!({ "id": id, "check": result })))
}

/// `POST /api/pending/{id}/resume`: a parked half goes back into the check schedule.
pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    operator: Operator,
) -> Result<Json<Value>, Failure> {
    let seq = half::find(&admin.shared, &id).await?;
    let handle = view(&admin.shared, seq).await?.handle;
    match admin.shared.log.resume(handle, operator).await? {
        Ok(_) => Ok(Json(json!({ "id": id, "state": "pending" }))),
        Err(refused @ ResumeRefused::NotParked) => Err(Failure::conflict(refused.to_string())),
        Err(refused) => Err(Failure::busy(refused.to_string())),
    }
}
