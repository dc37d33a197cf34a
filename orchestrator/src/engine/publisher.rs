//! A lane's publisher: carries effects out after the commit, awaits the acknowledgements of a batch
//! together, and acknowledges the inputs last. Several batches are under way at once, so that the lane
//! does not wait for NATS.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use snorri_bus::{Message, Outgoing, PublishError};
use snorri_saga::decide::Effect;
use snorri_saga::ids::SagaId;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::{Item, Shared};
use crate::outbox;
use crate::store::dead_letters::DeadLetter;

/// How many batches of one lane may be under way at once. More make the lane wait: that is the brake.
const JOBS_MAX: u32 = 8;

/// What is to be done once a batch is committed.
#[derive(Debug, Default)]
pub(super) struct Job {
    outgoing: Vec<(SagaId, Outgoing)>,
    acks: Vec<(SagaId, Message)>,
    aside: Vec<DeadLetter>,
}

impl Job {
    pub(super) fn add(&mut self, shared: &Shared, saga: SagaId, effects: Vec<Effect>) {
        for effect in effects {
            let outgoing = outbox::encode(
                &effect,
                shared.bus.subjects(),
                &shared.replica,
                shared.tracer.is_sampled(saga),
            );
            self.outgoing.push((saga, outgoing));
        }
    }

    /// Acknowledges the message once everything of its saga is published.
    pub(super) fn ack_after(&mut self, saga: SagaId, message: Message) {
        self.acks.push((saga, message));
    }

    pub(super) fn keep_aside(&mut self, letter: DeadLetter) {
        self.aside.push(letter);
    }

    fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.acks.is_empty() && self.aside.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    back: mpsc::WeakSender<Item>,
    slots: Arc<Semaphore>,
}

impl Publisher {
    pub(super) fn new(shared: Arc<Shared>, back: mpsc::WeakSender<Item>) -> Self {
        Self { shared, back, slots: Arc::new(Semaphore::new(JOBS_MAX as usize)) }
    }

    /// Takes a job on. Waits only while too many are under way.
    pub(super) async fn publish(&self, job: Job) {
        if job.is_empty() {
            return;
        }
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
        let (shared, back) = (self.shared.clone(), self.back.clone());
        tokio::spawn(async move {
            run(&shared, &back, job).await;
            drop(slot);
        });
    }

    /// Waits for everything that is under way.
    pub(super) async fn finish(&self) {
        let _ = self.slots.acquire_many(JOBS_MAX).await;
    }
}

async fn run(shared: &Shared, back: &mpsc::WeakSender<Item>, job: Job) {
    let began = Instant::now();
    let (sagas, outgoing): (Vec<SagaId>, Vec<Outgoing>) = job.outgoing.into_iter().unzip();
    let count = outgoing.len();
    let mut failed: HashSet<SagaId> = HashSet::new();
    if count > 0 {
        let results = shared.bus.publish_all(outgoing).await;
        let mut errors: HashMap<String, usize> = HashMap::new();
        for (saga, result) in sagas.iter().zip(results) {
            if let Err(error) = result {
                *errors.entry(error.to_string()).or_default() += 1;
                if !matches!(error, PublishError::TooLarge | PublishError::Invalid(_)) {
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
        shared.metrics.published(count, failed.len(), began.elapsed().as_secs_f64());
    }
    if !job.aside.is_empty() {
        for letter in &job.aside {
            shared.metrics.dead_letter(letter.reason);
        }
        if let Err(error) = shared.store.keep_aside(&job.aside).await {
            tracing::warn!(error = error.chain(), "dead letters could not be kept; they come again");
            return;
        }
    }
    for (saga, message) in job.acks {
        if !failed.contains(&saga) {
            message.ack().await;
        }
    }
    if !failed.is_empty()
        && let Some(back) = back.upgrade()
    {
        // The lane may be waiting for one of our slots with a full queue: do not wait for it in turn.
        let _ = back.try_send(Item::Unpublished(failed.into_iter().collect()));
    }
}
