//! What an orchestrator has to be told. Every flag is an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The settings of `snorri serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where Postgres is, such as postgres://user:password@host/database
    #[arg(long, env = "SNORRI_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Where NATS is; several addresses separated by commas
    #[arg(long, env = "SNORRI_NATS_URL", hide_env_values = true, value_delimiter = ',', required = true)]
    pub nats_url: Vec<String>,
    /// A NATS credentials file
    #[arg(long, env = "SNORRI_NATS_CREDS")]
    pub nats_creds: Option<PathBuf>,
    /// Where the REST API listens
    #[arg(long, env = "SNORRI_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where probes and metrics listen
    #[arg(long, env = "SNORRI_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,
    /// This replica's name, its own among all [default: the host's name and the port]
    #[arg(long, env = "SNORRI_REPLICA")]
    pub replica: Option<String>,
    /// The first token of all subjects and streams
    #[arg(long, env = "SNORRI_NAMESPACE", default_value = "snorri")]
    pub namespace: String,
    /// How many replicas the streams have when they are created here
    #[arg(long, env = "SNORRI_STREAM_REPLICAS", default_value_t = 1)]
    pub stream_replicas: usize,
    /// How many bytes the stream of commands may hold when it is created here; the others get a share of it
    #[arg(long, env = "SNORRI_STREAM_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub stream_bytes: u64,
    /// The most live sagas of this replica; more starts are answered 503
    #[arg(long, env = "SNORRI_LIVE_SAGAS_MAX", default_value_t = 100_000)]
    pub live_sagas_max: usize,
    /// The most bytes that the live sagas of this replica may take in memory; more starts are answered 503
    #[arg(long, env = "SNORRI_LIVE_BYTES_MAX", default_value_t = 256 * 1024 * 1024)]
    pub live_bytes_max: u64,
    /// The most starts a second of this replica; more are answered 429. 0 is no limit
    #[arg(long, env = "SNORRI_STARTS_PER_SECOND_MAX", default_value_t = 0)]
    pub starts_per_second_max: u32,
    /// How many batches are committed side by side [default: one for each four processors]
    #[arg(long, env = "SNORRI_LANES", default_value_t = default_lanes(), hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub lanes: u32,
    /// Whether to migrate the database at the start, or only to check that it is new enough
    #[arg(long, env = "SNORRI_MIGRATE", value_enum, default_value_t = Migrate::On)]
    pub migrate: Migrate,
    /// Where traces go, over OTLP/HTTP, such as http://jaeger:4318
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// What to do about the database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Migrate {
    /// Apply what is missing.
    On,
    /// Only check.
    Check,
}

/// One lane for each four processors. Fewer lanes make fuller batches, which cost less for each saga: on two processors one
/// lane ends more sagas a second than two, at any number in flight. More are needed only when a lane alone cannot decide
/// them fast enough.
pub fn default_lanes() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors / 4).unwrap_or(1).clamp(1, 64)
}
