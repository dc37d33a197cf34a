//! One lane: takes what is waiting, has it decided and committed as one batch, and hands the rest to its
//! publisher. See [`super::batch`] for what becomes of a batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_saga::decide::{forward_deadline, pending_effects};
use snorri_saga::definition::Definition;
use snorri_saga::ids::SagaId;
use snorri_saga::saga::{Phase, Saga, Wait};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{Decided, Work};
use super::cache::{Cache, Known};
use super::owed::Recalls;
use super::publisher::{Backlog, Job, Publisher};
use super::queue::Queue;
use super::{BATCH_MAX, Item, Shared};
use crate::store::{Due, Resting, Well};

/// How long after NATS or Postgres came back answers are waited for before timeouts count again.
const GRACE: Duration = Duration::from_secs(2);
/// NATS says every second that it is there.
const HEARS_WITHIN: Duration = Duration::from_millis(2500);
/// How often what could not be published is tried again.
const REPUBLISH_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) cache: Cache,
    pub(super) publisher: Publisher,
    /// What could not be published.
    backlog: Arc<Backlog>,
    /// Ends that may be committed, and are not announced.
    pub(super) recalls: Recalls,
    /// Transitions whose commit was not answered.
    pub(super) limbo: Vec<Decided>,
    /// Sagas at rest that were let go, and whose wake-ups are to be set.
    pub(super) resting: Vec<Resting>,
    /// Sagas that were put aside, and are well.
    pub(super) well: Vec<Well>,
    /// When Postgres failed this lane last.
    pub(super) trouble_at: Option<Instant>,
    /// How often each saga's load or decision failed in a row; cleared by a success.
    pub(super) troubles: HashMap<SagaId, u32>,
    counted: (usize, usize),
    bus_up_since: Option<Instant>,
    /// Postgres failed, and since then every batch was full: answers that came meanwhile may still be waiting.
    pub(super) is_catching_up: bool,
}

impl Lane {
    pub(super) fn new(number: usize, shared: Arc<Shared>) -> Self {
        let backlog = Arc::new(Backlog::default());
        Self {
            number,
            publisher: Publisher::new(shared.clone(), backlog.clone()),
            shared,
            cache: Cache::default(),
            backlog,
            recalls: Recalls::default(),
            limbo: Vec::new(),
            resting: Vec::new(),
            well: Vec::new(),
            trouble_at: None,
            troubles: HashMap::new(),
            counted: (0, 0),
            bus_up_since: Some(Instant::now()),
            is_catching_up: false,
        }
    }

    /// Runs until told to stop, then finishes what is in its queue.
    pub(super) async fn run(mut self, mut queue: Queue, stop: CancellationToken) {
        let mut items = Vec::with_capacity(BATCH_MAX);
        loop {
            let timer = self.until_next_timer();
            tokio::select! {
                biased;
                taken = queue.take(&mut items) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(timer) => {}
                () = stop.cancelled() => {
                    queue.close();
                    while queue.take(&mut items).await > 0 {
                        let works = self.group(&mut items);
                        self.process(works).await;
                    }
                    break;
                }
            }
            self.is_catching_up &= items.len() >= BATCH_MAX;
            let works = self.group(&mut items);
            if !works.is_empty() {
                self.process(works).await;
            }
            self.republish().await;
            self.put_to_rest();
            self.count();
        }
        snorri_kill::point!(Draining, return);
        self.publisher.finish().await;
    }

    fn until_next_timer(&mut self) -> Duration {
        let now = self.shared.clock.now();
        let timer = self.cache.next_timer().map_or(Duration::from_secs(1), |at| at.since(now).to_std());
        // A millisecond more than exact, as timestamps are cut to milliseconds; and awake now and then.
        let wait = (timer + Duration::from_millis(1)).min(Duration::from_secs(1));
        if self.backlog.is_empty() { wait } else { wait.min(REPUBLISH_EVERY) }
    }

    /// Sorts the items by saga, keeping their order, and adds the sagas whose time has come.
    fn group(&mut self, items: &mut Vec<Item>) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::with_capacity(items.len());
        let mut places: HashMap<SagaId, usize> = HashMap::with_capacity(items.len());
        let mut add = |id: SagaId, item: Item| {
            let place = *places.entry(id).or_insert_with(|| {
                works.push(Work::of(id, Vec::new()));
                works.len() - 1
            });
            if let Some(work) = works.get_mut(place) {
                work.items.push(item);
            }
        };
        for item in items.drain(..) {
            add(item.saga(), item);
        }
        while let Some((id, recall)) = self.recalls.due() {
            add(id, Item::Announce(id, recall));
        }
        // Where no answer could come, or none could be read, silence says nothing, and no attempt is burnt.
        let is_silence_trusted = self.is_bus_trusted() && self.is_postgres_trusted() && !self.is_catching_up;
        let now = self.shared.clock.now();
        for id in self.cache.take_due(now, BATCH_MAX, |definition, saga| {
            !is_silence_trusted && may_wait(definition, saga, now)
        }) {
            add(id, Item::Woke(id));
        }
        works
    }

    fn is_postgres_trusted(&self) -> bool {
        let is_clock_trusted = self
            .shared
            .clock_doubted_until
            .lock()
            .map_or(true, |until| until.is_none_or(|at| at <= Instant::now()));
        is_clock_trusted && self.trouble_at.is_none_or(|at| at.elapsed() >= GRACE)
    }

    fn is_bus_trusted(&mut self) -> bool {
        // A cluster without a quorum is connected and takes nothing.
        let is_stuck = self.shared.is_bus_failing.load(Ordering::Relaxed) && !self.backlog.is_empty();
        // Nor does a consumer without a leader deliver anything: it does not even say that it is there.
        let is_deaf = self.shared.hearing.get().is_some_and(|hearing| !hearing.within(HEARS_WITHIN));
        if is_stuck || is_deaf || !self.shared.bus.is_connected() {
            self.bus_up_since = None;
            return false;
        }
        self.bus_up_since.get_or_insert_with(Instant::now).elapsed() >= GRACE
    }

    /// Tries again what could not be published.
    async fn republish(&mut self) {
        if self.backlog.is_empty() || !self.shared.bus.is_connected() {
            return;
        }
        let (ids, endings) = self.backlog.take(BATCH_MAX);
        let now = self.shared.clock.now();
        let mut job = Job::default();
        let mut works = Vec::new();
        for id in ids {
            match self.cache.get(id) {
                Known::Now(entry) => {
                    let effects = pending_effects(&entry.versioned.definition, &entry.saga, now);
                    job.add(&self.shared, id, effects, &[]);
                }
                // What is under way by now is looked up.
                Known::Once => works.push(Work::of(id, vec![Item::Swept(Due { id, is_aside: false })])),
                // It has ended or moved on; the sweep and its message see to it.
                Known::Not => {}
            }
        }
        job.add_endings(endings);
        self.publisher.publish(job).await;
        if !works.is_empty() {
            self.process(works).await;
        }
    }

    fn count(&mut self) {
        let (sagas, bytes) = (self.cache.len(), self.cache.bytes());
        let (sagas_before, bytes_before) = std::mem::replace(&mut self.counted, (sagas, bytes));
        // Wrapping: what is added up over all lanes is never negative.
        self.shared.live.fetch_add(sagas.wrapping_sub(sagas_before), Ordering::Relaxed);
        self.shared.live_bytes.fetch_add(bytes.wrapping_sub(bytes_before), Ordering::Relaxed);
        self.shared.metrics.live(self.number, sagas);
    }
}

/// Whether a saga that is due only waits for an answer, and has time to wait longer.
fn may_wait(definition: &Definition, saga: &Saga, now: snorri_saga::time::Timestamp) -> bool {
    let mut due = saga.in_flight().filter(|(_, flight)| flight.wait.due() <= now).peekable();
    let waits = due.peek().is_some() && due.all(|(_, flight)| matches!(flight.wait, Wait::Reply(_)));
    let has_time = match saga.phase {
        Phase::Forward if !saga.pivot_sent => now < forward_deadline(definition, saga),
        Phase::Forward | Phase::Backward => {
            (saga.at_risk || now < saga.risk_at) && (saga.window_missed || now < saga.deadline)
        }
        Phase::Held | Phase::Ended(_) => false,
    };
    waits && has_time
}
