//! A lane's publisher: carries effects out after the commit, awaits the acknowledgements of a batch
//! together, and acknowledges the inputs last. Several batches are under way at once, so that the lane
//! does not wait for NATS.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snorri_bus::{Outgoing, PublishError};
use snorri_saga::decide::Effect;
use snorri_saga::ids::SagaId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Debt, Shared};
use crate::delivery::Delivery;
use crate::outbox;
use crate::store::dead_letters::DeadLetter;

/// How many batches of one lane may be under way at once. More make the lane wait: that is the brake.
const JOBS_MAX: u32 = 8;

/// The most announcements that wait to be published. More are dropped, oldest first, and said so: they tell
/// of what Postgres knows.
const ENDINGS_WAITING_MAX: usize = 65_536;

/// That a saga has ended.
#[derive(Debug)]
pub(super) struct Announcement {
    saga: SagaId,
    outgoing: Outgoing,
    /// Paid when this is dropped: NATS has it.
    _owed: Vec<Arc<Debt>>,
}

/// What could not be published, until it is.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: Mutex<Waiting>,
    is_filled: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Sagas whose commands could not be published: these follow from the state. Bounded by the live sagas.
    sagas: BTreeSet<SagaId>,
    /// Announcements: their sagas are in no lane's memory any more.
    endings: VecDeque<Announcement>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        !self.is_filled.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Never half-written.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, sagas: &HashSet<SagaId>, endings: Vec<Announcement>) {
        let mut waiting = self.lock();
        waiting.sagas.extend(sagas);
        waiting.endings.extend(endings);
        let excess = waiting.endings.len().saturating_sub(ENDINGS_WAITING_MAX);
        if excess > 0 {
            waiting.endings.drain(..excess);
            tracing::error!(excess, "too many announcements wait to be published; the oldest are dropped");
        }
        self.is_filled.store(!waiting.sagas.is_empty() || !waiting.endings.is_empty(), Ordering::Relaxed);
    }

    pub(super) fn take(&self, limit: usize) -> (Vec<SagaId>, Vec<Announcement>) {
        let mut waiting = self.lock();
        let ids: Vec<SagaId> = waiting.sagas.iter().copied().take(limit).collect();
        for id in &ids {
            waiting.sagas.remove(id);
        }
        let count = waiting.endings.len().min(limit);
        let endings = waiting.endings.drain(..count).collect();
        self.is_filled.store(!waiting.sagas.is_empty() || !waiting.endings.is_empty(), Ordering::Relaxed);
        (ids, endings)
    }
}

/// What is to be done once a batch is committed.
#[derive(Debug, Default)]
pub(super) struct Job {
    commands: Vec<(SagaId, Outgoing)>,
    endings: Vec<Announcement>,
    acks: Vec<(SagaId, Arc<Delivery>)>,
    aside: Vec<(DeadLetter, Arc<Delivery>)>,
}

impl Job {
    pub(super) fn add(&mut self, shared: &Shared, saga: SagaId, effects: Vec<Effect>, owed: &[Arc<Debt>]) {
        for effect in effects {
            let is_sampled = shared.tracer.is_sampled(saga);
            match effect {
                Effect::Send(command) => {
                    let outgoing =
                        outbox::command(&command, shared.bus.subjects(), &shared.replica, is_sampled);
                    self.commands.push((saga, outgoing));
                }
                Effect::Announce(ended) => {
                    let outgoing = outbox::ended(&ended, shared.bus.subjects());
                    self.endings.push(Announcement { saga, outgoing, _owed: owed.to_vec() });
                }
                Effect::Ask(ask) => shared.post.ask(*ask, owed),
                Effect::Answer(reply) => shared.post.answer(*reply, owed),
            }
        }
    }

    pub(super) fn add_endings(&mut self, endings: Vec<Announcement>) {
        self.endings.extend(endings);
    }

    /// Settles the reply once all commands of its saga are published.
    pub(super) fn ack_after(&mut self, saga: SagaId, delivery: Arc<Delivery>) {
        self.acks.push((saga, delivery));
    }

    /// Settles the reply once it is kept aside.
    pub(super) fn keep_aside(&mut self, letter: DeadLetter, delivery: Arc<Delivery>) {
        self.aside.push((letter, delivery));
    }

    fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.endings.is_empty() && self.acks.is_empty() && self.aside.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    slots: Arc<Semaphore>,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, backlog: Arc<Backlog>) -> Self {
        Self { shared, backlog, slots: Arc::new(Semaphore::new(JOBS_MAX as usize)) }
    }

    /// Takes a job on. Waits only while too many are under way.
    pub(super) async fn publish(&self, job: Job) {
        if job.is_empty() {
            return;
        }
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
        let (shared, backlog) = (self.shared.clone(), self.backlog.clone());
        tokio::spawn(async move {
            run(&shared, &backlog, job).await;
            drop(slot);
        });
    }

    /// Waits for everything that is under way.
    pub(super) async fn finish(&self) {
        // An error means that the semaphore is closed, which it never is.
        let _ = self.slots.acquire_many(JOBS_MAX).await;
    }
}

async fn run(shared: &Shared, backlog: &Backlog, job: Job) {
    let began = Instant::now();
    let is_ending_from = job.commands.len();
    let endings = job.endings.iter().map(|ending| (ending.saga, ending.outgoing.clone()));
    let (sagas, outgoing): (Vec<SagaId>, Vec<Outgoing>) = job.commands.into_iter().chain(endings).unzip();
    let count = outgoing.len();
    let mut failed: HashSet<SagaId> = HashSet::new();
    if count > 0 {
        let results = shared.bus.publish_all(outgoing).await;
        let mut errors: BTreeMap<String, usize> = BTreeMap::new();
        let mut endings = job.endings.into_iter();
        let mut again = Vec::new();
        for (place, (saga, result)) in sagas.iter().zip(results).enumerate() {
            let ending = if place >= is_ending_from { endings.next() } else { None };
            let Err(error) = result else { continue };
            match &error {
                // Another try would not mend it; the step's timeout sees to it.
                PublishError::TooLarge | PublishError::Invalid(_) => {
                    tracing::error!(saga_id = %saga, %error, "a message cannot be sent");
                    continue;
                }
                PublishError::NoStream => shared.streams_wanted.notify_one(),
                PublishError::NotConnected
                | PublishError::Busy
                | PublishError::Unknown
                | PublishError::Refused { .. } => {}
            }
            *errors.entry(error.to_string()).or_default() += 1;
            match ending {
                Some(ending) => again.push(ending),
                None => {
                    failed.insert(*saga);
                }
            }
        }
        // Said once when it begins and once when it is over, not a thousand times in between.
        if errors.is_empty() {
            if shared.is_bus_failing.swap(false, Ordering::Relaxed) {
                tracing::info!("messages are published again");
            }
        } else if !shared.is_bus_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(?errors, "messages cannot be published; they are tried again until they are");
        }
        let undone = failed.len() + again.len();
        if undone > 0 {
            backlog.add(&failed, again);
        }
        shared.metrics.published(count, undone, began.elapsed().as_secs_f64());
        snorri_kill::point!(Published, return);
    }
    for (saga, delivery) in job.acks {
        if !failed.contains(&saga) && delivery.settle().await {
            snorri_kill::point!(InputAcked => after shared.bus.flush(), return);
        }
    }
    keep_aside(shared, job.aside).await;
}

async fn keep_aside(shared: &Shared, aside: Vec<(DeadLetter, Arc<Delivery>)>) {
    if aside.is_empty() {
        return;
    }
    let (letters, deliveries): (Vec<DeadLetter>, Vec<Arc<Delivery>>) = aside.into_iter().unzip();
    match shared.aside.keep(&*shared.store, &shared.metrics, letters).await {
        Ok(()) => {
            for delivery in deliveries {
                delivery.settle().await;
            }
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "dead letters could not be kept; they come again");
        }
    }
}
