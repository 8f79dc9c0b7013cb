//! Looking who blocks a tombstone, while it waits.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// After which wait we look who blocks a tombstone; less than any engine's lock timeout.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// How long that look may take.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// Runs `statement`; once it has waited a while, also looks who blocks it.
pub(super) async fn watched<T>(
    statement: impl Future<Output = T>,
    look: impl Future<Output = Option<String>>,
) -> (T, Option<String>) {
    let mut statement = pin!(statement);
    if let Ok(done) = timeout(LOOK_AFTER, &mut statement).await {
        return (done, None);
    }
    let look = async { timeout(LOOK_WITHIN, look).await.ok().flatten() };
    tokio::join!(statement, look)
}
