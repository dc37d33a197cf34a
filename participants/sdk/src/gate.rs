//! Waiting for a database that is away: at the start, and before commands are pulled.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::fail::Trouble;
use crate::store::{Store, StoreError};

/// Makes the tables, waiting for the database as long as it takes; any other trouble is an error.
pub(crate) async fn migrate_when_there(store: &dyn Store) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match store.migrate().await {
            Ok(()) => return Ok(()),
            Err(error) if error.trouble() == Trouble::Other => return Err(error),
            Err(error) => {
                tracing::warn!(error = error.describe(), "waiting for the database");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    }
}

/// Waits while the database is away, so that commands are not pulled only to be put back.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many probes or transactions failed in a row.
    failures: AtomicU32,
}

impl Gate {
    /// The database did not do what it must.
    pub(crate) fn shut(&self) {
        self.failures.fetch_max(1, Ordering::Relaxed);
    }

    /// Returns when the database answers; at once when nothing was wrong. Cancel-safe.
    pub(crate) async fn pass(&self, store: &dyn Store) {
        loop {
            let failures = self.failures.load(Ordering::Relaxed);
            if failures == 0 {
                return;
            }
            if failures == 1 {
                tracing::warn!("the database is away; waiting for it");
            }
            sleep(Duration::from_millis(50 << failures.min(5))).await;
            match timeout(Duration::from_secs(4), store.is_writable()).await {
                Ok(true) => {
                    tracing::info!("the database is back");
                    self.failures.store(0, Ordering::Relaxed);
                }
                _ => {
                    self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
                }
            }
        }
    }
}
