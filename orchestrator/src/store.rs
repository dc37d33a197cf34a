//! Postgres, the only truth. One file a table family; SQL stands next to what it is for.
//!
//! Three pools, so that one kind of work cannot starve another: the engine's commits, everything that
//! people ask for, and the replica's own upkeep (heartbeats, takeovers, sweeps).

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row};

pub mod dead_letters;
pub mod definitions;
pub mod journal;
pub mod replicas;
pub mod search;

/// The migrations of the orchestrator's schema, embedded. A newer version may have applied more already: during an
/// upgrade both run on one database, and whichever of them is restarted must come up.
static MIGRATOR: LazyLock<sqlx::migrate::Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../migrations/orchestrator");
    migrator.set_ignore_missing(true);
    migrator
});

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
    /// A stored row cannot be read.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}

impl Error {
    /// Whether the same call may succeed later: the server is away, restarting, read-only or full.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
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
}

/// How long one unit of work with Postgres may take before its connection is given up.
pub const UNIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs one unit of work with a limit of time. sqlx has none of its own, and a half-open link would
/// otherwise hold it for minutes.
pub(crate) async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(UNIT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout(UNIT_TIMEOUT)),
    }
}

/// The same with a connection of the pool, which is closed when the time is up: given back, it would be asked
/// without any limit of time whether it is still good, and a half-open link would hold its place for minutes.
macro_rules! with_connection {
    ($pool:expr, |$connection:ident| $work:expr) => {{
        let deadline = tokio::time::Instant::now() + $crate::store::UNIT_TIMEOUT;
        let mut $connection = match tokio::time::timeout_at(deadline, $pool.acquire()).await {
            Ok(connection) => connection?,
            Err(_) => return Err($crate::store::Error::Timeout($crate::store::UNIT_TIMEOUT)),
        };
        match tokio::time::timeout_at(deadline, $work).await {
            Ok(result) => result,
            Err(_) => {
                $connection.close_on_drop();
                return Err($crate::store::Error::Timeout($crate::store::UNIT_TIMEOUT));
            }
        }
    }};
}
pub(crate) use with_connection;

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    engine: PgPool,
    api: PgPool,
    upkeep: PgPool,
}

impl Store {
    /// Makes the pools. Connects lazily: a Postgres that is away now is waited for by whoever uses it.
    pub fn connect(url: &str, engine_connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name("snorri");
        let settings = |extra: &[(&'static str, &'static str)]| {
            let mut all = vec![
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "5s"),
                ("tcp_keepalives_idle", "5"),
                ("tcp_keepalives_interval", "2"),
                ("tcp_keepalives_count", "3"),
                ("jit", "off"),
                // Whatever the role is called: the migrations' own table is beside the others.
                ("search_path", "snorri"),
            ];
            all.extend_from_slice(extra);
            options.clone().options(all)
        };
        // The engine looks up keys and nothing else. A plan made while the tables were empty must not be
        // a scan that outlives their emptiness.
        let engine = settings(&[("enable_seqscan", "off"), ("enable_bitmapscan", "off")]);
        Ok(Self {
            engine: pool(engine_connections, engine),
            api: pool(8, settings(&[])),
            upkeep: pool(3, settings(&[])),
        })
    }

    /// Applies the migrations that are missing. Safe with several replicas at once.
    pub async fn migrate(&self) -> Result<(), Error> {
        match sqlx::query("CREATE SCHEMA IF NOT EXISTS snorri").execute(&self.upkeep).await {
            // Another replica made it at the same moment.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
            result => {
                result?;
            }
        }
        MIGRATOR.run(&self.upkeep).await?;
        Ok(())
    }

    /// Checks that the schema is new enough for this binary. A newer one is fine.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.upkeep)
            .await;
        let found: i64 = match row {
            Ok(row) => row.try_get(0)?,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => 0,
            Err(error) => return Err(error.into()),
        };
        if found < needed { Err(Error::SchemaTooOld { found, needed }) } else { Ok(()) }
    }

    /// Whether Postgres answers and takes writes.
    pub async fn is_writable(&self) -> bool {
        let ask = sqlx::query_scalar::<_, String>("SHOW transaction_read_only").fetch_one(&self.upkeep);
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(word)) if word == "off")
    }

    /// Closes the pools.
    pub async fn close(&self) {
        self.engine.close().await;
        self.api.close().await;
        self.upkeep.close().await;
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(3))
        .max_lifetime(Duration::from_mins(5))
        .idle_timeout(Duration::from_mins(2))
        // A demoted primary answers pings for ever and takes no writes. Its errors close the connection
        // (25006 is transient, and a failed connection is not handed out again), so no ping is needed.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}
