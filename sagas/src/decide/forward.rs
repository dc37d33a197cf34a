//! Going forwards: actions, their answers, their silence, and when to turn round.

use super::{
    BlockedReason, Cause, Direction, Draft, End, Event, Flight, Json, Millis, Name, Outcome, Phase, Refusal,
    Step, StepState, Wait,
};
use crate::definition::StepKind;
use crate::wire::limit;

impl Draft<'_> {
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
        match self.request(step) {
            Ok(request) => self.send_action(position, step, 1, request),
            Err((code, message)) if past_pivot => {
                // Nothing is undone any more, and no later attempt can be better: say so to the
                // participant's side, which is where the mend is.
                self.send_action(position, step, 1, Some(Json::null()));
                self.block(&step.name, BlockedReason::RetriableFails, format!("{code}: {message}"));
            }
            Err((code, message)) => {
                let step = step.name.clone();
                self.record(Event::NotSent {
                    step: step.clone(),
                    code: code.to_owned(),
                    message: message.clone(),
                });
                self.turn_round(Cause::NotSent { step, code: code.to_owned(), message });
            }
        }
    }

    /// The request of a step, checked for its size here and not after the commit: what was committed
    /// must be sendable.
    fn request(&self, step: &Step) -> Result<Option<Json>, (&'static str, String)> {
        let Some(template) = &step.input else { return Ok(None) };
        let output = |name: &str| self.saga.step(name).and_then(|run| run.output.clone());
        let request = template
            .resolve(&self.saga.input, output)
            .map_err(|missing| ("bad_mapping", missing.to_string()))?;
        if request.len() > limit::PAYLOAD_BYTES_MAX {
            return Err((
                "too_large",
                format!("the request has {} bytes, at most {}", request.len(), limit::PAYLOAD_BYTES_MAX),
            ));
        }
        if self.saga.bytes.saturating_add(request.len()) > limit::SAGA_BYTES_MAX {
            return Err((
                "too_large",
                format!("the saga's payloads exceed {} bytes together", limit::SAGA_BYTES_MAX),
            ));
        }
        Ok(Some(request))
    }

    fn send_action(&mut self, position: usize, step: &Step, attempt: u32, request: Option<Json>) {
        let past_pivot = self.definition.is_past_pivot(position);
        let timeout_at = self.now + step.timeout;
        // An attempt of the slow lane, past the forward deadline, needs its time to be answered too.
        let until = if past_pivot || self.saga.blocked.is_some() {
            timeout_at
        } else {
            timeout_at.min(self.saga.forward_deadline)
        };
        self.record(Event::Sent {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            until,
            request,
            pivot: past_pivot && !self.saga.pivot_sent,
        });
        if let Some(flight) = self.saga.step(step.name.as_str()).and_then(|run| run.flight) {
            self.emit(step, flight, until.since(self.now));
        }
    }

    pub(super) fn retry_action(&mut self, position: usize, step: &Step, flight: Flight) {
        self.send_action(position, step, flight.attempt.saturating_add(1), None);
    }

    pub(super) fn on_action_reply(
        &mut self,
        position: usize,
        step: &Step,
        flight: Flight,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        match outcome {
            Outcome::Ok { output, .. } => self.on_action_ok(step, attempt, output),
            Outcome::Rejected { code, message, partial } => {
                self.on_action_rejected(step, attempt, code, message, *partial);
            }
            Outcome::Failed { message, retry_after } => {
                if attempt != flight.attempt || matches!(flight.wait, Wait::Retry(_)) {
                    return Err(Refusal::Stale);
                }
                self.record(Event::Failed {
                    step: step.name.clone(),
                    direction: Direction::Action,
                    attempt,
                    message: message.clone(),
                });
                let cause = Cause::Failed { step: step.name.clone(), message: message.clone() };
                self.after_miss(position, step, attempt, *retry_after, cause);
            }
            Outcome::Working => {
                if attempt != flight.attempt || matches!(flight.wait, Wait::Retry(_)) {
                    return Err(Refusal::Stale);
                }
                let until = self.now + step.timeout;
                let until = if self.definition.is_past_pivot(position) {
                    until
                } else {
                    until.min(self.saga.forward_deadline)
                };
                // Heartbeats come often; only one that moves the timeout by a good part is a fact.
                if until <= flight.wait.due() + Millis(step.timeout.0 / 4) {
                    return Err(Refusal::NothingDue);
                }
                self.record(Event::Working { step: step.name.clone(), until });
            }
            Outcome::Tombstoned => {
                self.record(Event::Tombstoned { step: step.name.clone() });
                self.unblock(&step.name);
                self.turn_round(Cause::Tombstoned { step: step.name.clone() });
            }
        }
        Ok(())
    }

    fn on_action_ok(&mut self, step: &Step, attempt: u32, output: &Json) {
        let too_large = if output.len() > limit::PAYLOAD_BYTES_MAX {
            Some(format!("the output has {} bytes, at most {}", output.len(), limit::PAYLOAD_BYTES_MAX))
        } else if self.saga.bytes.saturating_add(output.len()) > limit::SAGA_BYTES_MAX {
            Some(format!("the saga's payloads exceed {} bytes together", limit::SAGA_BYTES_MAX))
        } else {
            None
        };
        if let Some(message) = too_large {
            if !self.saga.pivot_sent {
                // It happened, so it must be undone.
                self.on_action_rejected(step, attempt, "too_large", &message, true);
                return;
            }
            // Past the pivot there is no way back: it counts as done, without its output.
        }
        let keep = output.len() <= limit::PAYLOAD_BYTES_MAX
            && self.saga.bytes.saturating_add(output.len()) <= limit::SAGA_BYTES_MAX;
        self.record(Event::Succeeded {
            step: step.name.clone(),
            direction: Direction::Action,
            attempt,
            output: keep.then(|| output.clone()),
            empty: false,
        });
        self.unblock(&step.name);
        match self.saga.stopping.clone() {
            Some(cause) if !self.saga.pivot_sent => self.turn_round(cause),
            _ => self.advance(),
        }
    }

    fn on_action_rejected(&mut self, step: &Step, attempt: u32, code: &str, message: &str, partial: bool) {
        if step.kind == StepKind::Retriable {
            // A retriable step must eventually succeed, so this is a broken contract: a person, and on.
            self.record(Event::Failed {
                step: step.name.clone(),
                direction: Direction::Action,
                attempt,
                message: format!("rejected ({code}): {message}"),
            });
            self.block(
                &step.name,
                BlockedReason::RetriableFails,
                format!("{} rejected a step after the pivot ({code}): {message}", step.participant),
            );
            self.plan_slow(step, Direction::Action, attempt, step.retry);
            return;
        }
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

    pub(super) fn on_action_timeout(&mut self, position: usize, step: &Step, flight: Flight) {
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
        self.after_miss(position, step, flight.attempt, None, cause);
    }

    /// An attempt failed or went unanswered: another one, or no more.
    fn after_miss(
        &mut self,
        position: usize,
        step: &Step,
        attempt: u32,
        retry_after: Option<Millis>,
        cause: Cause,
    ) {
        if step.kind == StepKind::Retriable || (step.kind == StepKind::Read && self.saga.pivot_sent) {
            if attempt >= step.retry.attempts {
                let message = format!("{cause}; it is tried again until it succeeds");
                self.block(&step.name, BlockedReason::RetriableFails, message);
                self.plan_slow(step, Direction::Action, attempt, step.retry);
            } else {
                self.plan(step, Direction::Action, attempt, retry_after);
            }
            return;
        }
        let pause = step.retry.pause(&self.effect_id(step, Direction::Action), attempt);
        let at = self.now + pause.max(retry_after.unwrap_or_default());
        let may_retry = attempt < step.retry.attempts
            && self.saga.stopping.is_none()
            && self.saga.blocked.is_none()
            && at < self.saga.forward_deadline;
        if may_retry {
            self.record(Event::RetryPlanned { step: step.name.clone(), at });
            return;
        }
        debug_assert!(position < self.definition.steps.len());
        self.give_up(step, attempt, cause);
    }

    /// No more attempts. What may have happened is undone; what may have happened and cannot be undone
    /// needs a person, and is asked for its result in the slow lane meanwhile.
    fn give_up(&mut self, step: &Step, attempt: u32, cause: Cause) {
        let unknown = self.saga.step(step.name.as_str()).is_some_and(|run| run.unknown);
        let has_effect = step.kind != StepKind::Read;
        if has_effect && unknown && step.compensation.is_none() {
            let message = format!(
                "whether {} happened at {} is not known, and it cannot be undone; its result is asked for again \
                 and again",
                step.name, step.participant
            );
            self.block(&step.name, BlockedReason::Unknown, message);
            self.plan_slow(step, Direction::Action, attempt, step.retry);
            return;
        }
        // `failed` promises that nothing is left; an undo is sent all the same where there is one, since
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
        let at = self.now + pause.max(retry_after.unwrap_or_default());
        self.record(Event::RetryPlanned { step: step.name.clone(), at });
    }

    pub(super) fn plan_slow(
        &mut self,
        step: &Step,
        direction: Direction,
        attempt: u32,
        policy: crate::retry::RetryPolicy,
    ) {
        let at = self.now + policy.pause_slow(&self.effect_id(step, direction), attempt);
        self.record(Event::RetryPlanned { step: step.name.clone(), at });
    }

    /// An answer to an action that is not under way any more. A success is a fact and is journalled
    /// once; everything else says nothing new.
    pub(super) fn on_late_action_reply(
        &mut self,
        step: &Name,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let Some(run) = self.saga.step(step.as_str()) else { return Err(Refusal::NeverSent) };
        if run.late || attempt == 0 {
            return Err(Refusal::Duplicate);
        }
        let neutralised = match run.state {
            StepState::Done | StepState::Acting => return Err(Refusal::Duplicate),
            // The answer to an action that was done before it was undone is a duplicate.
            StepState::Undoing | StepState::Undone if run.output.is_some() => return Err(Refusal::Duplicate),
            StepState::InDoubt | StepState::Undoing | StepState::Undone | StepState::Fenced => true,
            StepState::NotDone => false,
        };
        let Outcome::Ok { output, .. } = outcome else {
            return Err(match self.saga.phase {
                Phase::Ended(_) => Refusal::Ended,
                Phase::Forward | Phase::Backward => Refusal::Stale,
            });
        };
        let fits = output.len() <= limit::PAYLOAD_BYTES_MAX;
        self.record(Event::LateReply {
            step: step.clone(),
            attempt,
            output: fits.then(|| output.clone()),
            neutralised,
        });
        Ok(())
    }
}
