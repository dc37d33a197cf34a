//! One orchestrator in this process, with its servers: wiring only.

use std::sync::Arc;
use std::time::Duration;

use snorri_bus::{Bus, BusOptions};
use snorri_saga::ids::Name;
use snorri_saga::wire::Subjects;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Migrate};
use crate::dice::Dice;
use crate::http::{self, Api};
use crate::metrics::Metrics;
use crate::replica::{self, Limits, Ports, Replica};
use crate::store::{self, Postgres};
use crate::tasks::Tasks;
use crate::telemetry::Tracer;

/// How long the last answers to requests may take when it stops.
const ANSWERS_MAX: Duration = Duration::from_secs(5);
/// The pauses between two attempts to reach a Postgres that is away.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why an orchestrator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// The store's settings or its schema are wrong.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The bus's settings are wrong.
    #[error(transparent)]
    Bus(#[from] snorri_bus::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// Traces cannot be exported.
    #[error("traces cannot be exported to {0}: {1}")]
    Telemetry(String, String),
    /// It ended by itself.
    #[error(transparent)]
    Ended(#[from] replica::Ended),
}

/// A running orchestrator.
#[derive(Debug)]
pub struct Orchestrator {
    /// Where the REST API listens.
    pub address: std::net::SocketAddr,
    /// Where probes and metrics listen.
    pub admin_address: std::net::SocketAddr,
    /// Its name.
    pub replica: Name,
    running: Replica,
    postgres: Postgres,
    tasks: Tasks,
    died: mpsc::Receiver<&'static str>,
    servers: CancellationToken,
}

impl Orchestrator {
    /// Starts one. Waits for Postgres for as long as it takes, and says so; NATS may come later.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let namespace = Name::new(&config.namespace).map_err(|error| Error::Setting(error.to_string()))?;
        let listener = listen(config.listen).await?;
        let admin_listener = listen(config.admin_listen).await?;
        let address = listener.local_addr().map_err(|error| Error::Listen(config.listen, error))?;
        let admin_address =
            admin_listener.local_addr().map_err(|error| Error::Listen(config.admin_listen, error))?;
        let replica = match &config.replica {
            Some(name) => Name::new(name).map_err(|error| Error::Setting(error.to_string()))?,
            None => default_name(address.port()),
        };
        let metrics = Arc::new(Metrics::default());
        let subjects = Subjects::new(namespace);
        let tracer = Tracer::new(config.otlp_endpoint.as_deref())?
            .with_subjects(subjects.clone())
            .counting(metrics.lost_spans());
        let postgres = Postgres::connect(&config.database_url, config.lanes + 2)?;
        let probes = http::Probes::default();
        let servers = CancellationToken::new();
        let (tasks, died) = Tasks::new();
        // Probes answer from the first moment: a replica that waits for Postgres is alive, and not ready.
        tasks.spawn(
            "the admin server",
            &servers,
            http::serve_admin(admin_listener, probes.clone(), metrics.clone(), servers.clone()),
        );
        let bus = Bus::connect(BusOptions {
            servers: config.nats_url.clone(),
            credentials: config.nats_creds.clone(),
            client_name: format!("snorri {replica}"),
            subjects,
            stream_replicas: config.stream_replicas,
        })
        .await?;
        probes.watch(postgres.clone(), bus.clone());
        bus.limit_streams(config.stream_bytes);
        prepare_schema(&postgres, config.migrate).await?;
        let running = Replica::start(Ports {
            name: replica.clone(),
            store: Arc::new(postgres.clone()),
            bus: bus.clone(),
            metrics: metrics.clone(),
            tracer: Arc::new(tracer),
            dice: Dice::fair(),
            limits: Limits {
                lanes: config.lanes as usize,
                live_sagas: config.live_sagas_max,
                live_bytes: usize::try_from(config.live_bytes_max).unwrap_or(usize::MAX),
                starts_per_second: config.starts_per_second_max,
            },
        })
        .await?;
        tasks.spawn(
            "the watch",
            &servers,
            crate::metrics::watch(metrics.clone(), postgres.clone(), servers.clone()),
        );
        let api = Api {
            engine: running.engine.clone(),
            store: postgres.clone(),
            bus,
            clock: running.clock(),
            definitions: running.definitions.clone(),
            intake: running.intake.clone(),
            metrics,
            waiters: running.waiters(),
            probes: probes.clone(),
        };
        tasks.spawn("the REST server", &servers, http::serve(listener, api, servers.clone()));
        probes.started();
        tracing::info!(%replica, %address, admin = %admin_address, "the orchestrator is up");
        Ok(Self { address, admin_address, replica, running, postgres, tasks, died, servers })
    }

    /// Resolves when the orchestrator cannot go on by itself.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            Some(name) = self.died.recv() => Error::Ended(replica::Ended::Died(name)),
            ended = self.running.failed() => Error::Ended(ended),
        }
    }

    /// Stops gracefully: no new work, what is under way is committed, published and acknowledged, and the
    /// others are told, so that they take over at once.
    pub async fn shut_down(self) {
        let began = Instant::now();
        tracing::info!(replica = %self.replica, "shutting down");
        self.servers.cancel();
        self.running.shut_down().await;
        // Their sagas were moved by the lanes, which are done; what is left is the writing of answers.
        if tokio::time::timeout(ANSWERS_MAX, self.tasks.ended()).await.is_err() {
            tracing::warn!("not every request was answered in time");
        }
        self.postgres.close().await;
        tracing::info!(replica = %self.replica, took_ms = began.elapsed().as_millis(), "shut down");
    }
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))
}

/// Migrates or checks, waiting for Postgres for as long as it takes.
async fn prepare_schema(postgres: &Postgres, migrate: Migrate) -> Result<(), Error> {
    let mut pause = PAUSE_MIN;
    loop {
        let tried = match migrate {
            Migrate::On => postgres.migrate().await,
            Migrate::Check => postgres.check_schema().await,
        };
        match tried {
            Ok(()) => return Ok(()),
            Err(error)
                if error.is_transient()
                    || matches!(error, store::Error::Migrate(sqlx::migrate::MigrateError::Execute(_))) =>
            {
                tracing::warn!(error = error.chain(), "waiting for postgres");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn default_name(port: u16) -> Name {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let clean: String = host
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(50)
        .collect();
    let clean = clean.trim_matches('-');
    let text = if clean.is_empty() { format!("replica-{port}") } else { format!("{clean}-{port}") };
    Name::new(&text).unwrap_or_else(|_| Name::new("replica").expect("`replica` is a name"))
}
