//! The engine's connections. They are kept from one batch to the next: given back to the pool, each would be asked in a
//! round trip of its own whether it is still good, for every batch once more, and on a half-open link without end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::pool::PoolConnection;

use super::trust::Trust;

/// How long a connection is used.
const AGE_MAX: Duration = Duration::from_mins(5);

/// A connection that is in use.
pub(super) type Connection = PoolConnection<sqlx::Postgres>;

/// The connections that nobody uses just now, and the pool that makes new ones and limits their number.
#[derive(Debug)]
pub(super) struct Kept {
    pool: PgPool,
    idle: Mutex<Vec<(Connection, Instant)>>,
    trust: Arc<Trust>,
}

impl Kept {
    pub(super) fn new(pool: PgPool, trust: Arc<Trust>) -> Self {
        Self { pool, idle: Mutex::default(), trust }
    }

    /// Takes a connection, a kept one if there is one, with the time at which it was made. What is not
    /// [kept](Self::keep) afterwards is to be [closed](close).
    pub(super) async fn take(&self) -> Result<(Connection, Instant), sqlx::Error> {
        while let Some((connection, made)) = self.pop() {
            let age = made.elapsed();
            if age < AGE_MAX && self.trust.is_trusted(age) {
                return Ok((connection, made));
            }
            close(connection);
        }
        // None is ever given back, so that this is a new one.
        let made = Instant::now();
        Ok((self.pool.acquire().await?, made))
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps a connection that did what it was asked to.
    pub(super) fn keep(&self, connection: Connection, made: Instant) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, made));
    }

    /// Closes those that nobody uses, and the pool.
    pub(super) async fn close(&self) {
        while let Some((connection, _)) = self.pop() {
            close(connection);
        }
        self.pool.close().await;
    }
}

/// Closes a connection in the background.
pub(super) fn close(mut connection: Connection) {
    connection.close_on_drop();
}
