//! One batch: load what is not in memory, decide each saga, commit all as one, then answer, publish and
//! acknowledge. A batch is not given up: while Postgres is away it is tried again, and what was lost to
//! another writer is decided anew on the fresh state.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snorri_saga::decide::{self, Decision, Effect, Input, Refusal, decide, pending_effects};
use snorri_saga::ids::SagaId;
use snorri_saga::journal::Event;
use snorri_saga::saga::{Phase, Saga};
use snorri_saga::time::Timestamp;
use snorri_saga::wire::Subjects;
use tokio::time::{Instant, sleep};

use super::lane::Lane;
use super::publisher::Job;
use super::{CancelError, Item, StartError, Started};
use crate::definitions::{self, Versioned};
use crate::store::dead_letters::DeadLetter;
use crate::store::journal::{Loaded, Transition};
use crate::store::{self};

/// After so many failures in a row a saga is put aside for a person.
const TROUBLES_MAX: u32 = 3;
/// The longest pause between two tries of a batch.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The items of one saga, in their order.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: SagaId,
    pub(super) items: Vec<Item>,
}

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It moved the saga, or asked for what is so already.
    Accepted,
    /// It changes nothing.
    Refused(Refusal),
    /// There is no such saga.
    Missing,
    /// A participant answered for another.
    Forged,
}

/// A saga's transition, decided and not committed yet.
#[derive(Debug)]
struct Decided {
    work: Work,
    versioned: Arc<Versioned>,
    before: Option<Saga>,
    after: Saga,
    /// The sequence number after the transition.
    seq: i32,
    is_ours: bool,
    armed: Option<Timestamp>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    verdicts: Vec<Verdict>,
    at: Timestamp,
}

/// What is known of a saga before its items are decided.
struct Known {
    saga: Option<Saga>,
    seq: i32,
    versioned: Option<Arc<Versioned>>,
    is_ours: bool,
    armed: Option<Timestamp>,
}

impl Lane {
    /// Sees a batch through. Returns when everything in it is committed, refused or put aside.
    pub(super) async fn process(&mut self, mut works: Vec<Work>) {
        let mut is_first = true;
        let mut pause = Duration::from_millis(20);
        while !works.is_empty() {
            match self.round(works, is_first).await {
                Ok(again) => {
                    works = again;
                    if self.shared.is_postgres_down.swap(false, Ordering::Relaxed) {
                        tracing::info!(lane = self.number, "postgres is back");
                    }
                    self.shared.metrics.postgres_up(true);
                }
                Err((error, back)) => {
                    works = back;
                    if error.is_transient() {
                        if !self.shared.is_postgres_down.swap(true, Ordering::Relaxed) {
                            tracing::warn!(
                                lane = self.number,
                                error = error.chain(),
                                "postgres is away; waiting"
                            );
                        }
                        self.shared.metrics.postgres_up(false);
                    } else {
                        works = self.isolate(works, &error).await;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            is_first = false;
        }
    }

    /// One try. Returns the works to be tried again because somebody else was faster.
    async fn round(
        &mut self,
        works: Vec<Work>,
        is_first: bool,
    ) -> Result<Vec<Work>, (store::Error, Vec<Work>)> {
        let (mut known, works) = match self.look_up(works, is_first).await {
            Ok(found) => found,
            Err(back) => return Err(back),
        };
        let now = self.shared.clock.now();
        let mut decided = Vec::with_capacity(works.len());
        let mut again = Vec::new();
        for work in works {
            let id = work.id;
            let known = known.remove(&id).unwrap_or(Known {
                saga: None,
                seq: 0,
                versioned: None,
                is_ours: false,
                armed: None,
            });
            let subjects = self.shared.bus.subjects();
            let decision =
                catch_unwind(AssertUnwindSafe(|| decide_all(subjects, &work.items, &known, now, is_first)));
            match decision {
                Ok(Some((decision, verdicts, versioned, moved))) => decided.push(Decided {
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
                }),
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
            Err(error) => {
                for one in &decided {
                    self.cache.forget(one.work.id);
                }
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
                self.cache.forget(one.work.id);
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
        for (id, result) in loaded {
            let read = match result {
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
        for work in works {
            match unreadable.get(&work.id) {
                None => readable.push(work),
                // Tried again until it is put aside; meanwhile it is not decided on.
                Some(why) => {
                    if let Some(work) = self.in_trouble(work, why).await {
                        Self::retry_later(work);
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
            transitions.push(Transition {
                after: &one.after,
                seq: one.seq,
                at: one.at,
                events,
                project: status_changed || !one.is_ours,
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
        let won = self.shared.store.commit(&self.shared.replica, transitions).await?;
        self.shared.metrics.batch(size, began.elapsed().as_secs_f64());
        Ok(won)
    }

    /// After the commit: memory, answers, and what is to be published and acknowledged.
    fn settle(&mut self, one: Decided, job: &mut Job) {
        let Decided {
            work,
            versioned,
            before,
            after,
            seq,
            is_ours,
            armed,
            events,
            mut effects,
            verdicts,
            at,
        } = one;
        let definition = &versioned.definition;
        self.troubles.remove(&work.id);
        if !events.is_empty() {
            self.shared.metrics.committed(before.as_ref(), &after, definition, &events, at);
            self.shared.tracer.committed(before.as_ref(), &after, definition, &events, at);
        }
        if events.iter().any(|event| matches!(event, Event::Ended { .. })) {
            self.shared.waiters.ended(work.id);
        }
        let mut repeat = false;
        for (item, verdict) in work.items.into_iter().zip(verdicts) {
            match item {
                Item::Start(start) => {
                    repeat |= events.is_empty();
                    let started = Started { id: work.id, version: after.version, is_replay: false };
                    // The caller may be gone; the saga is there all the same.
                    let _ = start.done.send(Ok(started));
                }
                Item::Reply(reply, message) => {
                    if let Verdict::Refused(refusal) = verdict {
                        self.shared.metrics.ignored(refusal.word());
                        // Delivered before, and committed before: the crash may have come in between, and
                        // the commands that follow from it may never have been sent.
                        repeat |= message.delivered() > 1;
                        if refusal == Refusal::NeverSent {
                            let detail = format!("no command {} was sent", reply.command);
                            job.keep_aside(dead_letter(&message, "never_sent", detail));
                        }
                    }
                    if verdict == Verdict::Forged {
                        let command = &reply.command;
                        let detail =
                            format!("the command {command} is not for the participant that answered it");
                        tracing::warn!(saga_id = %work.id, detail, "a reply from the wrong participant is kept aside");
                        job.keep_aside(dead_letter(&message, "wrong_participant", detail));
                    }
                    job.ack_after(work.id, message);
                }
                Item::Cancel(_, cancel) => {
                    let answer = match verdict {
                        Verdict::Refused(refusal) => {
                            Err(CancelError::Refused(Box::new(after.clone()), refusal))
                        }
                        Verdict::Accepted | Verdict::Missing | Verdict::Forged => Ok(after.clone()),
                    };
                    let _ = cancel.done.send(answer);
                }
                Item::Swept(_) => repeat = true,
                Item::Woke(_) | Item::Resend(_) | Item::Unpublished(_) => {}
            }
        }
        if repeat && effects.is_empty() {
            effects = pending_effects(definition, &after, self.shared.clock.now());
        }
        job.add(&self.shared, work.id, effects);
        let is_ours = is_ours || !events.is_empty();
        self.cache.put(after, seq, versioned, is_ours, armed);
    }

    /// A saga that nobody knows.
    async fn answer_missing(&mut self, work: Work) {
        let mut job = Job::default();
        for item in work.items {
            match item {
                Item::Reply(reply, message) => {
                    self.shared.metrics.ignored("unknown_saga");
                    let detail = format!("there is no saga {}", reply.command.effect.saga);
                    job.keep_aside(dead_letter(&message, "unknown_saga", detail));
                    job.ack_after(work.id, message);
                }
                Item::Cancel(id, cancel) => {
                    let _ = cancel.done.send(Err(CancelError::Unknown(id)));
                }
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken("it was not decided".to_owned())));
                }
                Item::Woke(_) | Item::Swept(_) | Item::Resend(_) | Item::Unpublished(_) => {}
            }
        }
        self.publisher.publish(job).await;
    }

    /// Starts that lost: their idempotency key was taken, or an earlier try of their own is committed.
    async fn answer_lost_starts(&mut self, lost: Vec<Work>) -> Vec<Work> {
        let mut again = Vec::new();
        for mut work in lost {
            let Some(Item::Start(start)) = work.items.first() else {
                again.push(work);
                continue;
            };
            let Some(key) = start.input.key.clone() else {
                again.push(work);
                continue;
            };
            let answer = match self.shared.store.start_key(&key).await {
                Ok(Some((id, _))) if id == work.id => {
                    again.push(work);
                    continue;
                }
                Ok(Some((id, print))) if start.fingerprint.is_some_and(|mine| mine.as_slice() == print) => {
                    let version = self.version_of(id).await.unwrap_or(start.versioned.version);
                    Ok(Started { id, version, is_replay: true })
                }
                Ok(Some((id, _))) => Err(StartError::KeyReused(id)),
                Ok(None) => {
                    again.push(work);
                    continue;
                }
                Err(_) => Err(StartError::Unavailable),
            };
            if let Item::Start(start) = work.items.remove(0) {
                let _ = start.done.send(answer);
            }
        }
        again
    }

    async fn version_of(&self, id: SagaId) -> Option<u32> {
        let loaded = self.shared.store.load(&[id]).await.ok()?.remove(&id)?.ok()?;
        Some(loaded.saga.version)
    }

    /// An error that will not go away by waiting: each saga for itself, so that one cannot hold the others up.
    async fn isolate(&mut self, works: Vec<Work>, error: &store::Error) -> Vec<Work> {
        if works.len() == 1 {
            let mut again = Vec::new();
            for work in works {
                again.extend(self.in_trouble(work, &error.chain()).await);
            }
            return again;
        }
        tracing::warn!(
            lane = self.number,
            error = error.chain(),
            "a batch failed; each saga is tried by itself"
        );
        let mut again = Vec::new();
        for work in works {
            match self.round(vec![work], false).await {
                Ok(back) => again.extend(back),
                Err((error, back)) if error.is_transient() => again.extend(back),
                Err((error, back)) => {
                    for work in back {
                        if let Some(work) = self.in_trouble(work, &error.chain()).await {
                            again.push(work);
                        }
                    }
                }
            }
        }
        again
    }

    /// Counts a failure. After the third the saga is put aside, and its items are answered.
    async fn in_trouble(&mut self, work: Work, why: &str) -> Option<Work> {
        let count = self.troubles.entry(work.id).or_default();
        *count += 1;
        tracing::error!(saga_id = %work.id, count = *count, why, "a saga cannot be moved");
        if *count < TROUBLES_MAX {
            return Some(work);
        }
        self.troubles.remove(&work.id);
        self.cache.forget(work.id);
        if let Err(error) = self.shared.store.quarantine(work.id, why).await {
            tracing::error!(saga_id = %work.id, error = error.chain(), "cannot be put aside; it is tried again");
            return Some(work);
        }
        self.shared.metrics.quarantined();
        for item in work.items {
            match item {
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken(why.to_owned())));
                }
                Item::Cancel(_, cancel) => {
                    let _ = cancel.done.send(Err(CancelError::Unavailable));
                }
                // Not acknowledged: delivered again, and by then it may be mended.
                Item::Reply(_, message) => message.nak_with_delay(Duration::from_mins(1)).await,
                Item::Woke(_) | Item::Swept(_) | Item::Resend(_) | Item::Unpublished(_) => {}
            }
        }
        None
    }

    /// Puts the items of a saga that cannot be read just now back: messages to NATS, people an error.
    fn retry_later(work: Work) {
        let id = work.id;
        for item in work.items {
            match item {
                Item::Reply(_, message) => {
                    tokio::spawn(async move { message.nak_with_delay(Duration::from_secs(1)).await });
                }
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken("its journal cannot be read".to_owned())));
                }
                Item::Cancel(_, cancel) => {
                    let _ = cancel.done.send(Err(CancelError::Unavailable));
                }
                Item::Woke(_) | Item::Swept(_) | Item::Resend(_) | Item::Unpublished(_) => {}
            }
        }
        tracing::warn!(saga_id = %id, "its journal cannot be read; tried again later");
    }
}

/// Decides the items of one saga one after the other, as one transition. `None`: there is no such saga.
fn decide_all(
    subjects: &Subjects,
    items: &[Item],
    known: &Known,
    now: Timestamp,
    is_first: bool,
) -> Option<(Decision, Vec<Verdict>, Arc<Versioned>, bool)> {
    let mut saga = known.saga.clone();
    let mut versioned = known.versioned.clone();
    let mut events = Vec::new();
    let mut effects = Vec::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let input = match item {
            Item::Start(start) => {
                if saga.is_none() {
                    // The caller was told that it is not known. It is not begun behind the caller's back.
                    if !is_first && start.done.is_closed() {
                        verdicts.push(Verdict::Missing);
                        continue;
                    }
                    let decision = decide::start(&start.versioned.definition, start.input.clone(), now);
                    events.extend(decision.events);
                    effects.extend(decision.effects);
                    saga = Some(decision.saga);
                    versioned = Some(start.versioned.clone());
                }
                verdicts.push(Verdict::Accepted);
                continue;
            }
            Item::Reply(reply, _) => Input::Reply((**reply).clone()),
            Item::Woke(_) | Item::Swept(_) => Input::Woke,
            Item::Resend(_) => Input::Resend,
            Item::Cancel(_, cancel) => Input::Cancel { by: cancel.by.clone(), reason: cancel.reason.clone() },
            Item::Unpublished(_) => continue,
        };
        let (Some(state), Some(of)) = (&saga, &versioned) else {
            verdicts.push(Verdict::Missing);
            continue;
        };
        if let Item::Reply(reply, message) = item
            && let Some((_, step)) = of.definition.step(reply.command.effect.step.as_str())
            && subjects.participant_of_reply(message.subject()) != Some(step.participant.as_str())
        {
            // NATS permissions keep one participant from answering for another; here it is checked again.
            verdicts.push(Verdict::Forged);
            continue;
        }
        match decide(&of.definition, state, &input, now) {
            Ok(decision) => {
                // What an earlier item of this batch wanted sent may be overtaken by this one.
                effects = still_wanted(effects, &decision.saga);
                events.extend(decision.events);
                effects.extend(decision.effects);
                saga = Some(decision.saga);
                verdicts.push(Verdict::Accepted);
            }
            Err(refusal) => verdicts.push(Verdict::Refused(refusal)),
        }
    }
    let moved = !events.is_empty();
    Some((Decision { events, effects, saga: saga? }, verdicts, versioned?, moved))
}

/// The commands that are still under way in the given state.
fn still_wanted(effects: Vec<Effect>, saga: &Saga) -> Vec<Effect> {
    let current = saga.in_flight().map(|(step, flight)| saga.command_id(step, flight));
    effects
        .into_iter()
        .filter(|effect| match effect {
            Effect::Send(command) => current.as_ref() == Some(&command.id),
            Effect::Announce(_) => matches!(saga.phase, Phase::Ended(_)),
        })
        .collect()
}

fn dead_letter(message: &snorri_bus::Message, reason: &'static str, detail: String) -> DeadLetter {
    crate::inbox::dead_letter(message, reason, detail)
}
