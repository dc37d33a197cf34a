//! The store: Postgres, the only truth. One file a table family; SQL stands next to what it is for.
//!
//! [`Store`] is what the engine and the upkeep need of it. Postgres is its implementation; the simulator has a
//! model of it. What people ask for (lists, views) is Postgres's alone.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use snorri_saga::ids::{Name, SagaId};
use snorri_saga::time::Timestamp;
use uuid::Uuid;

pub mod dead_letters;
pub mod definitions;
pub mod journal;
mod kept;
mod migrate;
mod port;
mod postgres;
pub mod replicas;
pub mod search;
mod trust;
pub mod versions;

pub use postgres::Postgres;

use dead_letters::DeadLetter;
use journal::{Loaded, Transition};
pub use replicas::{Beat, Due, Entered, Gone, Heartbeat, Resting, Well};

/// What the engine and the upkeep need of the store. An error that [is transient](Error::is_transient) leaves it open
/// whether a write was done.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Commits a batch as one transaction, and tells which sagas' transitions are in. The others lost a race
    /// for their place in the journal or for their idempotency key, and wrote nothing.
    async fn commit(&self, replica: &Name, batch: Vec<Transition<'_>>) -> Result<HashSet<SagaId>, Error>;

    /// Loads sagas by replaying their journals. One whose journal cannot be read comes as an error of its own.
    async fn load(&self, ids: &[SagaId]) -> Result<BTreeMap<SagaId, Result<Loaded, Error>>, Error>;

    /// The saga and the fingerprint that an idempotency key stands for.
    async fn start_key(&self, key: &str) -> Result<Option<(SagaId, Vec<u8>)>, Error>;

    /// Puts a saga that cannot be read or decided aside, for a person. It is looked at again by and by.
    async fn quarantine(&self, id: SagaId, why: &str) -> Result<(), Error>;

    /// Stores a definition under the next version, unless the newest in force has this digest already. Returns
    /// the version and whether it is new.
    async fn submit_definition(
        &self,
        name: &Name,
        digest: &[u8; 32],
        body: &str,
    ) -> Result<(u32, bool), Error>;

    /// One version of a definition, removed or not, or its newest in force.
    async fn definition(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<definitions::Stored>, Error>;

    /// Keeps messages aside. They are acknowledged only after this.
    async fn keep_aside(&self, letters: &[DeadLetter]) -> Result<(), Error>;

    /// Deletes dead letters that are old or too many. Returns how many.
    async fn forget_dead_letters(&self) -> Result<u64, Error>;

    /// Enters this replica, anew if the name was there before. It may be repeated.
    async fn enter(&self, name: &Name, incarnation: Uuid, version: &str) -> Result<Entered, Error>;

    /// Says that this replica is alive and what it owes, and asks who is not.
    async fn heartbeat(&self, beat: Beat<'_>, dead_after_ms: i64) -> Result<Heartbeat, Error>;

    /// Says goodbye, so that the others need not wait for the heartbeat to grow old.
    async fn leave(&self, name: &Name, incarnation: Uuid) -> Result<(), Error>;

    /// Takes over some of a dead replica's live sagas, but not those at rest. Several takers get different ones.
    async fn take_over(&self, dead: &Name, taker: &Name, limit: i64) -> Result<Vec<SagaId>, Error>;

    /// The live sagas of a replica that started before the given time, page by page in the order of their ids. Those that are
    /// at rest for long are left out: nothing of them is out.
    async fn owned(
        &self,
        owner: &Name,
        started_before: Timestamp,
        after: Option<SagaId>,
        limit: i64,
    ) -> Result<Vec<SagaId>, Error>;

    /// The sagas that a replica ended after this one, in the order of their ends, and before that time.
    async fn ended(
        &self,
        owner: &Name,
        after: (Timestamp, SagaId),
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<(Timestamp, SagaId)>, Error>;

    /// Strikes a dead replica off once nothing of it is left but what is at rest. Returns whether it did.
    async fn forget(&self, dead: &Name) -> Result<bool, Error>;

    /// Claims live sagas whose wake-up is due and re-arms them. A saga's owner goes first; ten seconds
    /// later anybody does. Who finds one at rest owns it.
    async fn claim_due(&self, replica: &Name, limit: i64) -> Result<Vec<Due>, Error>;

    /// Takes the marks of sagas away that were put aside and can be moved all the same, unless they have moved since.
    async fn take_back(&self, sagas: &[Well]) -> Result<(), Error>;

    /// Sets the wake-ups of sagas that are at rest, unless they have moved since. Whatever moves one brings its wake-up back
    /// ([`Transition::project`]).
    async fn rest(&self, sagas: &[Resting]) -> Result<(), Error>;
}

/// What can go wrong with Postgres.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres refused or could not be reached.
    #[error("postgres")]
    Postgres(#[from] sqlx::Error),
    /// The migrations could not be applied.
    #[error("the migrations could not be applied")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The schema is older than this binary needs.
    #[error("the database's schema is at version {found}, this binary needs {needed}: run `snorri migrate`")]
    SchemaTooOld {
        /// The newest migration applied.
        found: i64,
        /// The newest migration known here.
        needed: i64,
    },
    /// It took longer than a unit of work may.
    #[error("postgres did not answer within {0:?}")]
    Timeout(Duration),
    /// A version that a definition has as a sub-saga was removed while the definition was submitted.
    #[error("a sub-saga was removed at this moment")]
    SubSagaRemoved,
    /// A stored row cannot be read.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether the same call may succeed later: the server is away, restarting, read-only or full.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::SubSagaRemoved => true,
            Self::Postgres(error) => match error {
                sqlx::Error::Database(error) => {
                    let code = error.code().unwrap_or_default().into_owned();
                    // Connection trouble, operator intervention, read-only, resources, deadlock,
                    // serialisation, lock and statement timeouts; too many connections; cannot connect now.
                    ["08", "57", "53", "25006", "40", "55P03", "58"]
                        .iter()
                        .any(|class| code.starts_with(class))
                }
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                _ => false,
            },
            Self::Migrate(_) | Self::SchemaTooOld { .. } | Self::Corrupt(_) => false,
        }
    }

    /// Whether it says something of the connection, and so of the others to the same server: it does not
    /// answer, is broken, or leads to a server that is going away or takes no writes.
    pub fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Postgres(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default().into_owned();
                ["08", "57P", "25006"].iter().any(|class| code.starts_with(class))
            }
            Self::Postgres(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))
            }
            Self::Migrate(_) | Self::SchemaTooOld { .. } | Self::SubSagaRemoved | Self::Corrupt(_) => false,
        }
    }

    /// Whether the server itself gave up on it: a statement that took too long, a row that somebody else
    /// holds. One saga of a batch can be the cause.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Postgres(sqlx::Error::Database(error)) => {
                matches!(error.code().as_deref(), Some("57014" | "55P03"))
            }
            _ => false,
        }
    }

    /// Whether a unique key stood against it.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Postgres(sqlx::Error::Database(error)) => error.is_unique_violation(),
            _ => false,
        }
    }

    /// The error with its sources, on one line, for logs and people.
    pub fn chain(&self) -> String {
        crate::chain(self)
    }

    /// What a kill point fails with: a connection that was lost.
    #[cfg(debug_assertions)]
    pub(crate) fn injected() -> Self {
        Self::Postgres(snorri_kill::error().into())
    }
}

/// How long one unit of work with Postgres may take before its connection is given up.
pub const UNIT_TIMEOUT: Duration = Duration::from_secs(8);

/// The engine's unit of work, with a connection that is kept for the next one if it did what it was asked to.
macro_rules! with_connection {
    ($store:expr, |$connection:ident| $work:expr) => {{
        let began = std::time::Instant::now();
        let deadline = tokio::time::Instant::now() + $crate::store::UNIT_TIMEOUT;
        let taken = tokio::time::timeout_at(deadline, $store.engine.take()).await;
        let result = match taken {
            Ok(Ok(mut taken)) => {
                let result = match taken.connection() {
                    Ok($connection) => match tokio::time::timeout_at(deadline, $work).await {
                        Ok(result) => result.map_err($crate::store::Error::from),
                        Err(_) => Err($crate::store::Error::Timeout($crate::store::UNIT_TIMEOUT)),
                    },
                    Err(error) => Err(error.into()),
                };
                if !matches!(&result, Err(error) if error.is_of_the_connection()) {
                    $store.engine.keep(taken);
                }
                result
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err($crate::store::Error::Timeout($crate::store::UNIT_TIMEOUT)),
        };
        $store.trust.judge(began, result)
    }};
}
pub(crate) use with_connection;
