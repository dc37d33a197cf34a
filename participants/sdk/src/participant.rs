//! Putting a participant together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use snorri_bus::{Bus, BusOptions};
use snorri_saga::ids::{Direction, Name, NotAName};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::fail::Fail;
use crate::gate::{self, Gate};
use crate::handler::{self, Handler, Undo};
use crate::run::{self, Mode, Shared};
use crate::stats::Stats;
use crate::store::{Postgres, Store, StoreError};
use crate::telemetry::Spans;

/// How many commands are worked on at once unless told otherwise.
const CONCURRENCY_DEFAULT: usize = 16;
/// How long the barrier remembers unless told otherwise.
const RETENTION_DEFAULT: Duration = Duration::from_hours(7 * 24);
/// No less: a saga may wait for a person for days, and a backup may be restored.
const RETENTION_MIN: Duration = Duration::from_hours(24);

/// Why a participant does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation's name cannot be one.
    #[error("operation: {0}")]
    Operation(NotAName),
    /// An operation was given twice.
    #[error("{0} `{1}` is given twice")]
    Twice(Direction, Name),
    /// There is nothing to do.
    #[error("the participant has no operations: give it some with `.action(..)` and `.compensation(..)`")]
    NoOperations,
    /// Batches are transactions, and there is no database for them.
    #[error("`.batch(..)` needs a database: give it one with `.database(pool)`")]
    BatchWithoutDatabase,
    /// The barrier's tables cannot be made.
    #[error("cannot make the barrier's tables: {0}")]
    Database(#[from] StoreError),
    /// NATS cannot be used.
    #[error(transparent)]
    Bus(#[from] snorri_bus::Error),
}

/// A service's side of its sagas: its operations, and how they are run.
pub struct Participant {
    name: Name,
    store: Option<Arc<dyn Store>>,
    handlers: BTreeMap<(Direction, Name), Handler>,
    wrong: Option<Error>,
    mode: Mode,
    retention: Duration,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant")
            .field("name", &self.name)
            .field("operations", &self.handlers.keys().collect::<Vec<_>>())
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Participant {
    /// A participant with the name that definitions use for it. All replicas of a service have the same.
    pub fn new(name: &str) -> Result<Self, NotAName> {
        Ok(Self {
            name: Name::new(name)?,
            store: None,
            handlers: BTreeMap::new(),
            wrong: None,
            mode: Mode::Singly(CONCURRENCY_DEFAULT),
            retention: RETENTION_DEFAULT,
            stats: Arc::default(),
        })
    }

    /// The database of the service. The barrier's tables are made in it, in the schema
    /// `snorri_participant`, and effects happen exactly once. [`connect_pool`](crate::connect_pool) makes
    /// a pool with good settings.
    ///
    /// Without one there is no barrier at all, and the orchestrator does not know: handlers simply run, may
    /// run more than once and in any order, and must cope with it by themselves, by
    /// [`Ctx::effect_id`].
    #[must_use]
    pub fn database(self, pool: PgPool) -> Self {
        self.store(Arc::new(Postgres::new(pool)))
    }

    /// The barrier in another store than a Postgres: for a simulator that runs this very loop over a model of a
    /// database. [`Ctx::tx`] is an error then, and handlers write by means of their own. A service wants
    /// [`database`](Self::database).
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// An operation that does something. It is given the step's input and returns its output.
    #[must_use]
    pub fn action<F, Fut, T, R>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Ctx, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, Fail>> + Send + 'static,
        T: DeserializeOwned + Send + 'static,
        R: Serialize,
    {
        self.add(Direction::Action, name, handler::action(handler))
    }

    /// An operation that undoes an action. It is given what the action was given and what it returned. It
    /// is called only when there may be something to undo, and must succeed some day.
    #[must_use]
    pub fn compensation<F, Fut, I, R>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Ctx, Undo<I, R>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Fail>> + Send + 'static,
        I: DeserializeOwned + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        self.add(Direction::Compensation, name, handler::compensation(handler))
    }

    fn add(mut self, direction: Direction, name: &str, handler: Handler) -> Self {
        match Name::new(name) {
            Err(error) => self.wrong = Some(Error::Operation(error)),
            Ok(name) => {
                if self.handlers.insert((direction, name.clone()), handler).is_some() {
                    self.wrong = Some(Error::Twice(direction, name));
                }
            }
        }
        self
    }

    /// How many commands are worked on at once, each in a transaction of its own. 16 unless said otherwise.
    #[must_use]
    pub fn concurrency(mut self, at_once: usize) -> Self {
        self.mode = Mode::Singly(at_once);
        self
    }

    /// Instead of one by one, up to so many commands in one transaction, one after the other. Many times faster
    /// for handlers that only write a few rows; wrong for handlers that wait for anything else. A
    /// command that is rejected or fails takes nothing of the others with it.
    #[must_use]
    pub fn batch(mut self, max: usize) -> Self {
        self.mode = Mode::Batches(max);
        self
    }

    /// How long the barrier remembers a saga, counted from the saga's beginning: 7 days unless said
    /// otherwise, and never less than one. From an hour before that age on, a command of a step that the
    /// barrier knows nothing of is neither run nor taken for never done: it is answered `failed`, until the
    /// saga stops for a person. Give it more than the longest time that a saga may wait or stand blocked.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention.max(RETENTION_MIN);
        self
    }

    /// The running counts, to be read while the participant runs.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Connects and works until `shutdown` is cancelled; then finishes what is at work (10 seconds at most),
    /// answers it, and returns. NATS and Postgres may come and go in the meantime.
    pub async fn run(self, options: BusOptions, shutdown: CancellationToken) -> Result<(), Error> {
        let bus = Bus::connect(options).await?;
        let result = self.run_on(&bus, shutdown).await;
        bus.close().await;
        result
    }

    /// The same over a connection that exists already, and stays open afterwards.
    pub async fn run_on(self, bus: &Bus, shutdown: CancellationToken) -> Result<(), Error> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.handlers.is_empty() {
            return Err(Error::NoOperations);
        }
        match &self.store {
            Some(store) => tokio::select! {
                biased;
                () = shutdown.clone().cancelled_owned() => return Ok(()),
                made = gate::migrate_when_there(&**store) => made?,
            },
            None if matches!(self.mode, Mode::Batches(_)) => return Err(Error::BatchWithoutDatabase),
            None => {}
        }
        let shared = Shared {
            name: self.name,
            bus: bus.clone(),
            handlers: self.handlers,
            store: self.store,
            retention: self.retention,
            stats: self.stats,
            gate: Gate::default(),
            spans: Spans::new(),
        };
        run::run(Arc::new(shared), self.mode, shutdown.clone()).await;
        if shutdown.is_cancelled() { Ok(()) } else { Err(Error::Bus(snorri_bus::Error::Closed)) }
    }
}
