//! The engine moves sagas: load → decide → commit → publish → acknowledge, in batches.
//!
//! A saga belongs to one *lane* by the hash of its id; a lane is a task with a queue, a cache of live sagas
//! and their exact timers. Lanes commit independently, so that one commit's wait is another's work. That
//! a saga is always in the same lane is a convenience of this process; what keeps two writers apart is the
//! journal's key alone.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use snorri_bus::{Bus, Hearing};
use snorri_language::input_schema::Mismatch;
use snorri_saga::decide::{self, Ask, Input, Refusal, StartInput};
use snorri_saga::ids::{Name, SagaId};
use snorri_saga::json::Json;
use snorri_saga::saga::Saga;
use snorri_saga::wire::Reply;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aside::Aside;
use crate::clock::Clock;
use crate::definitions::{Definitions, Versioned};
use crate::delivery::Delivery;
use crate::dice::Dice;
use crate::metrics::Metrics;
use crate::store::{Due, Store};
use crate::tasks::Tasks;
use crate::telemetry::Tracer;

mod batch;
mod cache;
mod deciding;
mod lane;
mod owed;
mod post;
mod publisher;
mod queue;
mod rest;
mod room;
mod settle;
mod trouble;
mod waiters;

pub(crate) use owed::{Debt, Owed, Recall};
pub(crate) use post::Post;
pub(crate) use rest::Rests;
pub(crate) use room::Room;
pub use waiters::Waiters;

/// The most inputs that one commit takes. Batches form by themselves: of what is waiting, never waited for.
pub const BATCH_MAX: usize = 256;
/// How many inputs of sagas that are begun may wait for a lane. More are left in their stream.
const MOVES_WAITING_MAX: usize = 2048;
/// How many starts may wait for a lane. More are refused.
const STARTS_WAITING_MAX: usize = 1024;

/// What a lane is asked to do.
#[derive(Debug)]
pub(crate) enum Item {
    /// Begin a saga.
    Start(Box<Start>),
    /// A participant answered. The message is acknowledged last.
    Reply(Box<Reply>, Arc<Delivery>),
    /// Its timer fired.
    Woke(SagaId),
    /// The sweep found it due: look at it, and send what is under way once more, ids unchanged.
    Swept(Due),
    /// Messages may be lost, or its replica is dead: send what is under way under new ids.
    Resend(SagaId),
    /// It has ended, or may have: announce it, once more perhaps, if it has.
    Announce(SagaId, Recall),
    /// Somebody outside asks something of it.
    Act(SagaId, Box<Act>),
    /// The parent of this sub-saga asks something of it. Until that is seen to, announcements may be owed.
    Ask(Box<Ask>, Arc<Versioned>, Vec<Arc<Debt>>),
    /// A sub-saga answers its parent. Until that is seen to, announcements may be owed.
    Answer(Box<Reply>, Vec<Arc<Debt>>),
    /// The parent of this sub-saga, which it asked for, is not there.
    Orphan(SagaId),
}

impl Item {
    fn saga(&self) -> SagaId {
        match self {
            Self::Start(start) => start.input.id,
            Self::Reply(reply, _) | Self::Answer(reply, _) => reply.command.effect.saga,
            Self::Woke(id)
            | Self::Swept(Due { id, .. })
            | Self::Resend(id)
            | Self::Orphan(id)
            | Self::Announce(id, _)
            | Self::Act(id, _) => *id,
            Self::Ask(ask, ..) => ask.child,
        }
    }
}

/// A start on its way.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) versioned: Arc<Versioned>,
    pub(crate) input: StartInput,
    pub(crate) fingerprint: Option<[u8; 32]>,
    pub(crate) done: oneshot::Sender<Result<Started, StartError>>,
}

/// What somebody outside asks of a saga, on its way: a cancellation, a signal, a decision.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) input: Input,
    pub(crate) done: oneshot::Sender<Result<Acted, ActError>>,
}

/// What somebody asked of a saga was done.
#[derive(Debug)]
pub struct Acted {
    /// The saga as it stands after that.
    pub saga: Saga,
    /// It was so already: the same was asked before.
    pub is_replay: bool,
}

/// A start that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The saga.
    pub id: SagaId,
    /// The definition's version that it runs.
    pub version: u32,
    /// The same start came before: this is its saga.
    pub is_replay: bool,
}

/// Why a start was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is too much to do already.
    #[error("too much is under way ({0})")]
    Overloaded(&'static str),
    /// The idempotency key stands for another start.
    #[error("the idempotency key was used for another start, saga {0}")]
    KeyReused(SagaId),
    /// The input does not fit the definition's schema.
    #[error("the input does not fit the definition's schema")]
    InvalidInput(Vec<Mismatch>),
    /// It is not known whether it was accepted; with an idempotency key it can be repeated safely.
    #[error("postgres is not available")]
    Unavailable,
    /// The orchestrator is about to stop.
    #[error("this replica is shutting down")]
    ShuttingDown,
    /// The saga cannot be decided or stored.
    #[error("the saga could not be started: {0}")]
    Broken(String),
}

/// Why what somebody asked of a saga was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// There is no such saga.
    #[error("there is no saga {0}")]
    Unknown(SagaId),
    /// It does not fit to how the saga stands.
    #[error("{1}")]
    Refused(Box<Saga>, Refusal),
    /// It is not known whether it was accepted; it can be repeated safely.
    #[error("postgres is not available")]
    Unavailable,
    /// There is too much to do already.
    #[error("too much is under way ({0})")]
    Overloaded(&'static str),
}

/// What all lanes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Bus,
    pub(crate) replica: Name,
    pub(crate) clock: Arc<Clock>,
    pub(crate) dice: Dice,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) waiters: Arc<Waiters>,
    /// Ends that this replica commits, until they are announced.
    pub(crate) owed: Arc<Owed>,
    /// What sagas of this replica say to their parents and to their sub-sagas.
    pub(crate) post: Post,
    /// Sagas that were let go, until their wake-ups are set.
    pub(crate) rests: Rests,
    /// How many live sagas are in this replica's lanes.
    pub(crate) live: AtomicUsize,
    /// The most that may be, before starts are refused.
    pub(crate) live_max: usize,
    /// When a sub-saga was last begun without room for it.
    pub(crate) room: Room,
    /// What they take in memory, about, in bytes.
    pub(crate) live_bytes: AtomicUsize,
    /// The most that may be, before starts are refused.
    pub(crate) live_bytes_max: usize,
    /// Keeps what cannot be used.
    pub(crate) aside: Aside,
    /// When the inbox last heard from NATS, once it listens.
    pub(crate) hearing: OnceLock<Hearing>,
    /// A stream was missing when something was published.
    pub(crate) streams_wanted: Notify,
    /// Postgres's clock jumped: until then no timeout counts.
    pub(crate) clock_doubted_until: Mutex<Option<Instant>>,
    /// One more after each failure of the store: what is in memory from before may be more than it has by now.
    pub(crate) store_generation: AtomicU64,
    /// A commit failed and none has succeeded since.
    pub(crate) is_postgres_down: AtomicBool,
    /// A publish failed and none has succeeded since.
    pub(crate) is_bus_failing: AtomicBool,
}

/// What waits for a lane. Two queues, so that starts, however many come, never keep what is begun from being finished.
#[derive(Debug)]
struct Queues {
    moves: mpsc::Sender<Item>,
    starts: mpsc::Sender<Item>,
}

/// The engine's door.
#[derive(Debug, Clone)]
pub struct Engine {
    lanes: Arc<[Queues]>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// What a start brings.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The definition.
    pub versioned: Arc<Versioned>,
    /// The saga's input.
    pub input: Json,
    /// Words to find it by.
    pub tags: std::collections::BTreeMap<String, String>,
    /// The idempotency key with the fingerprint of what it stands for.
    pub key: Option<(String, [u8; 32])>,
    /// The starter's `traceparent`.
    pub traceparent: Option<String>,
}

impl Engine {
    pub(crate) fn start_lanes(
        shared: Arc<Shared>,
        lanes: usize,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Self {
        let queues: Vec<_> = (0..lanes.max(1))
            .map(|number| {
                let (moves, begun) = mpsc::channel(MOVES_WAITING_MAX);
                let (starts, new) = mpsc::channel(STARTS_WAITING_MAX);
                let lane = lane::Lane::new(number, shared.clone());
                tasks.spawn("a lane", stop, lane.run(queue::Queue::new(begun, new), stop.clone()));
                Queues { moves, starts }
            })
            .collect();
        let engine = Self { lanes: queues.into(), shared, stop: stop.clone() };
        tasks.spawn("the post between sagas", stop, post::run(engine.clone(), stop.clone()));
        engine
    }

    fn lane(&self, id: SagaId) -> Option<&Queues> {
        // The id's tail is random.
        let hash = id.0.as_u64_pair().1;
        let index = usize::try_from(hash % self.lanes.len() as u64).unwrap_or(0);
        self.lanes.get(index)
    }

    /// Hands an item to its lane, waiting while the lane's queue is full. Cancel-safe: not handed over.
    pub(crate) async fn hand_over(&self, id: SagaId, item: Item) {
        if let Some(lane) = self.lane(id) {
            // An error means that the lanes are gone: the orchestrator is stopping, and what was not
            // acknowledged comes again.
            let _ = lane.moves.send(item).await;
        }
    }

    /// Starts a saga. Returns once it is committed. `limit` is how long the caller waits.
    pub async fn start(&self, request: StartRequest, limit: Duration) -> Result<Started, StartError> {
        if self.stop.is_cancelled() {
            return Err(StartError::ShuttingDown);
        }
        if self.shared.live.load(Ordering::Relaxed) >= self.shared.live_max {
            self.shared.metrics.refused("live_sagas");
            return Err(StartError::Overloaded("live_sagas"));
        }
        if self.shared.live_bytes.load(Ordering::Relaxed) >= self.shared.live_bytes_max {
            self.shared.metrics.refused("live_bytes");
            return Err(StartError::Overloaded("live_bytes"));
        }
        let until = Instant::now() + limit;
        if let Some(started) = self.check_input(&request).await? {
            return Ok(started);
        }
        let id = SagaId(self.shared.dice.uuid(self.shared.clock.now()));
        let (done, answer) = oneshot::channel();
        let (key, fingerprint) = request.key.unzip();
        let version = request.versioned.version;
        // The start's own tags win.
        let mut tags = decide::tags(&request.versioned.definition, id, version, &request.input);
        tags.extend(request.tags);
        let start = Start {
            input: StartInput {
                id,
                version,
                input: request.input,
                tags,
                key: key.clone(),
                traceparent: request.traceparent,
                parent: None,
            },
            versioned: request.versioned,
            fingerprint,
            done,
        };
        let Some(lane) = self.lane(id) else { return Err(StartError::ShuttingDown) };
        match lane.starts.try_send(Item::Start(Box::new(start))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StartError::ShuttingDown),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.metrics.refused("queue");
                return Err(StartError::Overloaded("queue"));
            }
        }
        snorri_kill::point!(StartQueued, return Err(StartError::Unavailable));
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(answer)) => {
                snorri_kill::point!(StartCommitted, return Err(StartError::Unavailable));
                answer
            }
            Ok(Err(_)) => Err(StartError::ShuttingDown),
            Err(_) => {
                self.shared.metrics.refused("postgres");
                Err(StartError::Unavailable)
            }
        }
    }

    /// Refuses an input that does not fit its definition's schema. One that was taken before is the saga that it began,
    /// whatever a newer version of the definition says of it: its starter may have missed the answer.
    async fn check_input(&self, request: &StartRequest) -> Result<Option<Started>, StartError> {
        let mismatches = self.shared.definitions.mismatches(&request.versioned, &request.input).await;
        if mismatches.is_empty() {
            return Ok(None);
        }
        match self.begun(request.key.as_ref(), request.versioned.version).await? {
            Some(started) => Ok(Some(started)),
            None => Err(StartError::InvalidInput(mismatches)),
        }
    }

    /// The saga that an earlier start with this key began, for one that could not be accepted now. `otherwise` is the version that
    /// is told if the saga's own cannot be read.
    pub async fn begun(
        &self,
        key: Option<&(String, [u8; 32])>,
        otherwise: u32,
    ) -> Result<Option<Started>, StartError> {
        let Some((key, print)) = key else { return Ok(None) };
        let store = &self.shared.store;
        let known = store.start_key(key).await.map_err(|_| StartError::Unavailable)?;
        let Some((id, known)) = known else { return Ok(None) };
        if known.as_slice() != print {
            return Err(StartError::KeyReused(id));
        }
        let loaded = store.load(&[id]).await.map_err(|_| StartError::Unavailable)?.remove(&id);
        let version = match loaded {
            Some(Ok(loaded)) => loaded.saga.version,
            Some(Err(_)) | None => otherwise,
        };
        Ok(Some(Started { id, version, is_replay: true }))
    }

    /// Asks something of a saga: to be undone ([`Input::Cancel`]), to take a signal ([`Input::Signal`]) or a decision
    /// ([`Input::Decide`]). Returns its state after it is committed. `limit` is how long the caller waits.
    pub async fn act(&self, id: SagaId, input: Input, limit: Duration) -> Result<Acted, ActError> {
        let (done, answer) = oneshot::channel();
        let Some(lane) = self.lane(id) else { return Err(ActError::Unavailable) };
        if lane.moves.try_send(Item::Act(id, Box::new(Act { input, done }))).is_err() {
            return Err(ActError::Overloaded("queue"));
        }
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(ActError::Unavailable),
        }
    }

    /// Whether Postgres refuses commits just now.
    pub fn is_postgres_down(&self) -> bool {
        self.shared.is_postgres_down.load(Ordering::Relaxed)
    }
}
