//! Postgres: its pools and its schema.
//!
//! Four pools, so that one kind of work cannot starve another: the engine's commits, everything that
//! people ask for, the replica's own upkeep (takeovers, sweeps, counts), and its heartbeat, which must not wait for any of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use super::kept::Kept;
use super::trust::Trust;
use super::{Error, UNIT_TIMEOUT};

/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for heartbeats: one, and one in its place while it hangs.
const BEATS: u32 = 2;

/// Postgres as the store.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub(super) engine: Arc<Kept>,
    pub(super) api: PgPool,
    pub(super) upkeep: PgPool,
    pub(super) beats: PgPool,
    pub(super) trust: Arc<Trust>,
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
        // a scan that outlives their emptiness, nor a join that reads a whole index. There is one plan for each
        // statement then, and making it anew for every batch, as Postgres would for short arrays, is a quarter of what
        // Postgres does for a small batch.
        let engine = settings(&[
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("plan_cache_mode", "force_generic_plan"),
        ]);
        let trust = Arc::new(Trust::default());
        let engine = trust.writers(engine_connections).connect_lazy_with(engine);
        Ok(Self {
            engine: Arc::new(Kept::new(engine, trust.clone())),
            api: trust.readers(8).connect_lazy_with(settings(&[])),
            upkeep: trust.writers(3).connect_lazy_with(settings(&[])),
            beats: trust.writers(BEATS).connect_lazy_with(settings(&[])),
            trust,
        })
    }

    /// Runs one unit of work with a limit of time. sqlx has none of its own, and a half-open link would
    /// otherwise hold it for minutes.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let began = Instant::now();
        let result = match tokio::time::timeout(UNIT_TIMEOUT, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout(UNIT_TIMEOUT)),
        };
        self.trust.judge(began, result)
    }

    /// Whether Postgres answers and takes writes.
    pub async fn is_writable(&self) -> bool {
        let ask = sqlx::query_scalar::<_, String>("SHOW transaction_read_only").fetch_one(&self.upkeep);
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(word)) if word == "off")
    }

    /// Closes the pools.
    pub async fn close(&self) {
        let close = async {
            tokio::join!(self.engine.close(), self.api.close(), self.upkeep.close(), self.beats.close())
        };
        // Each waits for all of its connections, and a link may be half open.
        if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::warn!("not every connection to postgres was closed in time");
        }
    }
}
