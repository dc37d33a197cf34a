//! The counts of blocked sagas and of those at rest. They are asked of the database and not added up from transitions: a replica
//! that took over, or that was restarted, would have to know what the one before it had counted. So every
//! replica says the same number, and who adds replicas up takes the maximum.

use std::sync::Arc;
use std::time::Duration;

use snorri_saga::saga::Status;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::store::Postgres;

/// How often the database is asked at the least.
const EVERY: Duration = Duration::from_secs(5);
/// How often at the most, when one saga after the other is blocked.
const PAUSE: Duration = Duration::from_secs(1);
/// There may be millions at rest: counting them takes no more than this part of the time.
const RESTING_SHARE: u32 = 100;

/// Keeps the count right until told to stop.
pub(crate) async fn watch(metrics: Arc<Metrics>, store: Postgres, stop: CancellationToken) {
    let count = async {
        let mut resting_at = Instant::now();
        loop {
            match store.live_counts().await {
                // None that is at rest is blocked.
                Ok(counts) => metrics.blocked(counts.get(&Status::Blocked).copied().unwrap_or(0)),
                // The last count stands; that Postgres is away has a metric of its own.
                Err(error) => tracing::debug!(error = error.chain(), "no count of blocked sagas"),
            }
            let began = Instant::now();
            if began >= resting_at {
                match store.resting_count().await {
                    Ok(resting) => metrics.resting(resting),
                    Err(error) => tracing::debug!(error = error.chain(), "no count of sagas at rest"),
                }
                resting_at = Instant::now() + EVERY.max(began.elapsed() * RESTING_SHARE);
            }
            sleep(PAUSE).await;
            // A transition of this replica changed the count, or the time is up.
            let _ = timeout(EVERY, metrics.blocked_changed.notified()).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = count => {}
    }
}
