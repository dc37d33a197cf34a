//! Undoing: compensations in reverse order, one after the other, without end until each is done.

use super::{
    BlockedReason, Cause, Direction, Draft, End, Event, Flight, Outcome, Refusal, Step, StepState, Wait,
};
use crate::retry::{BLOCKED_AFTER, BLOCKED_AFTER_ATTEMPTS};

impl Draft<'_> {
    /// From here on everything is undone.
    pub(super) fn turn_round(&mut self, cause: Cause) {
        self.record(Event::CompensationBegan { cause });
        self.undo_next();
    }

    /// Undoes the latest step that ran or may have run, or ends the saga when there is none.
    fn undo_next(&mut self) {
        let next = self.saga.steps.iter().rev().find_map(|run| match run.state {
            StepState::Done | StepState::InDoubt => {
                let (_, step) = self.definition.step(run.name.as_str())?;
                step.compensation.is_some().then_some(step)
            }
            StepState::Acting
            | StepState::NotDone
            | StepState::Undoing
            | StepState::Undone
            | StepState::Fenced => None,
        });
        match next {
            Some(step) => self.send_compensation(step, 1),
            None => self.end(End::Compensated),
        }
    }

    pub(super) fn send_compensation(&mut self, step: &Step, attempt: u32) {
        let Some(undo) = &step.compensation else { return };
        let until = self.now + undo.timeout;
        self.record(Event::Sent {
            step: step.name.clone(),
            direction: Direction::Compensation,
            attempt,
            until,
            request: None,
            pivot: false,
        });
        if let Some(flight) = self.saga.step(step.name.as_str()).and_then(|run| run.flight) {
            self.emit(step, flight, undo.timeout);
        }
    }

    pub(super) fn on_compensation_reply(
        &mut self,
        step: &Step,
        flight: Flight,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let is_current = attempt == flight.attempt && matches!(flight.wait, Wait::Reply(_));
        match outcome {
            Outcome::Ok { empty, .. } => {
                self.record(Event::Succeeded {
                    step: step.name.clone(),
                    direction: Direction::Compensation,
                    attempt,
                    output: None,
                    empty: *empty,
                });
                self.unblock(&step.name);
                self.undo_next();
            }
            _ if !is_current => return Err(Refusal::Stale),
            Outcome::Rejected { code, message, partial } => {
                self.record(Event::Rejected {
                    step: step.name.clone(),
                    direction: Direction::Compensation,
                    attempt,
                    code: code.clone(),
                    message: message.clone(),
                    partial: *partial,
                });
                self.block(
                    &step.name,
                    BlockedReason::CompensationRejected,
                    format!(
                        "{} rejected a compensation ({code}): {message}; no participant may, and it is tried again \
                         until it is done",
                        step.participant
                    ),
                );
                self.plan_undo(step, flight, None);
            }
            Outcome::Failed { message, retry_after } => {
                self.record(Event::Failed {
                    step: step.name.clone(),
                    direction: Direction::Compensation,
                    attempt,
                    message: message.clone(),
                });
                self.block_if_stubborn(step, flight, message);
                self.plan_undo(step, flight, *retry_after);
            }
            Outcome::Working => {
                let Some(undo) = &step.compensation else { return Err(Refusal::NeverSent) };
                let until = self.now + undo.timeout;
                if until.since(flight.wait.due()).0 < undo.timeout.0 / 4 {
                    return Err(Refusal::NothingDue);
                }
                self.record(Event::Working { step: step.name.clone(), until });
            }
            Outcome::Tombstoned => {
                // A barrier says this of actions only. Not an answer to a compensation: try again.
                let message = "the participant answered `tombstoned` to a compensation";
                self.record(Event::Failed {
                    step: step.name.clone(),
                    direction: Direction::Compensation,
                    attempt,
                    message: message.to_owned(),
                });
                self.block_if_stubborn(step, flight, message);
                self.plan_undo(step, flight, None);
            }
        }
        Ok(())
    }

    pub(super) fn on_compensation_timeout(&mut self, step: &Step, flight: Flight) {
        self.record(Event::TimedOut {
            step: step.name.clone(),
            direction: Direction::Compensation,
            attempt: flight.attempt,
        });
        self.block_if_stubborn(step, flight, "no answer came in time");
        self.plan_undo(step, flight, None);
    }

    fn block_if_stubborn(&mut self, step: &Step, flight: Flight, message: &str) {
        if flight.attempt >= BLOCKED_AFTER_ATTEMPTS || self.now.since(flight.since) >= BLOCKED_AFTER {
            self.block(
                &step.name,
                BlockedReason::CompensationFails,
                format!(
                    "the compensation of {} failed {} times at {}, last: {message}; it is tried again until it is \
                     done",
                    step.name, flight.attempt, step.participant
                ),
            );
        }
    }

    fn plan_undo(&mut self, step: &Step, flight: Flight, retry_after: Option<crate::time::Millis>) {
        let Some(undo) = &step.compensation else { return };
        if flight.attempt < undo.retry.attempts {
            self.plan(step, Direction::Compensation, flight.attempt, retry_after);
        } else {
            self.plan_slow(step, Direction::Compensation, flight.attempt, undo.retry, retry_after);
        }
    }
}
