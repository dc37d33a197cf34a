//! Going forwards: actions, their answers, their silence, and when to turn round.

use super::{
    BlockedReason, Cause, Direction, Draft, End, Event, Flight, Json, Millis, Outcome, Phase, Refusal, Step,
    StepState, Timestamp, Wait,
};
use crate::definition::StepKind;
use crate::expression::{Facts, Names, Unresolved};
use crate::retry::{RetryPolicy, SLOW_LANE_CAP};
use crate::wire::limit;

impl<'a> Draft<'a> {
    /// Sends the next step's action, or ends the saga when there is none.
    pub(super) fn advance(&mut self) {
        let position = self.saga.steps.len();
        let Some(step) = self.definition.steps.get(position) else {
            self.end(End::Completed);
            return;
        };
        let past_pivot = position.checked_sub(1).is_some_and(|before| self.definition.is_past_pivot(before));
        if !past_pivot && self.now >= self.saga.forward_deadline {
            self.turn_round(Cause::ForwardBudget { step: step.name.clone() });
            return;
        }
        let request = self.request(step);
        match request {
            Err((code, message)) if past_pivot => {
                // Nothing is undone any more, and no later attempt can be better: say so to the
                // participant's side, which is where the mend is.
                self.send_action(position, step, 1, Some(Json::null()));
                self.block(&step.name, BlockedReason::RetriableFails, format!("{code}: {message}"));
            }
            Err((code, message)) => self.cannot_send(step, code, message),
            Ok(request) => match self.missing_past(step) {
                Some((later, message)) => self.cannot_send(later, "bad_mapping", message),
                None => self.send_action(position, step, 1, request),
            },
        }
    }

    fn cannot_send(&mut self, step: &Step, code: &str, message: String) {
        let (step, code) = (step.name.clone(), code.to_owned());
        self.record(Event::NotSent { step: step.clone(), code: code.clone(), message: message.clone() });
        self.turn_round(Cause::NotSent { step, code, message });
    }

    /// Before the pivot is sent: a step behind it whose request names what is known to be missing. Found
    /// now it can still be undone.
    fn missing_past(&self, pivot: &Step) -> Option<(&'a Step, String)> {
        let behind = self.definition.steps.iter().skip_while(|step| step.name != pivot.name).skip(1);
        behind.filter(|_| pivot.kind == StepKind::Pivot).find_map(|step| {
            let missing = step.input.as_ref()?.missing(&self.names(&|name| self.output(name)))?;
            Some((step, missing.to_string()))
        })
    }

    /// What templates and expressions know of this saga.
    fn names<'n>(&'n self, output: &'n dyn Fn(&str) -> Option<Json>) -> Names<'n> {
        let definition = self.saga.definition.as_str();
        let saga = Facts { id: self.saga.id, definition, version: self.saga.version };
        Names { input: &self.saga.input, output, each: None, saga }
    }

    fn output(&self, step: &str) -> Option<Json> {
        self.saga.step(step).and_then(|run| run.output.clone())
    }

    /// The request of a step, checked for its size here and not after the commit: what was committed
    /// must be sendable.
    fn request(&self, step: &Step) -> Result<Option<Json>, (&'static str, String)> {
        let Some(template) = &step.input else { return Ok(None) };
        let request = template
            .resolve(&self.names(&|name| self.output(name)), limit::PAYLOAD_BYTES_MAX)
            .map_err(|why| match why {
                Unresolved::TooLarge(_) | Unresolved::TooDeep(_) => ("too_large", why.to_string()),
                Unresolved::Missing(_) | Unresolved::Failed { .. } | Unresolved::TooCostly { .. } => {
                    ("bad_mapping", why.to_string())
                }
            })?;
        match self.too_large("request", &request) {
            Some(message) => Err(("too_large", message)),
            None => Ok(Some(request)),
        }
    }

    fn send_action(&mut self, position: usize, step: &Step, attempt: u32, request: Option<Json>) {
        let until = self.await_until(position, step);
        self.record(Event::Sent {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            until,
            request,
            pivot: self.definition.is_past_pivot(position) && !self.saga.pivot_sent,
        });
        if let Some(flight) = self.saga.step(step.name.as_str()).and_then(|run| run.flight) {
            self.emit(step, flight, until.since(self.now));
        }
    }

    /// Until when the answer of an action is awaited that is sent, or says that it works, now: for its
    /// timeout, but before the pivot no longer than the forward deadline. An attempt of the slow lane,
    /// which may come after that deadline, has its whole timeout too.
    fn await_until(&self, position: usize, step: &Step) -> Timestamp {
        let until = self.now + step.timeout;
        if self.definition.is_past_pivot(position) || self.saga.blocked.is_some() {
            until
        } else {
            until.min(self.saga.forward_deadline)
        }
    }

    /// Whether nothing but this step's success lets the saga go on: it stands after the pivot.
    fn must_succeed(&self, step: &Step) -> bool {
        step.kind == StepKind::Retriable || (step.kind == StepKind::Read && self.saga.pivot_sent)
    }

    /// The time of a planned attempt has come.
    pub(super) fn retry_action(&mut self, position: usize, step: &Step, flight: Flight) {
        let is_over =
            self.now >= self.saga.forward_deadline && self.saga.blocked.is_none() && !self.must_succeed(step);
        if is_over {
            // The attempt was planned in time, but its wake-up came late.
            self.give_up(step, flight.attempt, Cause::ForwardBudget { step: step.name.clone() }, None);
        } else {
            self.send_action(position, step, flight.attempt.saturating_add(1), None);
        }
    }

    pub(super) fn on_action_reply(
        &mut self,
        position: usize,
        step: &Step,
        flight: Flight,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let is_current = attempt == flight.attempt && matches!(flight.wait, Wait::Reply(_));
        match outcome {
            Outcome::Ok { output, .. } => self.on_action_ok(step, attempt, output),
            // The door says this of an answer that was too large to be read: it was done. Past the pivot there
            // is no way back, and the step counts as done, without its output.
            Outcome::Rejected { code, partial: true, .. } if code == "too_large" && self.saga.pivot_sent => {
                self.on_action_done(step, attempt, None);
            }
            Outcome::Rejected { .. } | Outcome::Tombstoned if self.must_succeed(step) => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.on_broken_contract(step, attempt, outcome);
            }
            Outcome::Rejected { code, message, partial: true } if step.kind == StepKind::Pivot => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.on_half_pivot(step, attempt, code, message);
            }
            Outcome::Rejected { code, message, partial } => {
                self.on_action_rejected(step, attempt, code, message, *partial);
            }
            Outcome::Failed { message, retry_after } => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                self.record(Event::Failed {
                    step: step.name.clone(),
                    direction: Direction::Action,
                    attempt,
                    message: message.clone(),
                });
                let cause = Cause::Failed { step: step.name.clone(), message: message.clone() };
                self.after_miss(step, attempt, *retry_after, cause);
            }
            Outcome::Working => {
                if !is_current {
                    return Err(Refusal::Stale);
                }
                let until = self.await_until(position, step);
                // Heartbeats come often; only one that moves the timeout by a good part is a fact.
                if until <= flight.wait.due() + Millis(step.timeout.0 / 4) {
                    return Err(Refusal::NothingDue);
                }
                self.record(Event::Working { step: step.name.clone(), until });
            }
            Outcome::Tombstoned => {
                self.record(Event::Tombstoned { step: step.name.clone() });
                if step.compensation.is_none() {
                    // There is nothing to send: the action did not run and never will.
                    self.record(Event::GaveUp { step: step.name.clone(), in_doubt: false });
                }
                self.unblock(&step.name);
                let tombstoned = Cause::Tombstoned { step: step.name.clone() };
                self.turn_round(self.saga.stopping.clone().unwrap_or(tombstoned));
            }
        }
        Ok(())
    }

    fn on_action_ok(&mut self, step: &Step, attempt: u32, output: &Json) {
        // Before the pivot what happened can be undone; past it there is no way back, and the step counts
        // as done, without its output.
        if !self.saga.pivot_sent
            && let Some(message) = self.too_large("output", output)
        {
            self.on_action_rejected(step, attempt, "too_large", &message, true);
            return;
        }
        let keep = self.too_large("output", output).is_none();
        self.on_action_done(step, attempt, keep.then(|| output.clone()));
    }

    fn on_action_done(&mut self, step: &Step, attempt: u32, output: Option<Json>) {
        self.record(Event::Succeeded {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            output,
            empty: false,
        });
        self.unblock(&step.name);
        // A cancellation is taken before the pivot only, and then the pivot is never sent.
        match self.saga.stopping.clone() {
            Some(cause) => self.turn_round(cause),
            None => self.advance(),
        }
    }

    fn on_action_rejected(&mut self, step: &Step, attempt: u32, code: &str, message: &str, partial: bool) {
        self.record(Event::Rejected {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            code: code.to_owned(),
            message: message.to_owned(),
            partial,
        });
        self.unblock(&step.name);
        let cause = self.saga.stopping.clone().unwrap_or_else(|| Cause::Rejected {
            step: step.name.clone(),
            code: code.to_owned(),
            message: message.to_owned(),
        });
        self.turn_round(cause);
    }

    /// A final no to a step that must succeed: a person is needed, and attempts go on.
    fn on_broken_contract(&mut self, step: &Step, attempt: u32, outcome: &Outcome) {
        let said = match outcome {
            Outcome::Rejected { code, message, .. } => format!("rejected ({code}): {message}"),
            Outcome::Ok { .. } | Outcome::Failed { .. } | Outcome::Working | Outcome::Tombstoned => {
                outcome.word().to_owned()
            }
        };
        self.record(Event::Failed {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            message: said.clone(),
        });
        let message =
            format!("{} refused a step after the pivot, which must succeed: {said}", step.participant);
        self.block(&step.name, BlockedReason::RetriableFails, message);
        self.plan_slow(step, Direction::Action, attempt, step.retry, None);
    }

    /// The pivot was rejected, and a part of its effect may be left, which nothing can undo.
    fn on_half_pivot(&mut self, step: &Step, attempt: u32, code: &str, message: &str) {
        let said = format!("rejected with an effect that may be left ({code}): {message}");
        self.record(Event::Failed {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            message: said.clone(),
        });
        let message = format!("{} {said}; the pivot cannot be undone", step.participant);
        self.block(&step.name, BlockedReason::Unknown, message);
        self.plan_slow(step, Direction::Action, attempt, step.retry, None);
    }

    pub(super) fn on_action_timeout(&mut self, step: &Step, flight: Flight) {
        self.record(Event::TimedOut {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt: flight.attempt,
        });
        let cause = if self.now >= self.saga.forward_deadline && !self.saga.pivot_sent {
            Cause::ForwardBudget { step: step.name.clone() }
        } else {
            Cause::TimedOut { step: step.name.clone() }
        };
        self.after_miss(step, flight.attempt, None, cause);
    }

    /// An attempt failed or went unanswered: another one, or no more.
    fn after_miss(&mut self, step: &Step, attempt: u32, retry_after: Option<Millis>, cause: Cause) {
        if self.must_succeed(step) {
            if attempt >= step.retry.attempts {
                let message = format!("{cause}; it is tried again until it succeeds");
                self.block(&step.name, BlockedReason::RetriableFails, message);
                self.plan_slow(step, Direction::Action, attempt, step.retry, retry_after);
            } else {
                self.plan(step, Direction::Action, attempt, retry_after);
            }
            return;
        }
        let pause = step.retry.pause(&self.effect_id(step, Direction::Action), attempt);
        let at = self.now + pause.max(retry_after.unwrap_or_default());
        let may_retry =
            attempt < step.retry.attempts && self.saga.stopping.is_none() && self.saga.blocked.is_none();
        if may_retry && at < self.saga.forward_deadline {
            self.record(Event::RetryPlanned { step: step.name.clone(), at });
            return;
        }
        let cause = if may_retry { Cause::ForwardBudget { step: step.name.clone() } } else { cause };
        self.give_up(step, attempt, cause, retry_after);
    }

    /// No more attempts. What may have happened is undone; what may have happened and cannot be undone
    /// needs a person, and is asked for its result in the slow lane meanwhile.
    fn give_up(&mut self, step: &Step, attempt: u32, cause: Cause, retry_after: Option<Millis>) {
        let unknown = self.saga.step(step.name.as_str()).is_some_and(|run| run.unknown);
        let has_effect = step.kind != StepKind::Read;
        if has_effect && unknown && step.compensation.is_none() {
            let message = format!(
                "whether {} happened at {} is not known, and it cannot be undone; its result is asked for again \
                 and again",
                step.name, step.participant
            );
            self.block(&step.name, BlockedReason::Unknown, message);
            self.plan_slow(step, Direction::Action, attempt, step.retry, retry_after);
            return;
        }
        // Each attempt was answered by `failed`, which promises that nothing is left; an undo is sent all the same where there is one, since
        // it is harmless and participants are written by people.
        let in_doubt = has_effect && step.compensation.is_some();
        self.record(Event::GaveUp { step: step.name.clone(), in_doubt });
        self.unblock(&step.name);
        let cause = self.saga.stopping.clone().unwrap_or(cause);
        self.turn_round(cause);
    }

    /// A cancellation came while the next attempt was only planned.
    pub(super) fn stop_retrying(&mut self, step: &Step) {
        let unknown = self.saga.step(step.name.as_str()).is_some_and(|run| run.unknown);
        if unknown && step.kind != StepKind::Read && step.compensation.is_none() {
            return; // Its result must be known first; the slow lane asks for it.
        }
        let in_doubt = step.kind != StepKind::Read && step.compensation.is_some();
        self.record(Event::GaveUp { step: step.name.clone(), in_doubt });
        if let Some(cause) = self.saga.stopping.clone() {
            self.turn_round(cause);
        }
    }

    pub(super) fn plan(
        &mut self,
        step: &Step,
        direction: Direction,
        attempt: u32,
        retry_after: Option<Millis>,
    ) {
        let policy = match (direction, &step.compensation) {
            (Direction::Compensation, Some(undo)) => undo.retry,
            _ => step.retry,
        };
        let pause = policy.pause(&self.effect_id(step, direction), attempt);
        let at = self.now + pause.max(patience(retry_after));
        self.record(Event::RetryPlanned { step: step.name.clone(), at });
    }

    pub(super) fn plan_slow(
        &mut self,
        step: &Step,
        direction: Direction,
        attempt: u32,
        policy: RetryPolicy,
        retry_after: Option<Millis>,
    ) {
        let pause = policy.pause_slow(&self.effect_id(step, direction), attempt);
        let at = self.now + pause.max(patience(retry_after));
        self.record(Event::RetryPlanned { step: step.name.clone(), at });
    }

    /// An answer to an action that is not under way any more. A success is a fact and is journalled
    /// once; everything else says nothing new.
    pub(super) fn on_late_action_reply(
        &mut self,
        step: &Step,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let Some(run) = self.saga.step(step.name.as_str()) else { return Err(Refusal::NeverSent) };
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
                StepState::Fenced | StepState::Done | StepState::Acting => false,
            };
        self.record(Event::LateReply {
            step: step.name.clone(),
            attempt,
            output: self.too_large("output", output).is_none().then(|| output.clone()),
            neutralised,
        });
        Ok(())
    }

    /// What to say of a payload that is too large to be kept.
    fn too_large(&self, what: &str, payload: &Json) -> Option<String> {
        if payload.len() > limit::PAYLOAD_BYTES_MAX {
            Some(format!("the {what} has {} bytes, at most {}", payload.len(), limit::PAYLOAD_BYTES_MAX))
        } else if self.saga.bytes.saturating_add(payload.len()) > limit::SAGA_BYTES_MAX {
            Some(format!("the saga's payloads exceed {} bytes together", limit::SAGA_BYTES_MAX))
        } else {
            None
        }
    }
}

/// How long a participant may ask to be left alone by what must be done: no longer than the slow lane waits.
fn patience(retry_after: Option<Millis>) -> Millis {
    retry_after.unwrap_or_default().min(SLOW_LANE_CAP)
}
