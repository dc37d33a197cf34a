//! One orchestrator over its two ports, the store and the bus, without servers: the engine, and the doors through which
//! time and NATS reach it. The simulator runs exactly this.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use snorri_bus::Bus;
use snorri_saga::ids::Name;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::aside::Aside;
use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::dice::Dice;
use crate::engine::{Engine, Post, Rests, Room, Shared, Waiters};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::store::replicas::Entered;
use crate::store::{self, Store};
use crate::tasks::Tasks;
use crate::telemetry::Tracer;
use crate::upkeep;
use crate::{inbox, signals, starts};

/// How long a graceful shutdown may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(25);
/// The pauses between two attempts to reach a store that is away.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How a replica reaches the world, and as what.
#[derive(Debug)]
pub struct Ports {
    /// Its name, its own among all.
    pub name: Name,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The courier.
    pub bus: Bus,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is traced.
    pub tracer: Arc<Tracer>,
    /// Where chance comes from.
    pub dice: Dice,
    /// How much of anything.
    pub limits: Limits,
}

/// How much a replica takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many batches are committed side by side.
    pub lanes: usize,
    /// The most live sagas.
    pub live_sagas: usize,
    /// The most bytes that they may take in memory.
    pub live_bytes: usize,
    /// The most starts a second; 0 is no limit.
    pub starts_per_second: u32,
}

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A part of it ended that must not.
    #[error("{0} ended; the others go on with this replica's sagas")]
    Died(&'static str),
    /// Another process runs under the same name.
    #[error("another process runs under the replica name `{0}`: give each replica a name of its own")]
    Usurped(Name),
}

/// A running replica.
#[derive(Debug)]
pub struct Replica {
    /// Where sagas are started and cancelled.
    pub engine: Engine,
    /// The definitions in force.
    pub definitions: Arc<Definitions>,
    /// What is let in.
    pub intake: Arc<Intake>,
    shared: Arc<Shared>,
    incarnation: Uuid,
    stop: Stop,
    tasks: Tasks,
    died: mpsc::Receiver<&'static str>,
    upkeep: tokio::task::JoinHandle<upkeep::Ended>,
}

/// The order of stopping: first the doors, then the lanes.
#[derive(Debug, Clone, Default)]
struct Stop {
    doors: CancellationToken,
    lanes: CancellationToken,
}

impl Replica {
    /// Starts one. Waits for the store for as long as it takes, and says so; the bus may come later. A store that
    /// refuses it for good is an error.
    pub async fn start(ports: Ports) -> Result<Self, store::Error> {
        let Ports { name, store, bus, metrics, tracer, dice, limits } = ports;
        prepare_bus(&bus).await;
        let clock = Arc::new(Clock::new());
        let incarnation = dice.uuid(clock.now());
        let predecessor = enter(&*store, &name, incarnation, &clock).await?.predecessor;
        let definitions = Arc::new(Definitions::new(store.clone()));
        let shared = Arc::new(Shared {
            store,
            bus,
            replica: name,
            clock,
            dice,
            definitions: definitions.clone(),
            post: Post::new(metrics.clone()),
            rests: Rests::default(),
            metrics,
            tracer,
            waiters: Arc::new(Waiters::default()),
            owed: Arc::default(),
            room: Room::default(),
            live: AtomicUsize::new(0),
            live_max: limits.live_sagas,
            live_bytes: AtomicUsize::new(0),
            live_bytes_max: limits.live_bytes,
            aside: Aside::default(),
            hearing: OnceLock::new(),
            streams_wanted: Notify::new(),
            clock_doubted_until: Mutex::new(None),
            store_generation: AtomicU64::new(0),
            is_postgres_down: AtomicBool::new(false),
            is_bus_failing: AtomicBool::new(false),
        });
        let stop = Stop::default();
        let (tasks, died) = Tasks::new();
        let engine = Engine::start_lanes(shared.clone(), limits.lanes, &tasks, &stop.lanes);
        let lost = Arc::new(Notify::new());
        let inherited = upkeep::resume(&engine, &shared, predecessor).await;
        let intake = Arc::new(Intake::new(definitions.clone(), limits.starts_per_second));
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
        tasks.spawn("the signals", &doors, signals::run(engine.clone(), shared.clone(), doors.clone()));
        let upkeep =
            tokio::spawn(upkeep::run(engine.clone(), shared.clone(), incarnation, inherited, lost, doors));
        Ok(Self { engine, definitions, intake, shared, incarnation, stop, tasks, died, upkeep })
    }

    /// Time as Postgres has it.
    pub fn clock(&self) -> Arc<Clock> {
        self.shared.clock.clone()
    }

    /// For those who wait for a saga's end.
    pub fn waiters(&self) -> Arc<Waiters> {
        self.shared.waiters.clone()
    }

    /// Resolves when the replica cannot go on by itself. Cancel-safe.
    pub async fn failed(&mut self) -> Ended {
        tokio::select! {
            biased;
            Some(name) = self.died.recv() => Ended::Died(name),
            ended = &mut self.upkeep => match ended {
                Ok(upkeep::Ended::Usurped) => Ended::Usurped(self.shared.replica.clone()),
                Ok(upkeep::Ended::Stopped) | Err(_) => Ended::Died("the upkeep"),
            },
        }
    }

    /// Stops gracefully: no new work, what is under way is committed, published and acknowledged, and the
    /// others are told, so that they take over at once.
    pub async fn shut_down(self) {
        self.stop.doors.cancel();
        // The doors hand over what they hold before the lanes close.
        sleep(Duration::from_millis(100)).await;
        self.stop.lanes.cancel();
        if tokio::time::timeout(SHUTDOWN_MAX, self.tasks.ended()).await.is_err() {
            tracing::warn!("not everything was finished in time; another replica goes on with it");
        }
        // No heartbeat after the goodbye.
        if !self.upkeep.is_finished() {
            let _ = self.upkeep.await;
        }
        let Shared { store, replica, tracer, bus, .. } = &*self.shared;
        if let Err(error) = store.leave(replica, self.incarnation).await {
            tracing::debug!(error = error.chain(), "could not say goodbye");
        }
        tracer.shut_down().await;
        bus.close().await;
    }

    /// Ends it as a crash does: nothing more is finished, told or sent.
    pub fn abort(self) {
        self.upkeep.abort();
        self.tasks.abort();
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

/// Enters this replica, waiting for the store for as long as it takes.
async fn enter(
    store: &dyn Store,
    name: &Name,
    incarnation: Uuid,
    clock: &Clock,
) -> Result<Entered, store::Error> {
    let mut pause = PAUSE_MIN;
    loop {
        let asked = Instant::now();
        match store.enter(name, incarnation, env!("CARGO_PKG_VERSION")).await {
            Ok(entered) => {
                clock.sync(entered.now, asked);
                return Ok(entered);
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(error = error.chain(), "waiting for postgres");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => return Err(error),
        }
    }
}
