//! After the commit: memory, answers, and what is to be published and acknowledged. And the answers to
//! those who got nothing: unknown sagas, and starts that lost.

use std::sync::Arc;

use super::batch::{Decided, Work};
use super::deciding::Verdict;
use super::lane::Lane;
use super::publisher::Job;
use super::rest;
use super::{ActError, Acted, Debt, Item, StartError, Started};
use crate::aside::dead_letter;
use crate::store::Well;
use snorri_saga::decide::{Refusal, pending_effects};
use snorri_saga::ids::{Direction, EffectId, SagaId};
use snorri_saga::journal::Event;
use snorri_saga::wire::{Outcome, Reply};

impl Lane {
    /// After the commit: memory, answers, and what is to be published and acknowledged.
    pub(super) fn settle(&mut self, one: Decided, job: &mut Job) {
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
        let mut repeat = work.may_be_in;
        // The parent's replica need not be the sub-saga's: two that keep it in memory both fire its timers.
        let is_only_asked = events.is_empty()
            && work.is_others
            && work.items.iter().all(|item| matches!(item, Item::Ask(..)));
        let is_swept = work.items.iter().any(|item| matches!(item, Item::Swept(_)));
        let is_aside = work.items.iter().any(|item| matches!(item, Item::Swept(due) if due.is_aside));
        if is_aside && events.is_empty() {
            // It was put aside, by another build perhaps, and is decided as any other. A transition would say so in its row.
            let blocked = after.first_blocked().map(|blocked| blocked.reason.as_str());
            self.well.push(Well { id: work.id, seq, status: after.status(), blocked });
        }
        let mut owed: Vec<Arc<Debt>> = work.owed.into_iter().collect();
        for (item, verdict) in work.items.into_iter().zip(verdicts) {
            match item {
                Item::Start(start) => {
                    repeat |= events.is_empty();
                    let started = Started { id: work.id, version: after.version, is_replay: false };
                    // The caller may be gone; the saga is there all the same.
                    let _ = start.done.send(Ok(started));
                }
                Item::Reply(reply, delivery) => match verdict {
                    Verdict::Forged => {
                        let detail = format!(
                            "the command {} is not for the participant that answered it",
                            reply.command
                        );
                        job.keep_aside(
                            dead_letter(delivery.message(), "wrong_participant", detail),
                            delivery,
                        );
                    }
                    Verdict::Refused(Refusal::NeverSent) => {
                        self.shared.metrics.ignored(Refusal::NeverSent.word());
                        let detail = format!("no command {} was sent", reply.command);
                        job.keep_aside(dead_letter(delivery.message(), "never_sent", detail), delivery);
                    }
                    Verdict::Refused(refusal) => {
                        self.shared.metrics.ignored(refusal.word());
                        // Delivered before, and committed before: the crash may have come in between, and
                        // the commands that follow from it may never have been sent.
                        repeat |= delivery.message().delivered() > 1;
                        job.ack_after(work.id, delivery);
                    }
                    Verdict::Accepted | Verdict::Unchanged | Verdict::Missing => {
                        job.ack_after(work.id, delivery);
                    }
                },
                Item::Act(_, act) => {
                    let answer = match verdict {
                        Verdict::Refused(refusal) => Err(ActError::Refused(Box::new(after.clone()), refusal)),
                        // It was said to nobody, or given up: nothing of it is in the journal.
                        Verdict::Missing => Err(ActError::Unknown(work.id)),
                        Verdict::Accepted | Verdict::Unchanged | Verdict::Forged => {
                            Ok(Acted { saga: after.clone(), is_replay: verdict == Verdict::Unchanged })
                        }
                    };
                    let _ = act.done.send(answer);
                }
                Item::Ask(..) | Item::Answer(..) => {
                    if let Verdict::Refused(refusal) = verdict {
                        self.shared.metrics.ignored(refusal.word());
                    }
                }
                Item::Swept(_) => repeat = true,
                Item::Announce(_, recall) if after.ended_at.is_some() => owed.push(recall.debt),
                Item::Announce(id, recall) => self.recalls.later(id, recall),
                Item::Woke(_) | Item::Resend(_) | Item::Orphan(_) => {}
            }
        }
        if repeat && effects.is_empty() {
            effects = pending_effects(definition, &after, self.shared.clock.now());
        }
        job.add(&self.shared, work.id, effects, &owed);
        let resting =
            if events.is_empty() { rest::resting(&after, seq, self.shared.clock.now()) } else { None };
        // In memory, each has a timer.
        let was_in_memory = armed.is_some();
        match resting {
            Some(resting) if is_swept => self.resting.push(resting),
            // What was not in memory is not kept there for a question: its wake-up stands, or the sweep comes.
            Some(_) if !was_in_memory => {}
            Some(_) | None if is_only_asked => {}
            Some(_) | None => {
                let is_ours = is_ours || !events.is_empty();
                self.cache.put(after, seq, versioned, is_ours, armed);
            }
        }
    }

    /// A saga that nobody knows.
    pub(super) async fn answer_missing(&mut self, work: Work) {
        let mut job = Job::default();
        for item in work.items {
            match item {
                Item::Reply(reply, delivery) => {
                    self.shared.metrics.ignored("unknown_saga");
                    let detail = format!("there is no saga {}", reply.command.effect.saga);
                    job.keep_aside(dead_letter(delivery.message(), "unknown_saga", detail), delivery);
                }
                Item::Act(id, act) => {
                    let _ = act.done.send(Err(ActError::Unknown(id)));
                }
                Item::Start(start) => {
                    let _ = start.done.send(Err(StartError::Broken("it was not decided".to_owned())));
                }
                Item::Answer(reply, _) => self.orphaned(&reply),
                Item::Woke(_)
                | Item::Swept(_)
                | Item::Resend(_)
                | Item::Announce(..)
                | Item::Ask(..)
                | Item::Orphan(_) => {}
            }
        }
        self.publisher.publish(job).await;
    }

    /// A sub-saga that is done answered a saga that is not there: a failover that loses transactions lost it, and the sub-saga
    /// would be held for ever.
    fn orphaned(&self, reply: &Reply) {
        let EffectId { saga, step, direction } = &reply.command.effect;
        if *direction == Direction::Action && matches!(reply.outcome, Outcome::Ok { .. }) {
            let child = saga.child(step);
            tracing::warn!(saga_id = %child, parent = %saga, "the saga that this one is a part of is not there");
            self.shared.post.orphan(child);
        }
    }

    /// Starts that lost: their idempotency key was taken, or an earlier try of their own is committed.
    pub(super) async fn answer_lost_starts(&mut self, lost: Vec<Work>) -> Vec<Work> {
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
}
