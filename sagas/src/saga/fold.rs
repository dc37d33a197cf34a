//! [`Saga::evolve`]: how each fact changes the state.

use super::{Blocked, Failure, Flight, Phase, Saga, Signalled, StepRun, StepState, Wait};
use crate::ids::{Direction, StepKey};
use crate::journal::{BlockedReason, Cause, Event};
use crate::json::Json;
use crate::time::{Millis, Timestamp};

impl Saga {
    /// Folds one event in. Total: an event that does not fit the state changes nothing.
    pub fn evolve(&mut self, at: Timestamp, event: &Event) {
        match event {
            // What follows from a decision is a fact of its own.
            Event::Started(_) | Event::Decided { .. } => {}
            Event::Sent { step, direction, attempt, until, request, pivot } => {
                self.on_sent(at, step, *direction, *attempt, *until, request.as_ref());
                self.pivot_sent |= *pivot;
            }
            Event::Skipped { step } => self.steps.push(begun(at, step, StepState::Skipped)),
            Event::Listed { step, items } => {
                self.bytes = self.bytes.saturating_add(items.len());
                let run = begun(at, step, StepState::Acting);
                self.steps.push(StepRun { request: Some(items.clone()), ..run });
            }
            Event::Waiting { step, until, pivot } => {
                let flight = Some(unsent(at, Wait::Time(*until)));
                self.steps.push(StepRun { flight, ..begun(at, step, StepState::Acting) });
                self.pivot_sent |= *pivot;
            }
            Event::Signalled { name, id, payload } => {
                self.bytes = self.bytes.saturating_add(payload.len());
                let (name, id, payload) = (name.clone(), id.clone(), payload.clone());
                self.signals.push(Signalled { name, id, payload, at, taken_by: None });
            }
            Event::SignalTaken { step, id } => {
                if let Some(signal) = self.signals.iter_mut().find(|signal| signal.id == *id) {
                    signal.taken_by = Some(step.clone());
                }
            }
            Event::Curtailed { step, until } => {
                if let Some(run) = self.step_mut(step)
                    && let Some(flight) = run.flight.as_mut()
                {
                    flight.wait = match flight.wait {
                        Wait::Reply(_) => Wait::Reply(*until),
                        Wait::Retry(_) => Wait::Retry(*until),
                        Wait::Time(_) => Wait::Time(*until),
                    };
                }
            }
            Event::SentAgain { step } => {
                if let Some(run) = self.step_mut(step)
                    && let Some(flight) = run.flight.as_mut()
                {
                    flight.sending = flight.sending.saturating_add(1);
                    // Two commands are out now, and an answer to one says nothing of the other.
                    run.unknown |= flight.direction == Direction::Action;
                }
            }
            Event::Working { step, until: due } => self.set_wait(at, step, Wait::Reply(*due)),
            Event::RetryPlanned { step, at: due } => self.set_wait(at, step, Wait::Retry(*due)),
            Event::Succeeded { step, direction, output, empty, .. } => {
                // What a signal said was counted when it came.
                let is_signal = self.signals.iter().any(|signal| signal.taken_by.as_ref() == Some(step));
                if !is_signal {
                    self.bytes = self.bytes.saturating_add(output.as_ref().map_or(0, Json::len));
                }
                if let Some(run) = self.step_mut(step) {
                    run.flight = None;
                    run.changed_at = at;
                    run.happened |= *direction == Direction::Action;
                    run.state = match (direction, empty) {
                        (Direction::Action, _) => StepState::Done,
                        (Direction::Compensation, false) => StepState::Undone,
                        (Direction::Compensation, true) => StepState::Fenced,
                    };
                    if *direction == Direction::Action {
                        run.output.clone_from(output);
                    }
                }
            }
            Event::Rejected { step, direction, code, message, partial, .. } => {
                if let Some(run) = self.step_mut(step) {
                    run.changed_at = at;
                    run.failure = Some(Failure { code: code.clone(), message: message.clone() });
                    if *direction == Direction::Action {
                        run.flight = None;
                        run.late |= *partial;
                        run.state = if *partial { StepState::InDoubt } else { StepState::NotDone };
                    }
                }
            }
            Event::Failed { step, message, .. } => {
                if let Some(run) = self.step_mut(step) {
                    run.changed_at = at;
                    run.failure = Some(Failure { code: "failed".to_owned(), message: message.clone() });
                }
            }
            Event::TimedOut { step, direction, .. } => {
                if let Some(run) = self.step_mut(step) {
                    run.changed_at = at;
                    run.unknown |= *direction == Direction::Action;
                    run.failure = Some(Failure {
                        code: "timed_out".to_owned(),
                        message: "no answer came in time".to_owned(),
                    });
                }
            }
            Event::Tombstoned { step } => self.stop_acting(at, step, StepState::InDoubt),
            Event::NotSent { step, code, message, again } => {
                let failure = Some(Failure { code: code.clone(), message: message.clone() });
                let wait = again.map(Wait::Retry);
                let state = if wait.is_some() { StepState::Acting } else { StepState::NotDone };
                let flight = wait.map(|wait| unsent(at, wait));
                self.steps.push(StepRun { flight, failure, ..begun(at, step, state) });
            }
            Event::GaveUp { step, in_doubt } => {
                let state = if *in_doubt { StepState::InDoubt } else { StepState::NotDone };
                self.stop_acting(at, step, state);
            }
            Event::CancelRequested { by, reason } => {
                self.stopping = Some(Cause::Cancelled { by: by.clone(), reason: reason.clone() });
            }
            Event::Stopping { cause } => self.stopping = Some(cause.clone()),
            Event::Held => {
                self.phase = Phase::Held;
                self.asked_at = Some(at);
            }
            Event::AskedParent => {
                self.asked = self.asked.saturating_add(1);
                self.asked_at = Some(at);
            }
            Event::UndoAsked { deadline } => {
                self.undo_asked = true;
                let left = deadline.since(at);
                self.risk_at = *deadline - Millis(left.0 / 10);
                self.deadline = *deadline;
                // What one that was held is undone in is a window of its own; one that is under way has its alerts behind it.
                if self.phase == Phase::Held {
                    (self.at_risk, self.window_missed) = (false, false);
                }
            }
            Event::CompensationBegan { cause } => {
                self.phase = Phase::Backward;
                self.cause = Some(cause.clone());
                self.stopping = None;
                self.blocked.clear();
            }
            Event::Blocked { step, reason, message } => {
                // The same step, for another reason: the newer one counts.
                self.blocked.retain(|blocked| blocked.step != *step);
                self.blocked.push(Blocked {
                    step: step.clone(),
                    reason: *reason,
                    message: message.clone(),
                    since: at,
                });
                if *reason == BlockedReason::Unknown
                    && let Some(run) = self.step_mut(step)
                {
                    run.unknown = true;
                }
            }
            Event::Unblocked { step } => {
                self.blocked.retain(|blocked| blocked.step != *step);
            }
            Event::LateReply { step, output, neutralised, .. } => {
                self.bytes = self.bytes.saturating_add(output.as_ref().map_or(0, Json::len));
                // It is, or it will be when what is in flight beside it is known.
                let is_undoing = self.phase == Phase::Backward || self.stopping.is_some();
                if let Some(run) = self.step_mut(step) {
                    (run.late, run.happened) = (true, true);
                    if output.is_some() {
                        run.output.clone_from(output);
                    }
                    if *neutralised && is_undoing && run.state == StepState::NotDone {
                        run.state = StepState::InDoubt;
                    }
                }
            }
            Event::WindowAtRisk => self.at_risk = true,
            Event::WindowMissed => self.window_missed = true,
            Event::Ended { end } => {
                self.phase = Phase::Ended(*end);
                self.blocked.clear();
                self.ended_at = Some(at);
            }
        }
    }

    fn on_sent(
        &mut self,
        at: Timestamp,
        step: &StepKey,
        direction: Direction,
        attempt: u32,
        until: Timestamp,
        request: Option<&Json>,
    ) {
        self.bytes = self.bytes.saturating_add(request.map_or(0, Json::len));
        let state = match direction {
            Direction::Action => StepState::Acting,
            Direction::Compensation => StepState::Undoing,
        };
        let flight =
            Flight { direction, attempt, sending: 0, since: at, sent_at: at, wait: Wait::Reply(until) };
        if self.step(step.as_str()).is_none() {
            self.steps.push(begun(at, step, state));
        }
        if let Some(run) = self.step_mut(step) {
            // An action is never under way when its compensation is sent.
            let since = run.flight.map_or(at, |before| before.since);
            if request.is_some() {
                run.request = request.cloned();
            }
            if direction == Direction::Action {
                run.attempts = attempt;
            }
            run.state = state;
            run.changed_at = at;
            run.flight = Some(Flight { since, ..flight });
        }
    }

    fn step_mut(&mut self, key: &StepKey) -> Option<&mut StepRun> {
        self.steps.iter_mut().find(|step| step.key == *key)
    }

    fn set_wait(&mut self, at: Timestamp, step: &StepKey, wait: Wait) {
        if let Some(run) = self.step_mut(step) {
            run.changed_at = at;
            if let Some(flight) = run.flight.as_mut() {
                flight.wait = wait;
            }
        }
    }

    fn stop_acting(&mut self, at: Timestamp, step: &StepKey, state: StepState) {
        if let Some(run) = self.step_mut(step) {
            run.flight = None;
            run.state = state;
            run.changed_at = at;
        }
    }
}

/// What waits, and nothing is out.
fn unsent(at: Timestamp, wait: Wait) -> Flight {
    Flight { direction: Direction::Action, attempt: 0, sending: 0, since: at, sent_at: at, wait }
}

/// A step right after its beginning.
fn begun(at: Timestamp, step: &StepKey, state: StepState) -> StepRun {
    StepRun {
        key: step.clone(),
        state,
        request: None,
        output: None,
        flight: None,
        attempts: 0,
        unknown: false,
        failure: None,
        begun_at: at,
        changed_at: at,
        late: false,
        happened: false,
    }
}
