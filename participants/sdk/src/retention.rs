//! How long the barrier remembers a saga, and what it says of one that it may have forgotten.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::store::{Store, StoreError};

/// The server limits a statement to five seconds; this is for one that is not heard of any more.
const FORGET_TIMEOUT: Duration = Duration::from_secs(20);

/// Forgets, every now and then, the barrier's rows of sagas that began longer ago than `retention`.
pub(crate) async fn forget_old(store: Arc<dyn Store>, retention: Duration) {
    loop {
        let begun = Instant::now();
        let forgotten = timeout(FORGET_TIMEOUT, store.forget_old(retention)).await;
        match forgotten.unwrap_or_else(|_| Err(StoreError::Away("it did not answer in time".to_owned()))) {
            Ok(0) => sleep(Duration::from_mins(10)).await,
            // Never more than half of the time.
            Ok(_) => sleep(begun.elapsed().max(Duration::from_millis(50))).await,
            Err(error) => {
                tracing::debug!(error = error.describe(), "old rows were not forgotten");
                sleep(Duration::from_mins(1)).await;
            }
        }
    }
}

/// The lowest id of a saga that began at most `age` before the given time. A UUIDv7 begins with its time, so
/// age is a range of the primary key.
pub(crate) fn first_id_since(now_millis: u128, age: Duration) -> Uuid {
    Uuid::from_u128(now_millis.saturating_sub(age.as_millis()) << 80)
}

/// How much earlier than it forgets a saga the barrier owns up to it: clocks differ.
const FORGETS_EARLIER: Duration = Duration::from_hours(1);

/// Of sagas with lower ids than this, rows may be deleted already.
pub(crate) fn forgotten_before(now: SystemTime, retention: Duration) -> Uuid {
    let now_millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    first_id_since(now_millis, retention.saturating_sub(FORGETS_EARLIER))
}
