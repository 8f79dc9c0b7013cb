//! The operator's HTTP side: health, metrics and a JSON API about what is pending.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"status":"ok"}`, or 503 and why not |
//! | `GET /metrics` | Prometheus text |
//! | `GET /api/status` | what is pending and parked, rates, the oldest, who has nobody to ask |
//! | `GET /api/topics`, `GET /api/groups` | what there is |
//! | `GET /api/groups/{group}/watermark` | up to when everything of a producer group is decided |
//! | `GET /api/decisions` | what was decided, oldest first: `{"decisions":[..],"next":cursor}`; `group`, `since`, `limit`, `cursor` |
//! | `GET /api/pending` | `{"rows":[..],"next":cursor}`; `topic`, `group`, `state`, `key`, `older_than`, `younger_than`, `limit`, `cursor` |
//! | `GET /api/pending/watch` | the same as server-sent events, every `interval` |
//! | `GET /api/pending/{id}` | one half with its history; the id is a message id or a half offset |
//! | `POST /api/pending/{id}/commit`, `rollback`, `resume` | body `{"reason":..,"operator":..}` |
//! | `POST /api/pending/{id}/check` | its producer is asked now |
//!
//! Failures are `{"error":..}` with a status of 4xx or 5xx. It serves whoever may reach it (see [`guard`]) and
//! never touches the log itself: looks and decisions go to the log thread like everybody's.

mod decision_log;
mod decisions;
mod failure;
mod guard;
mod half;
mod inventory;
mod listener;
mod metrics;
mod pending;
mod rates;
mod status;
mod time;
mod watch;
mod watermark;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::shared::{Phase, Shared};
use failure::Failure;
pub use guard::names_this_machine;
pub use listener::Bounded;
use rates::Rates;
pub use time::utc;

/// Bytes in a request's body: a decision and its reason.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Watchers at the same time.
const WATCHERS_MAX: usize = 32;

/// Requests served at the same time; watchers do not count once they have begun.
const REQUESTS_MAX: usize = 32;

/// What the handlers share.
#[derive(Clone)]
struct Admin {
    shared: Arc<Shared>,
    rates: Arc<Rates>,
    requests: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
}

/// Serves until the broker drains.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let rates = Arc::new(Rates::default());
    let sampler = tokio::spawn(rates::sample(Arc::clone(&shared), Arc::clone(&rates)));
    let router = router(Admin {
        shared: Arc::clone(&shared),
        rates,
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
    });
    let service = router.into_make_service_with_connect_info::<listener::From>();
    let drained = async move { shared.phase.reached(Phase::Draining).await };
    if let Err(error) = axum::serve(Bounded::new(listener), service)
        .with_graceful_shutdown(drained)
        .await
    {
        tracing::error!(%error, "admin API ended");
    }
    sampler.abort();
}

fn router(admin: Admin) -> Router {
    let api = Router::new()
        .route("/metrics", get(metrics::show))
        .route("/api/status", get(status::show))
        .route("/api/topics", get(inventory::topics))
        .route("/api/groups", get(inventory::groups))
        .route("/api/groups/{group}/watermark", get(watermark::show))
        .route("/api/decisions", get(decision_log::list))
        .route("/api/pending", get(pending::list))
        .route("/api/pending/watch", get(watch::watch))
        .route("/api/pending/{id}", get(pending::show))
        .route("/api/pending/{id}/commit", post(decisions::commit))
        .route("/api/pending/{id}/rollback", post(decisions::rollback))
        .route("/api/pending/{id}/check", post(decisions::check))
        .route("/api/pending/{id}/resume", post(decisions::resume))
        .route_layer(middleware::from_fn_with_state(admin.clone(), guard::token));
    Router::new()
        .route("/health", get(status::health))
        .merge(api)
        .fallback(|| async { Failure::not_found("no such path") })
        .method_not_allowed_fallback(|| async { Failure::method() })
        .layer(middleware::from_fn_with_state(admin.clone(), limit))
        .layer(middleware::from_fn_with_state(admin.clone(), guard::host))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(failure::as_json))
        .with_state(admin)
}

/// Refuses what would be one request too many.
async fn limit(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match admin.requests.try_acquire() {
        Ok(_one) => next.run(request).await,
        Err(_) => Failure::busy("too many requests at once").into_response(),
    }
}
