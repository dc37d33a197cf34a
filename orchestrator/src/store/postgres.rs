//! Postgres: its pools and its schema.
//!
//! Three pools, so that one kind of work cannot starve another: the engine's commits, everything that
//! people ask for, and the replica's own upkeep (heartbeats, takeovers, sweeps).

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row};

use super::Error;

/// The migrations of the orchestrator's schema, embedded.
static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/orchestrator");

/// Postgres as the store.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub(super) engine: PgPool,
    pub(super) api: PgPool,
    pub(super) upkeep: PgPool,
}

impl Postgres {
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
        snorri_kill::point!(Migrating, return Err(Error::injected()));
        MIGRATOR.run(&self.upkeep).await?;
        snorri_kill::point!(Migrating, return Err(Error::injected()));
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
