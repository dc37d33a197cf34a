//! The engine's connections. They are kept from one batch to the next: given back to the pool, each would be asked in a
//! round trip of its own whether it is still good, for every batch once more, and on a half-open link without end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::trust::Trust;

/// How long a connection is used.
const AGE_MAX: Duration = Duration::from_mins(5);

type Connection = PoolConnection<sqlx::Postgres>;

/// A connection that is in use. One that is not [kept](Kept::keep) afterwards is closed.
#[derive(Debug)]
pub(super) struct Taken {
    connection: Option<Connection>,
    made: Instant,
    _place: OwnedSemaphorePermit,
}

impl Taken {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

/// The connections that nobody uses just now.
#[derive(Debug, Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    is_closed: bool,
}

/// Connections, and the pool that makes new ones.
#[derive(Debug)]
pub(super) struct Kept {
    pool: PgPool,
    idle: Mutex<Idle>,
    /// As many as the pool may have, so that whoever has a place finds a connection that is idle or, once those that are
    /// being closed are gone, room for a new one.
    places: Arc<Semaphore>,
    trust: Arc<Trust>,
}

impl Kept {
    pub(super) fn new(pool: PgPool, trust: Arc<Trust>) -> Self {
        let places = pool.options().get_max_connections() as usize;
        Self { pool, idle: Mutex::default(), places: Arc::new(Semaphore::new(places)), trust }
    }

    /// Takes a connection, a kept one if there is one. Waits its turn while all are in use. Cancel-safe.
    pub(super) async fn take(&self) -> Result<Taken, sqlx::Error> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some((mut connection, made)) = self.pop() {
            let age = made.elapsed();
            if age < AGE_MAX && self.trust.is_trusted(age) {
                return Ok(Taken { connection: Some(connection), made, _place: place });
            }
            connection.close_on_drop();
        }
        // None is ever given back, so that this is a new one.
        let made = Instant::now();
        let connection = self.pool.acquire().await?;
        Ok(Taken { connection: Some(connection), made, _place: place })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Never half-written.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<(Connection, Instant)> {
        self.idle().connections.pop()
    }

    /// Keeps a connection that did what it was asked to.
    pub(super) fn keep(&self, mut taken: Taken) {
        let mut idle = self.idle();
        if !idle.is_closed
            && let Some(connection) = taken.connection.take()
        {
            // Before the place is free.
            idle.connections.push((connection, taken.made));
        }
    }

    /// Closes those that nobody uses, then the others as they come back, and takes no more.
    pub(super) async fn close(&self) {
        self.places.close();
        self.idle().is_closed = true;
        while let Some((mut connection, _)) = self.pop() {
            connection.close_on_drop();
        }
        self.pool.close().await;
    }
}
