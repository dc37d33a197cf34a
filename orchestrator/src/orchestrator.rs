//! One orchestrator in this process: wiring only.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use snorri_bus::{Bus, BusOptions};
use snorri_saga::ids::Name;
use snorri_saga::time::Timestamp;
use snorri_saga::wire::Subjects;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::aside::Aside;
use crate::clock::Clock;
use crate::config::{Config, Migrate};
use crate::definitions::Definitions;
use crate::engine::{Engine, Shared, Waiters};
use crate::http::{self, Api};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::store::{self, Store};
use crate::tasks::Tasks;
use crate::telemetry::Tracer;
use crate::upkeep;
use crate::{inbox, starts};

/// How long a graceful shutdown may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(25);

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
    /// A part of it ended that must not.
    #[error("{0} ended; the others go on with this replica's sagas")]
    Died(&'static str),
    /// Another process runs under the same name.
    #[error("another process runs under the replica name `{0}`: give each replica a name of its own")]
    Usurped(Name),
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
    shared: Arc<Shared>,
    incarnation: Uuid,
    stop: Stop,
    tasks: Tasks,
    died: mpsc::Receiver<&'static str>,
    upkeep: tokio::task::JoinHandle<upkeep::Ended>,
}

/// The order of stopping: first the doors, then the lanes.
#[derive(Debug, Clone)]
struct Stop {
    doors: CancellationToken,
    lanes: CancellationToken,
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
        let tracer = Arc::new(tracer);
        let store = Store::connect(&config.database_url, config.lanes + 2)?;
        let probes = http::Probes::default();
        let stop = Stop {
            doors: CancellationToken::new(),
            lanes: CancellationToken::new(),
            servers: CancellationToken::new(),
        };
        let (tasks, died) = Tasks::new();
        // Probes answer from the first moment: a replica that waits for Postgres is alive, and not ready.
        tasks.spawn(
            "the admin server",
            &stop.servers,
            http::serve_admin(admin_listener, probes.clone(), metrics.clone(), stop.servers.clone()),
        );
        let bus = Bus::connect(BusOptions {
            servers: config.nats_url.clone(),
            credentials: config.nats_creds.clone(),
            client_name: format!("snorri {replica}"),
            subjects,
            stream_replicas: config.stream_replicas,
        })
        .await?;
        probes.watch(store.clone(), bus.clone());
        bus.limit_streams(config.stream_bytes);
        prepare_bus(&bus).await;
        let clock = Arc::new(Clock::new());
        let incarnation = Uuid::now_v7();
        let predecessor = enter(&store, &config, &replica, incarnation, &clock).await?;
        let definitions = Arc::new(Definitions::new(store.clone()));
        let shared = Arc::new(Shared {
            store: store.clone(),
            bus: bus.clone(),
            replica: replica.clone(),
            clock: clock.clone(),
            definitions: definitions.clone(),
            metrics: metrics.clone(),
            tracer,
            waiters: Arc::new(Waiters::default()),
            live: AtomicUsize::new(0),
            live_max: config.live_sagas_max,
            live_bytes: AtomicUsize::new(0),
            live_bytes_max: usize::try_from(config.live_bytes_max).unwrap_or(usize::MAX),
            aside: Aside::default(),
            streams_wanted: Notify::new(),
            clock_doubted_until: Mutex::new(None),
            is_postgres_down: AtomicBool::new(false),
            is_bus_failing: AtomicBool::new(false),
        });
        let engine = Engine::start_lanes(shared.clone(), config.lanes as usize, &tasks, stop.lanes.clone());
        tasks.spawn(
            "the watch",
            &stop.doors,
            crate::metrics::watch(metrics.clone(), store.clone(), stop.doors.clone()),
        );
        let lost = Arc::new(Notify::new());
        upkeep::resume(&engine, &shared, predecessor).await;
        let intake = Arc::new(Intake::new(definitions.clone(), config.starts_per_second_max));
        let doors = stop.doors.clone();
        tasks.spawn(
            "the inbox",
            &doors,
            inbox::run(engine.clone(), shared.clone(), lost.clone(), doors.clone()),
        );
        tasks.spawn(
            "the starts",
            &doors,
            starts::run(engine.clone(), shared.clone(), intake.clone(), doors.clone()),
        );
        let upkeep =
            tokio::spawn(upkeep::run(engine.clone(), shared.clone(), incarnation, lost, doors.clone()));
        let api = Api {
            engine,
            store,
            bus,
            clock,
            definitions,
            intake,
            metrics,
            waiters: shared.waiters.clone(),
            probes: probes.clone(),
        };
        tasks.spawn("the REST server", &stop.servers, http::serve(listener, api, stop.servers.clone()));
        probes.started();
        tracing::info!(%replica, %address, admin = %admin_address, "the orchestrator is up");
        Ok(Self { address, admin_address, replica, shared, incarnation, stop, tasks, died, upkeep })
    }

    /// Resolves when the orchestrator cannot go on by itself.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            Some(name) = self.died.recv() => Error::Died(name),
            ended = &mut self.upkeep => match ended {
                Ok(upkeep::Ended::Usurped) => Error::Usurped(self.replica.clone()),
                Ok(upkeep::Ended::Stopped) | Err(_) => Error::Died("the upkeep"),
            },
        }
    }

    /// Stops gracefully: no new work, what is under way is committed, published and acknowledged, and the
    /// others are told, so that they take over at once.
    pub async fn shut_down(self) {
        let began = Instant::now();
        tracing::info!(replica = %self.replica, "shutting down");
        self.stop.doors.cancel();
        self.stop.servers.cancel();
        // The doors hand over what they hold before the lanes close.
        sleep(Duration::from_millis(100)).await;
        self.stop.lanes.cancel();
        if tokio::time::timeout(SHUTDOWN_MAX, self.tasks.ended()).await.is_err() {
            tracing::warn!("not everything was finished in time; another replica goes on with it");
        }
        if let Err(error) = self.shared.store.leave(&self.replica, self.incarnation).await {
            tracing::debug!(error = error.chain(), "could not say goodbye");
        }
        self.shared.tracer.shut_down().await;
        self.shared.bus.close().await;
        self.shared.store.close().await;
        tracing::info!(replica = %self.replica, took_ms = began.elapsed().as_millis(), "shut down");
    }
}

/// Makes the streams before the doors open, if NATS is there; otherwise they are made when it comes.
async fn prepare_bus(bus: &Bus) {
    let prepare = async {
        bus.connected().await;
        // Says aloud if the server is one with known losses.
        bus.server_version().await;
        bus.ensure_streams().await
    };
    match tokio::time::timeout(Duration::from_secs(3), prepare).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the streams could not be made yet"),
        Err(_) => tracing::warn!("NATS does not answer yet; going on without it until it comes"),
    }
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))
}

/// Migrates or checks, and enters this replica, waiting for Postgres for as long as it takes. Returns the last
/// heartbeat of a predecessor of the same name.
async fn enter(
    store: &Store,
    config: &Config,
    replica: &Name,
    incarnation: Uuid,
    clock: &Clock,
) -> Result<Option<Timestamp>, Error> {
    let mut pause = Duration::from_millis(100);
    loop {
        let asked = std::time::Instant::now();
        let tried = async {
            match config.migrate {
                Migrate::On => store.migrate().await?,
                Migrate::Check => store.check_schema().await?,
            }
            store.enter(replica, incarnation, env!("CARGO_PKG_VERSION")).await
        };
        match tried.await {
            Ok(entered) => {
                clock.sync(entered.now, asked);
                return Ok(entered.predecessor);
            }
            Err(error)
                if error.is_transient()
                    || matches!(error, store::Error::Migrate(sqlx::migrate::MigrateError::Execute(_))) =>
            {
                tracing::warn!(error = error.chain(), "waiting for postgres");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
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
