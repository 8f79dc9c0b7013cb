//! `GET /api/groups/{group}/watermark`: what the databases of a producer group may forget.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::Admin;
use super::failure::Failure;
use super::half;

/// Steps for one request, fifty thousand halfs each: more than fit into memory.
const STEPS_MAX: usize = 10_000;

/// What a group's marker rows may be purged by.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    group: String,
    /// Every half of the group that was stored before is decided; no later one is stored before. Milliseconds.
    watermark: i64,
    /// Its halfs that are pending or parked; halfs that lost their group to damage count for every group.
    undecided: u64,
    /// The message id of the oldest of them.
    oldest: Option<String>,
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(group): Path<String>,
) -> Result<Json<Answer>, Failure> {
    for _ in 0..STEPS_MAX {
        if let Some(found) = admin.shared.log.watermark(group.clone()).await? {
            return Ok(Json(Answer {
                group,
                watermark: found.at_ms,
                undecided: found.undecided,
                oldest: found.oldest.map(|handle| half::id(&admin.shared, handle)),
            }));
        }
    }
    Err(Failure::busy("the oldest half was not found; ask again"))
}
