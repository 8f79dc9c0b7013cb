//! What an operator is told when a request cannot be served: a status and one sentence as JSON.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::log_thread::LogError;

/// A refused or failed request.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>) -> Failure {
        Failure {
            status,
            error: error.into(),
        }
    }

    pub(super) fn error(&self) -> &str {
        &self.error
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn unauthorized() -> Failure {
        Failure::new(
            StatusCode::UNAUTHORIZED,
            "the admin token is needed: Authorization: Bearer TOKEN",
        )
    }

    pub(super) fn forbidden(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn method() -> Failure {
        Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path does not take this method",
        )
    }

    pub(super) fn media_type() -> Failure {
        Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json",
        )
    }

    /// What was asked for contradicts what is.
    pub(super) fn conflict(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, error)
    }

    pub(super) fn busy(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    pub(super) fn internal(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

/// Gives refusals of the HTTP library itself, a body too long or a path that is no text, the form of ours.
pub(super) async fn as_json(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    Failure::new(status, status.canonical_reason().unwrap_or("refused")).into_response()
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        Failure::busy(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}
