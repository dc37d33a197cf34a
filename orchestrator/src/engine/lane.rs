//! One lane: takes what is waiting, has it decided and committed as one batch, and hands the rest to its
//! publisher. See [`super::batch`] for what becomes of a batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_saga::decide::pending_effects;
use snorri_saga::ids::SagaId;
use snorri_saga::saga::{Phase, Saga, Wait};
use snorri_saga::time::Millis;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::Work;
use super::cache::Cache;
use super::publisher::{Job, Publisher};
use super::{BATCH_MAX, Item, Shared};

/// How long after NATS came back answers are waited for before timeouts count again.
const BUS_GRACE: Duration = Duration::from_secs(2);
/// How often what could not be published is tried again.
const REPUBLISH_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) cache: Cache,
    pub(super) publisher: Publisher,
    /// Sagas whose effects could not be published. Bounded by the live sagas.
    unpublished: HashSet<SagaId>,
    /// How often each saga's load or decision failed in a row; cleared by a success.
    pub(super) troubles: HashMap<SagaId, u32>,
    counted: usize,
    bus_up_since: Option<Instant>,
}

impl Lane {
    pub(super) fn new(number: usize, shared: Arc<Shared>, back: mpsc::WeakSender<Item>) -> Self {
        Self {
            number,
            publisher: Publisher::new(shared.clone(), back),
            shared,
            cache: Cache::default(),
            unpublished: HashSet::new(),
            troubles: HashMap::new(),
            counted: 0,
            bus_up_since: Some(Instant::now()),
        }
    }

    /// Runs until told to stop, then finishes what is in its queue.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Item>, stop: CancellationToken) {
        let mut items = Vec::with_capacity(BATCH_MAX);
        loop {
            let timer = self.until_next_timer();
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut items, BATCH_MAX) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(timer) => {}
                () = stop.cancelled() => {
                    queue.close();
                    while queue.recv_many(&mut items, BATCH_MAX).await > 0 {
                        let works = self.group(&mut items);
                        self.process(works).await;
                    }
                    break;
                }
            }
            let works = self.group(&mut items);
            if !works.is_empty() {
                self.process(works).await;
            }
            self.republish().await;
            self.count();
        }
        self.publisher.finish().await;
    }

    fn until_next_timer(&mut self) -> Duration {
        let now = self.shared.clock.now();
        let timer = self.cache.next_timer().map_or(Duration::from_secs(1), |at| at.since(now).to_std());
        // A millisecond more than exact, as timestamps are cut to milliseconds; and awake now and then.
        let wait = (timer + Duration::from_millis(1)).min(Duration::from_secs(1));
        if self.unpublished.is_empty() { wait } else { wait.min(REPUBLISH_EVERY) }
    }

    /// Sorts the items by saga, keeping their order, and adds the sagas whose time has come.
    fn group(&mut self, items: &mut Vec<Item>) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::with_capacity(items.len());
        let mut places: HashMap<SagaId, usize> = HashMap::with_capacity(items.len());
        let mut add = |id: SagaId, item: Item| {
            let place = *places.entry(id).or_insert_with(|| {
                works.push(Work { id, items: Vec::new() });
                works.len() - 1
            });
            if let Some(work) = works.get_mut(place) {
                work.items.push(item);
            }
        };
        for item in items.drain(..) {
            match item {
                Item::Unpublished(ids) => self.unpublished.extend(ids),
                item => {
                    if let Some(id) = item.saga() {
                        add(id, item);
                    }
                }
            }
        }
        let now = self.shared.clock.now();
        let due = self.cache.take_due(now, BATCH_MAX);
        if due.is_empty() {
            return works;
        }
        let is_bus_trusted = self.is_bus_trusted();
        for id in due {
            let defer = !is_bus_trusted
                && self.cache.get(id).is_some_and(|entry| may_wait_for_the_bus(&entry.saga, now));
            if defer {
                // Without NATS no answer can come: its silence says nothing, and no attempt is burnt on it.
                self.cache.look_again(id, now + Millis(500));
            } else {
                add(id, Item::Woke(id));
            }
        }
        works
    }

    fn is_bus_trusted(&mut self) -> bool {
        if !self.shared.bus.is_connected() {
            self.bus_up_since = None;
            return false;
        }
        self.bus_up_since.get_or_insert_with(Instant::now).elapsed() >= BUS_GRACE
    }

    /// Tries again what could not be published.
    async fn republish(&mut self) {
        if self.unpublished.is_empty() || !self.shared.bus.is_connected() {
            return;
        }
        let ids: Vec<SagaId> = self.unpublished.iter().copied().take(BATCH_MAX).collect();
        let now = self.shared.clock.now();
        let mut job = Job::default();
        for id in &ids {
            self.unpublished.remove(id);
            // One that is not in memory has ended or moved on; the sweep and its message see to it.
            if let Some(entry) = self.cache.get(*id) {
                job.add(&self.shared, *id, pending_effects(&entry.versioned.definition, &entry.saga, now));
            }
        }
        self.publisher.publish(job).await;
    }

    fn count(&mut self) {
        let len = self.cache.len();
        if len >= self.counted {
            self.shared.live.fetch_add(len - self.counted, Ordering::Relaxed);
        } else {
            self.shared.live.fetch_sub(self.counted - len, Ordering::Relaxed);
        }
        self.counted = len;
        self.shared.metrics.live(self.number, len);
    }
}

/// Whether a saga that is due only waits for an answer, and has time to wait longer.
fn may_wait_for_the_bus(saga: &Saga, now: snorri_saga::time::Timestamp) -> bool {
    let waits = saga.in_flight().is_some_and(|(_, flight)| matches!(flight.wait, Wait::Reply(_)));
    let has_time = match saga.phase {
        Phase::Forward if !saga.pivot_sent => now < saga.forward_deadline,
        Phase::Forward | Phase::Backward => {
            (saga.at_risk || now < saga.risk_at) && (saga.window_missed || now < saga.deadline)
        }
        Phase::Ended(_) => false,
    };
    waits && has_time
}
