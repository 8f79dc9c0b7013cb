//! `GET /health` and `GET /api/status`: how the broker is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use escrow_coordinator::WaitingGroup;
use escrow_store::HalfSeq;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Admin;
use super::failure::Failure;
use crate::shared::Phase;

/// A log thread that does not answer within this time is not healthy.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Whether requests are served: the log thread takes and answers commands.
pub(super) async fn health(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    if admin.shared.phase.is(Phase::Draining) {
        return Err(Failure::busy("the broker is shutting down"));
    }
    if let Some(failure) = admin.shared.log.failure() {
        return Err(Failure::busy(failure));
    }
    match timeout(ANSWERS_WITHIN, admin.shared.log.barrier()).await {
        Ok(Ok(())) => Ok(Json(json!({ "status": "ok" }))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::busy("the log thread does not answer")),
    }
}

/// What only the log thread knows.
struct Seen {
    pending: u64,
    parked: u64,
    oldest_ms: Option<i64>,
    in_flight: usize,
    waiting: Vec<WaitingGroup>,
    totals: Value,
}

/// Pending and parked halfs, rates, the oldest one, what waits and for whom.
pub(super) async fn show(State(admin): State<Admin>) -> Result<Json<Value>, Failure> {
    let shared = &admin.shared;
    let seen = look(&admin).await?;
    let now_ms = shared.clock.wall_ms();
    let since = |ms: i64| now_ms.saturating_sub(ms).max(0);
    let waiting: Vec<Value> = seen
        .waiting
        .iter()
        .map(|group| json!({ "group": group.group, "halfs": group.halfs, "for_ms": since(group.since_ms) }))
        .collect();
    let (start, written) = shared.reader.log_range();
    Ok(Json(json!({
        "pending": seen.pending,
        "parked": seen.parked,
        "oldest_pending_ms": seen.oldest_ms.map(since),
        "checks_in_flight": seen.in_flight,
        "groups_without_checker": waiting,
        "per_second": admin.rates.per_second(),
        "since_start": seen.totals,
        "log_bytes": written.0.saturating_sub(start.0),
        "flush_lag_bytes": written.0.saturating_sub(shared.reader.durable().0),
        "connections": shared.connections.count(),
        "topics": shared.topics.count(),
        "consumer_groups": shared.groups.count(),
        "broker": shared.settings.broker_name,
        "cluster": shared.settings.broker_cluster_name,
        "store_id": shared.store_id,
        "address": shared.store_host.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

async fn look(admin: &Admin) -> Result<Seen, Failure> {
    let look = admin.shared.log.look(|store, coordinator, _| {
        let (pending, parked) = store.undecided_counts();
        let counters = coordinator.counters();
        Seen {
            pending,
            parked,
            oldest_ms: store
                .undecided_from(HalfSeq(0))
                .next()
                .map(|(_, entry)| entry.store_timestamp),
            in_flight: coordinator.in_flight(),
            waiting: coordinator.waiting_groups(),
            totals: json!({
                "halfs": counters.halfs,
                "duplicates": counters.duplicates,
                "committed": counters.committed,
                "rolled_back": counters.rolled_back,
                "conflicts": counters.conflicts,
                "checks_sent": counters.checks_sent,
                "checks_answered": counters.checks_answered,
                "checks_silent": counters.checks_silent,
                "parked": counters.parked,
            }),
        }
    });
    Ok(look.await?)
}
