//! One batch: load what is not in memory, decide each saga, commit all as one, then answer, publish and
//! acknowledge. A batch is not given up: while Postgres is away it is tried again, and what was lost to
//! another writer is decided anew on the fresh state.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_saga::decide::Effect;
use snorri_saga::ids::SagaId;
use snorri_saga::journal::Event;
use snorri_saga::saga::Saga;
use snorri_saga::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::deciding::{Known, Verdict, begin_first, decide_all};
use super::lane::Lane;
use super::publisher::Job;
use super::{Debt, Item};
use crate::definitions::{self, Versioned};
use crate::store::journal::{Loaded, Transition};
use crate::store::{self};

/// The longest pause between two tries of a batch.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The items of one saga, in their order.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: SagaId,
    pub(super) items: Vec<Item>,
    /// A try of it was not answered by Postgres, and was not found in the journal. It may come into it all the same, after
    /// it was looked for: then what follows from it was never sent.
    pub(super) may_be_in: bool,
    /// Its end was decided, and perhaps committed, and is not announced.
    pub(super) owed: Option<Arc<Debt>>,
    /// It was loaded, and another replica wrote its last row.
    pub(super) is_others: bool,
}

impl Work {
    pub(super) fn of(id: SagaId, items: Vec<Item>) -> Self {
        Self { id, items, may_be_in: false, owed: None, is_others: false }
    }
}

/// A saga's transition, decided and not committed yet.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) work: Work,
    pub(super) versioned: Arc<Versioned>,
    pub(super) before: Option<Saga>,
    pub(super) after: Saga,
    /// The sequence number after the transition.
    pub(super) seq: i32,
    pub(super) is_ours: bool,
    pub(super) armed: Option<Timestamp>,
    pub(super) events: Vec<Event>,
    pub(super) effects: Vec<Effect>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) at: Timestamp,
}

impl Lane {
    /// Sees a batch through. Returns when everything in it is committed, refused or put aside.
    pub(super) async fn process(&mut self, mut works: Vec<Work>) {
        let mut is_first = true;
        let mut slow_in_a_row = 0;
        let mut pause = Duration::from_millis(20);
        loop {
            // Before anything is asked: what fails meanwhile casts its doubt on what is learnt in this round, too.
            self.cache.enter(self.shared.store_generation.load(Ordering::Acquire));
            let tried = match self.leave_limbo().await {
                Ok(back) => {
                    works.extend(back);
                    if works.is_empty() {
                        return;
                    }
                    self.round(works, is_first).await
                }
                Err(error) => Err((error, works)),
            };
            is_first = false;
            match tried {
                Ok(again) => {
                    works = again;
                    self.postgres_answers();
                }
                Err((error, back)) => {
                    works = back;
                    slow_in_a_row = if error.is_slow() { slow_in_a_row + 1 } else { 0 };
                    if error.is_transient() && slow_in_a_row < 2 {
                        self.postgres_is_away(&error);
                        sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    } else {
                        works = self.isolate(works, &error).await;
                    }
                }
            }
        }
    }

    fn postgres_answers(&mut self) {
        if self.shared.is_postgres_down.swap(false, Ordering::Relaxed) {
            tracing::info!(lane = self.number, "postgres is back");
        }
        self.shared.metrics.postgres_up(true);
    }

    fn postgres_is_away(&mut self, error: &store::Error) {
        self.trouble_at = Some(Instant::now());
        self.is_catching_up = true;
        if error.is_of_the_connection() {
            self.shared.store_generation.fetch_add(1, Ordering::AcqRel);
        }
        if !self.shared.is_postgres_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(lane = self.number, error = error.chain(), "postgres is away; waiting");
        }
        self.shared.metrics.postgres_up(false);
    }

    /// Finds out what became of transitions whose commit was not answered. What is in is settled as if it had
    /// been answered; the rest comes back to be decided anew.
    async fn leave_limbo(&mut self) -> Result<Vec<Work>, store::Error> {
        if self.limbo.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<SagaId> = self.limbo.iter().map(|one| one.work.id).collect();
        let loaded = self.shared.store.load(&ids).await?;
        let mut job = Job::default();
        let mut back = Vec::new();
        for one in std::mem::take(&mut self.limbo) {
            let is_in = matches!(loaded.get(&one.work.id), Some(Ok(last))
                if last.seq == one.seq && last.at == one.at && last.replica == self.shared.replica.as_str());
            if is_in && !one.events.is_empty() {
                self.settle(one, &mut job);
            } else {
                back.push(Work { may_be_in: true, ..one.work });
            }
        }
        self.publisher.publish(job).await;
        Ok(back)
    }

    /// One try. Returns the works to be tried again because somebody else was faster.
    pub(super) async fn round(
        &mut self,
        works: Vec<Work>,
        is_first: bool,
    ) -> Result<Vec<Work>, (store::Error, Vec<Work>)> {
        let (mut known, works) = match self.look_up(works, is_first).await {
            Ok(found) => found,
            Err(back) => return Err(back),
        };
        snorri_kill::point!(BatchLoaded, return Err((store::Error::injected(), works)));
        let now = self.shared.clock.now();
        // No heartbeat says that ends of this time are announced before they are decided.
        let _round = self.shared.owed.owe(now);
        let mut decided = Vec::with_capacity(works.len());
        let mut again = Vec::new();
        let mut begun = 0;
        for mut work in works {
            let id = work.id;
            let known = known.remove(&id).unwrap_or(Known {
                saga: None,
                seq: 0,
                versioned: None,
                is_ours: false,
                armed: None,
            });
            if known.saga.is_none() && !work.may_be_in {
                self.hold_back(&mut work, &mut begun);
                if work.items.is_empty() {
                    continue;
                }
            }
            if known.saga.is_none() {
                begin_first(&mut work.items);
            }
            let subjects = self.shared.bus.subjects();
            let decision = catch_unwind(AssertUnwindSafe(|| decide_all(subjects, &work.items, &known, now)));
            match decision {
                Ok(Some((decision, verdicts, versioned, moved))) => {
                    if decision.events.iter().any(|event| matches!(event, Event::Ended { .. })) {
                        work.owed.get_or_insert_with(|| self.shared.owed.owe(now));
                    }
                    decided.push(Decided {
                        seq: known.seq + i32::from(moved),
                        before: known.saga,
                        is_ours: known.is_ours,
                        armed: known.armed,
                        after: decision.saga,
                        events: decision.events,
                        effects: decision.effects,
                        work,
                        versioned,
                        verdicts,
                        at: now,
                    });
                }
                Ok(None) => self.answer_missing(work).await,
                Err(_) => {
                    if let Some(work) = self.in_trouble(work, "the decision panicked").await {
                        again.push(work);
                    }
                }
            }
        }
        let won = match self.commit(&decided).await {
            Ok(won) => won,
            // Whether it is committed is not known: see `leave_limbo`. What the server itself gave up on is not.
            Err(error) if error.is_transient() && !error.is_slow() => {
                self.limbo.extend(decided);
                return Err((error, again));
            }
            Err(error) => {
                again.extend(decided.into_iter().map(|one| one.work));
                return Err((error, again));
            }
        };
        let mut job = Job::default();
        let mut lost = Vec::new();
        for one in decided {
            if one.events.is_empty() || won.contains(&one.work.id) {
                self.settle(one, &mut job);
            } else {
                self.shared.metrics.lost_race();
                lost.push(one.work);
            }
        }
        self.publisher.publish(job).await;
        again.extend(self.answer_lost_starts(lost).await);
        Ok(again)
    }

    /// What is known of each saga: from memory, or loaded.
    async fn look_up(
        &mut self,
        works: Vec<Work>,
        is_first: bool,
    ) -> Result<(HashMap<SagaId, Known>, Vec<Work>), (store::Error, Vec<Work>)> {
        let mut known = HashMap::with_capacity(works.len());
        let mut missing = Vec::new();
        for work in &works {
            // Taken out, not copied. Whatever goes wrong before it is put back, it is loaded again.
            if let Some(entry) = self.cache.take(work.id) {
                known.insert(
                    work.id,
                    Known {
                        saga: Some(entry.saga),
                        seq: entry.seq,
                        versioned: Some(entry.versioned),
                        is_ours: entry.is_ours,
                        armed: entry.armed,
                    },
                );
            } else if !(is_first && matches!(work.items.first(), Some(Item::Start(_)))) {
                missing.push(work.id);
            }
        }
        if missing.is_empty() {
            return Ok((known, works));
        }
        let loaded = match self.shared.store.load(&missing).await {
            Ok(loaded) => loaded,
            Err(error) => return Err((error, works)),
        };
        let mut unreadable = HashMap::new();
        let mut others = HashSet::new();
        for (id, result) in loaded {
            let read = match result {
                Ok(loaded) if loaded.replica != self.shared.replica.as_str() => {
                    others.insert(id);
                    self.with_definition(loaded).await
                }
                Ok(loaded) => self.with_definition(loaded).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(found) => {
                    known.insert(id, found);
                }
                Err(error) if error.is_transient() => return Err((error, works)),
                Err(error) => {
                    unreadable.insert(id, error.chain());
                }
            }
        }
        let mut readable = Vec::with_capacity(works.len());
        for mut work in works {
            work.is_others = others.contains(&work.id);
            match unreadable.get(&work.id) {
                None => readable.push(work),
                // Tried again until it is put aside; meanwhile it is not decided on.
                Some(why) => {
                    if let Some(work) = self.in_trouble(work, why).await {
                        self.put_back(work);
                    }
                }
            }
        }
        Ok((known, readable))
    }

    async fn with_definition(&self, loaded: Loaded) -> Result<Known, store::Error> {
        let name = loaded.saga.definition.as_str();
        let versioned = self.shared.definitions.get(name, Some(loaded.saga.version)).await.map_err(
            |error| match error {
                definitions::Error::Store(error) => error,
                other => store::Error::Corrupt(other.to_string()),
            },
        )?;
        Ok(Known {
            // Its row may say another owner, or that it is put aside: the next transition sets it right.
            is_ours: false,
            saga: Some(loaded.saga),
            seq: loaded.seq,
            versioned: Some(versioned),
            armed: None,
        })
    }

    async fn commit(&self, decided: &[Decided]) -> Result<HashSet<SagaId>, store::Error> {
        let mut transitions: Vec<Transition<'_>> = Vec::with_capacity(decided.len());
        for one in decided.iter().filter(|one| !one.events.is_empty()) {
            let events = serde_json::to_string(&one.events)
                .map_err(|error| store::Error::Corrupt(format!("events of {}: {error}", one.work.id)))?;
            let status_changed =
                one.before.as_ref().is_none_or(|before| before.status() != one.after.status());
            // One that was at rest may have its wake-up far away, and now something of it may be out.
            let was_at_rest = one.before.as_ref().is_some_and(|before| before.rests_until().is_some());
            // One that has ended stays with who ended it: it is looked for there if it is not announced yet.
            let was_ended = one.before.as_ref().is_some_and(|before| before.ended_at.is_some());
            let is_aside = one.work.items.iter().any(|item| matches!(item, Item::Swept(due) if due.is_aside));
            transitions.push(Transition {
                after: &one.after,
                seq: one.seq,
                at: one.at,
                events,
                project: status_changed || was_at_rest || is_aside || (!one.is_ours && !was_ended),
                fingerprint: match one.work.items.first() {
                    Some(Item::Start(start)) => start.fingerprint,
                    _ => None,
                },
            });
        }
        if transitions.is_empty() {
            return Ok(HashSet::new());
        }
        // The same order in all writers, so that two batches cannot wait for each other.
        transitions.sort_by_key(|transition| transition.after.id);
        let (size, began) = (transitions.len(), Instant::now());
        snorri_kill::point!(BatchDecided, return Err(store::Error::injected()));
        let won = self.shared.store.commit(&self.shared.replica, transitions).await?;
        snorri_kill::point!(Committed, return Err(store::Error::injected()));
        self.shared.metrics.batch(size, began.elapsed().as_secs_f64());
        Ok(won)
    }
}
