//! Which connections may be used. When Postgres changes hands, connections to the server that was the primary can
//! outlive it: they hang, or they answer and take no writes. One that is seen to do so brings all that are
//! as old as it is under suspicion, in every pool, and the next ones go to wherever the address leads by then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgPoolOptions;

use super::Error;

/// How long a connection that is given back may take to show that it is still good.
const GIVEN_BACK_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of the connections of all pools.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// Connections made before this are not used any more.
    not_before: Mutex<Option<Instant>>,
    /// The last new connection led to a server that takes no writes.
    is_read_only: AtomicBool,
}

impl Trust {
    /// Draws the conclusion from a unit of work that began then.
    pub(super) fn judge<T>(&self, began: Instant, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_of_the_connection()
        {
            self.suspect(began);
        }
        result
    }

    fn suspect(&self, made_before: Instant) {
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Some(made_before));
    }

    pub(super) fn is_trusted(&self, age: Duration) -> bool {
        let not_before = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        not_before.is_none_or(|at| age <= at.elapsed())
    }

    /// A pool of connections that must take writes.
    pub(super) fn writers(self: &Arc<Self>, connections: u32) -> PgPoolOptions {
        let trust = self.clone();
        self.readers(connections).after_connect(move |connection, _| {
            let trust = trust.clone();
            Box::pin(async move {
                let word: String =
                    sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection).await?;
                trust.found(word == "on")
            })
        })
    }

    /// A new connection leads to a server that takes writes, or to one that does not, and is closed then.
    fn found(&self, is_read_only: bool) -> Result<(), sqlx::Error> {
        let was_read_only = self.is_read_only.swap(is_read_only, Ordering::Relaxed);
        if is_read_only {
            if !was_read_only {
                tracing::warn!("this postgres takes no writes; connecting again until one does");
            }
            return Err(sqlx::Error::Io(std::io::Error::other("this postgres takes no writes")));
        }
        if was_read_only {
            tracing::info!("postgres takes writes again");
            // What was connected meanwhile for reading is with the wrong server.
            self.suspect(Instant::now());
        }
        Ok(())
    }

    /// A pool of connections of which some may lead to a server that can only be read.
    pub(super) fn readers(self: &Arc<Self>, connections: u32) -> PgPoolOptions {
        let trust = self.clone();
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(3))
            .max_lifetime(Duration::from_mins(5))
            .idle_timeout(Duration::from_mins(2))
            // A round trip for each use would show little: a server that takes no writes answers pings for ever.
            .test_before_acquire(false)
            .before_acquire(move |_, meta| {
                let is_trusted = trust.is_trusted(meta.age);
                Box::pin(async move { Ok(is_trusted) })
            })
            // The pool asks whether it is still good, without any limit of time; a connection whose work was given up
            // on would hold its place for as long as the link is half open.
            .after_release(|connection, _| {
                Box::pin(async move {
                    match tokio::time::timeout(GIVEN_BACK_TIMEOUT, connection.ping()).await {
                        Ok(result) => result.map(|()| true),
                        Err(_) => Err(sqlx::Error::PoolTimedOut),
                    }
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_connection_shows_is_held_against_the_older_ones_only() {
        let trust = Trust::default();
        assert!(trust.is_trusted(Duration::from_hours(1)));
        let began =
            Instant::now().checked_sub(Duration::from_secs(10)).expect("the machine is up for longer");
        assert!(trust.judge::<()>(began, Err(Error::Timeout(Duration::from_secs(8)))).is_err());
        assert!(!trust.is_trusted(Duration::from_secs(11)));
        assert!(trust.is_trusted(Duration::from_secs(9)));
        // An older suspicion does not take a newer one back.
        trust.suspect(began.checked_sub(Duration::from_secs(10)).expect("the machine is up for longer"));
        assert!(!trust.is_trusted(Duration::from_secs(11)));
        assert!(trust.judge::<()>(Instant::now(), Err(Error::Corrupt(String::new()))).is_err());
        assert!(trust.is_trusted(Duration::from_secs(9)), "a row says nothing of a connection");
    }

    #[test]
    fn a_server_without_writes_is_refused_and_what_read_from_it_is_left_when_there_is_a_better_one() {
        let trust = Trust::default();
        assert!(trust.found(false).is_ok());
        assert!(trust.is_trusted(Duration::from_secs(1)));
        assert!(trust.found(true).is_err());
        assert!(trust.is_trusted(Duration::from_secs(1)), "it may be read from meanwhile");
        assert!(trust.found(false).is_ok());
        assert!(!trust.is_trusted(Duration::from_secs(1)));
    }
}
