//! Going forwards: the answers of actions, their silence, and when to turn round.

use super::{
    BlockedReason, Cause, Direction, Draft, Event, Flight, Json, Millis, One, Outcome, Phase, Refusal, Step,
    StepKey, StepState, Wait, forward_deadline,
};
use crate::definition::{SiblingFailure, StepKind, Work};
use crate::retry::{BLOCKED_AFTER, BLOCKED_AFTER_ATTEMPTS, RetryPolicy, SLOW_LANE_CAP};
use crate::time::Timestamp;
use crate::wire::{limit, too_large_to_read};

impl Draft<'_> {
    /// A branch failed: the saga is undone. What is in flight beside it is awaited first, or fenced off, as the
    /// definition says.
    pub(super) fn stop(&mut self, cause: Cause) {
        if self.saga.stopping.is_none() {
            if self.saga.in_flight().next().is_none() {
                self.turn_round(cause);
                return;
            }
            self.record(Event::Stopping { cause });
        }
        self.quiesce();
    }

    /// Nothing new begins. Gives up what only waits, and turns round when nothing is in flight any more.
    pub(super) fn quiesce(&mut self) {
        let is_race = self.definition.on_sibling_failure == SiblingFailure::Race;
        let flights: Vec<(StepKey, Flight)> =
            self.saga.in_flight().map(|(run, flight)| (run.key.clone(), flight)).collect();
        for (key, flight) in flights {
            let Some(step) = self.step(&key) else { continue };
            match flight.wait {
                Wait::Time(_) => self.record(Event::GaveUp { step: key, in_doubt: false }),
                Wait::Retry(_) => self.stop_retrying(step, &key),
                // It stops by itself once it is asked to be undone, and need not be awaited to its end.
                Wait::Reply(_) if matches!(step.work, Work::Saga { .. }) && step.compensation.is_some() => {
                    self.record(Event::GaveUp { step: key, in_doubt: true });
                }
                // The barrier fences off what has not run yet.
                Wait::Reply(_) if is_race && step.compensation.is_some() => {
                    self.record(Event::GaveUp { step: key, in_doubt: true });
                }
                Wait::Reply(_) if is_race && step.kind == StepKind::Read => {
                    self.record(Event::GaveUp { step: key, in_doubt: false });
                }
                Wait::Reply(_) => {}
            }
        }
        if self.saga.in_flight().next().is_some() {
            // Who is not turned to yet goes on meanwhile.
            let events = self.events.clone();
            self.stop_parts(|key| {
                events
                    .iter()
                    .any(|event| matches!(event, Event::GaveUp { step, in_doubt: true } if step == key))
            });
        } else if let Some(cause) = self.saga.stopping.clone() {
            self.turn_round(cause);
        }
    }

    /// Whether nothing but this step's success lets the saga go on: it stands after the pivot.
    fn must_succeed(&self, step: &Step) -> bool {
        step.kind == StepKind::Retriable || (step.kind == StepKind::Read && self.saga.pivot_sent)
    }

    /// The time of a planned attempt has come.
    pub(super) fn retry_action(&mut self, one: &One<'_>) {
        let One { step, key, flight } = one;
        let Some((position, _)) = self.definition.step(key.step()) else { return };
        if flight.attempt == 0 {
            self.make_anew(position, step, key);
            return;
        }
        let is_over = self.saga.blocked_at(key).is_none()
            && !self.must_succeed(step)
            && self.now >= self.latest(position, step);
        if is_over {
            // The attempt was planned in time, but its wake-up came late.
            self.give_up(one, flight.attempt, Cause::ForwardBudget { step: (*key).clone() }, None);
        } else {
            self.send_action(position, step, key, flight.attempt.saturating_add(1), None);
        }
    }

    pub(super) fn on_action_reply(
        &mut self,
        one: &One<'_>,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let One { step, key, flight } = one;
        let is_current = attempt == flight.attempt && matches!(flight.wait, Wait::Reply(_));
        match outcome {
            Outcome::Ok { output, .. } => self.on_action_ok(one, attempt, output),
            // It was done. Past the pivot there is no way back, and the step counts as done, without its output.
            Outcome::TooLarge { .. } if self.saga.pivot_sent => self.on_action_done(key, attempt, None),
            Outcome::TooLarge { bytes } => {
                self.on_action_rejected(key, attempt, "too_large", &too_large_to_read(*bytes), true);
            }
            Outcome::Rejected { .. } | Outcome::Tombstoned if self.must_succeed(step) => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.on_broken_contract(one, attempt, outcome);
            }
            Outcome::Rejected { code, message, partial: true } if step.kind == StepKind::Pivot => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.on_half_pivot(one, attempt, code, message);
            }
            Outcome::Rejected { code, message, partial } => {
                self.on_action_rejected(key, attempt, code, message, *partial);
            }
            Outcome::Failed { message, retry_after } => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.record(Event::Failed {
                    step: (*key).clone(),
                    direction: Direction::Action,
                    attempt,
                    message: message.clone(),
                });
                let cause = Cause::Failed { step: (*key).clone(), message: message.clone() };
                self.after_miss(one, attempt, *retry_after, cause);
            }
            Outcome::Working => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                let Some((position, _)) = self.definition.step(key.step()) else {
                    return Err(Refusal::NeverSent);
                };
                let until = self.await_until(position, step, key);
                // Heartbeats come often; only one that moves the timeout by a good part is a fact.
                if until <= flight.wait.due() + Millis(step.timeout.0 / 4) {
                    return Err(Refusal::NothingDue);
                }
                self.record(Event::Working { step: (*key).clone(), until });
            }
            Outcome::Tombstoned => {
                self.record(Event::Tombstoned { step: (*key).clone() });
                if step.compensation.is_none() {
                    // There is nothing to send: the action did not run and never will.
                    self.record(Event::GaveUp { step: (*key).clone(), in_doubt: false });
                }
                self.unblock(key);
                self.stop(Cause::Tombstoned { step: (*key).clone() });
            }
        }
        Ok(())
    }

    fn on_action_ok(&mut self, one: &One<'_>, attempt: u32, output: &Json) {
        let key = one.key;
        // Before the pivot what happened can be undone; past it there is no way back, and the step counts
        // as done, without its output.
        if !self.saga.pivot_sent
            && let Some(message) = self.too_large("output", output)
        {
            self.on_action_rejected(key, attempt, "too_large", &message, true);
            return;
        }
        let keep = self.too_large("output", output).is_none();
        self.on_action_done(key, attempt, keep.then(|| output.clone()));
    }

    fn on_action_done(&mut self, key: &StepKey, attempt: u32, output: Option<Json>) {
        self.record(Event::Succeeded {
            step: (*key).clone(),
            direction: Direction::Action,
            attempt,
            output,
            empty: false,
        });
        self.unblock(key);
        // A saga stops before the pivot only, and then the pivot is never sent.
        if self.saga.stopping.is_some() {
            self.quiesce();
        } else {
            self.advance();
        }
    }

    fn on_action_rejected(&mut self, key: &StepKey, attempt: u32, code: &str, message: &str, partial: bool) {
        self.record(Event::Rejected {
            step: (*key).clone(),
            direction: Direction::Action,
            attempt,
            code: code.to_owned(),
            message: message.to_owned(),
            partial,
        });
        self.unblock(key);
        let (code, message) = (code.to_owned(), message.to_owned());
        self.stop(Cause::Rejected { step: key.clone(), code, message });
    }

    /// A final no to a step that must succeed: a person is needed, and attempts go on.
    fn on_broken_contract(&mut self, one: &One<'_>, attempt: u32, outcome: &Outcome) {
        let One { step, key, .. } = one;
        let said = match outcome {
            Outcome::Rejected { code, message, .. } => format!("rejected ({code}): {message}"),
            Outcome::Ok { .. }
            | Outcome::TooLarge { .. }
            | Outcome::Failed { .. }
            | Outcome::Working
            | Outcome::Tombstoned => outcome.word().to_owned(),
        };
        self.record(Event::Failed {
            step: (*key).clone(),
            direction: Direction::Action,
            attempt,
            message: said.clone(),
        });
        let message =
            format!("{} refused a step after the pivot, which must succeed: {said}", step.counterpart());
        self.block(key, BlockedReason::RetriableFails, message);
        self.plan_slow(key, Direction::Action, attempt, step.retry, None);
    }

    /// The pivot was rejected, and a part of its effect may be left, which nothing can undo.
    fn on_half_pivot(&mut self, one: &One<'_>, attempt: u32, code: &str, message: &str) {
        let One { step, key, .. } = one;
        let said = format!("rejected with an effect that may be left ({code}): {message}");
        self.record(Event::Failed {
            step: (*key).clone(),
            direction: Direction::Action,
            attempt,
            message: said.clone(),
        });
        let message = format!("{} {said}; the pivot cannot be undone", step.counterpart());
        self.block(key, BlockedReason::Unknown, message);
        self.plan_slow(key, Direction::Action, attempt, step.retry, None);
    }

    pub(super) fn on_action_timeout(&mut self, one: &One<'_>) {
        let One { key, flight, .. } = one;
        self.record(Event::TimedOut {
            step: (*key).clone(),
            direction: Direction::Action,
            attempt: flight.attempt,
        });
        let cause = if !self.saga.pivot_sent && self.now >= forward_deadline(self.definition, &self.saga) {
            Cause::ForwardBudget { step: (*key).clone() }
        } else {
            Cause::TimedOut { step: (*key).clone() }
        };
        self.after_miss(one, flight.attempt, None, cause);
    }

    /// An attempt failed or went unanswered: another one, or no more.
    fn after_miss(&mut self, one: &One<'_>, attempt: u32, retry_after: Option<Millis>, cause: Cause) {
        let One { step, key, flight } = one;
        if self.must_succeed(step) {
            if is_stubborn(*flight, self.now) {
                let tried = self.now.since(flight.since);
                let message = format!(
                    "{key} does not succeed at {} (attempt {attempt}, tried for {tried}), last: {cause}; it is tried again \
                     until it does",
                    step.counterpart()
                );
                self.block(key, BlockedReason::RetriableFails, message);
            }
            if attempt >= step.retry.attempts {
                self.plan_slow(key, Direction::Action, attempt, step.retry, retry_after);
            } else {
                self.plan(step, key, Direction::Action, attempt, retry_after);
            }
            return;
        }
        let pause = step.retry.pause(&self.effect_id(key, Direction::Action), attempt);
        let at = self.now + pause.max(retry_after.unwrap_or_default());
        let may_retry = attempt < step.retry.attempts
            && self.saga.stopping.is_none()
            && self.saga.blocked_at(key).is_none();
        let limit =
            self.definition.step(key.step()).map_or(self.now, |(position, _)| self.latest(position, step));
        if may_retry && at < limit {
            self.record(Event::RetryPlanned { step: (*key).clone(), at });
            return;
        }
        let cause = if may_retry { Cause::ForwardBudget { step: (*key).clone() } } else { cause };
        self.give_up(one, attempt, cause, retry_after);
    }

    /// No more attempts. What may have happened is undone; what may have happened and cannot be undone
    /// needs a person, and is asked for its result in the slow lane meanwhile.
    fn give_up(&mut self, one: &One<'_>, attempt: u32, cause: Cause, retry_after: Option<Millis>) {
        let One { step, key, .. } = one;
        let unknown = self.run(key).is_some_and(|run| run.unknown);
        let has_effect = step.kind != StepKind::Read;
        // When the saga is undone anyway, an effect that may stay holds up nobody: it is not asked for any more.
        let is_let_go = step.kind == StepKind::Compensatable && self.saga.stopping.is_some();
        if has_effect && unknown && step.compensation.is_none() && !is_let_go {
            let message = format!(
                "whether {} happened at {} is not known, and it cannot be undone; its result is asked for again \
                 and again",
                key,
                step.counterpart()
            );
            self.block(key, BlockedReason::Unknown, message);
            self.plan_slow(key, Direction::Action, attempt, step.retry, retry_after);
            return;
        }
        // Each attempt was answered by `failed`, which promises that nothing is left; an undo is sent all the same where there is one, since
        // it is harmless and participants are written by people.
        let in_doubt = has_effect && (unknown || step.compensation.is_some());
        self.record(Event::GaveUp { step: (*key).clone(), in_doubt });
        self.unblock(key);
        self.stop(cause);
    }

    /// The saga stops while the next attempt was only planned.
    fn stop_retrying(&mut self, step: &Step, key: &StepKey) {
        let unknown = self.run(key).is_some_and(|run| run.unknown);
        let has_effect = step.kind != StepKind::Read;
        if unknown && has_effect && step.kind != StepKind::Compensatable {
            return; // Its result must be known first; the slow lane asks for it.
        }
        let in_doubt = has_effect && (unknown || step.compensation.is_some());
        self.record(Event::GaveUp { step: key.clone(), in_doubt });
        self.unblock(key);
    }

    pub(super) fn plan(
        &mut self,
        step: &Step,
        key: &StepKey,
        direction: Direction,
        attempt: u32,
        retry_after: Option<Millis>,
    ) {
        let effect = self.effect_id(key, direction);
        let pause = if let (Direction::Compensation, Some(undo)) = (direction, &step.compensation) {
            // The window has been reckoned with the pauses of its policy.
            undo.retry.pause_within(&effect, attempt, retry_after.unwrap_or_default())
        } else {
            // Behind the pivot no pause is longer than the slow lane's.
            let policy = RetryPolicy { cap: step.retry.cap.min(SLOW_LANE_CAP), ..step.retry };
            policy.pause(&effect, attempt).max(patience(retry_after))
        };
        self.record(Event::RetryPlanned { step: key.clone(), at: self.now + pause });
    }

    pub(super) fn plan_slow(
        &mut self,
        key: &StepKey,
        direction: Direction,
        attempt: u32,
        policy: RetryPolicy,
        retry_after: Option<Millis>,
    ) {
        let pause = policy.pause_slow(&self.effect_id(key, direction), attempt);
        let at = self.now + pause.max(patience(retry_after));
        self.record(Event::RetryPlanned { step: key.clone(), at });
    }

    /// An answer to an action that is not under way any more. A success is a fact and is journalled
    /// once; everything else says nothing new.
    pub(super) fn on_late_action_reply(
        &mut self,
        step: &Step,
        key: &StepKey,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let Some(run) = self.run(key) else { return Err(Refusal::NeverSent) };
        if attempt == 0 || attempt > run.attempts {
            return Err(Refusal::NeverSent);
        }
        // An output is known when the action was done before it was undone.
        if run.late || run.output.is_some() || matches!(run.state, StepState::Done | StepState::Acting) {
            return Err(Refusal::Duplicate);
        }
        let is_ended = matches!(self.saga.phase, Phase::Ended(_));
        let Outcome::Ok { output, .. } = outcome else {
            return Err(if is_ended { Refusal::Ended } else { Refusal::Stale });
        };
        let may_stay = match step.kind {
            StepKind::Read => true,
            StepKind::Compensatable => step.compensation.is_none(),
            StepKind::Pivot | StepKind::Retriable => false,
        };
        let neutralised = may_stay
            || match run.state {
                StepState::Undoing | StepState::Undone => true,
                // Not done, said the participant, and it was done after all: it can still be undone
                // while the saga has not ended.
                StepState::InDoubt | StepState::NotDone => step.compensation.is_some() && !is_ended,
                // The fence did not hold. The same holds for `Done` and `Acting`, which are left above.
                StepState::Fenced | StepState::Done | StepState::Acting | StepState::Skipped => false,
            };
        self.record(Event::LateReply {
            step: key.clone(),
            attempt,
            output: self.too_large("output", output).is_none().then(|| output.clone()),
            neutralised,
        });
        Ok(())
    }

    /// What to say of a payload that is too large to be kept.
    pub(super) fn too_large(&self, what: &str, payload: &Json) -> Option<String> {
        if payload.len() > limit::PAYLOAD_BYTES_MAX {
            Some(format!("the {what} has {} bytes, at most {}", payload.len(), limit::PAYLOAD_BYTES_MAX))
        } else if self.saga.bytes.saturating_add(payload.len()) > limit::SAGA_BYTES_MAX {
            Some(format!("the saga's payloads exceed {} bytes together", limit::SAGA_BYTES_MAX))
        } else {
            None
        }
    }
}

/// Whether a person should hear of an operation that is tried without end.
pub(super) fn is_stubborn(flight: Flight, now: Timestamp) -> bool {
    flight.attempt >= BLOCKED_AFTER_ATTEMPTS || now.since(flight.since) >= BLOCKED_AFTER
}

/// How long a participant may ask to be left alone by what must be done: no longer than the slow lane waits.
fn patience(retry_after: Option<Millis>) -> Millis {
    retry_after.unwrap_or_default().min(SLOW_LANE_CAP)
}
