//! Undoing: compensations in the reverse order of the graph, without end until each is done. A step is undone when
//! nothing is left of the steps that needed it; steps that do not need each other are undone side by side.

use super::forward::is_stubborn;
use super::{
    BlockedReason, Cause, Direction, Draft, End, Event, One, Outcome, Refusal, Step, StepKey, StepState, Wait,
};
use crate::definition::graph::Set;

impl Draft<'_> {
    /// From here on everything is undone.
    pub(super) fn turn_round(&mut self, cause: Cause) {
        // A list whose items are not worked on any more.
        let lists: Vec<StepKey> = self
            .saga
            .steps
            .iter()
            .filter(|run| run.state == StepState::Acting && run.flight.is_none())
            .map(|run| run.key.clone())
            .collect();
        for step in lists {
            self.record(Event::GaveUp { step, in_doubt: false });
        }
        self.record(Event::CompensationBegan { cause });
        self.undo_ready();
    }

    /// Undoes what can be undone now, or ends the saga when nothing is left.
    pub(super) fn undo_ready(&mut self) {
        // The steps of which something is left, or is being undone; and how many of each are being undone.
        let mut left = Set::default();
        let mut waiting: Vec<(usize, StepKey)> = Vec::new();
        let mut under_way = vec![0_u32; self.definition.steps.len()];
        for run in &self.saga.steps {
            let Some((at, step)) = self.definition.step(run.key.step()) else { continue };
            match run.state {
                StepState::Undoing => {
                    left.add(at);
                    if let Some(count) = under_way.get_mut(at) {
                        *count += 1;
                    }
                }
                StepState::Done | StepState::InDoubt if has_undo(step, &run.key) => {
                    left.add(at);
                    waiting.push((at, run.key.clone()));
                }
                StepState::Done
                | StepState::InDoubt
                | StepState::Skipped
                | StepState::Acting
                | StepState::NotDone
                | StepState::Undone
                | StepState::Fenced => {}
            }
        }
        let is_over = waiting.is_empty() && under_way.iter().all(|count| *count == 0);
        // The last that was begun is undone first.
        for (at, key) in waiting.into_iter().rev() {
            let Some(step) = self.definition.steps.get(at) else { continue };
            let at_once = step.for_each.as_ref().map_or(1, |each| each.concurrency);
            if let Some(count) = under_way.get_mut(at)
                && *count < at_once
                && !self.definition.graph.descendants(at).meets(&left)
            {
                *count += 1;
                self.send_compensation(step, &key, 1);
            }
        }
        if is_over {
            self.end(End::Compensated);
        }
    }

    pub(super) fn send_compensation(&mut self, step: &Step, key: &StepKey, attempt: u32) {
        let Some(undo) = &step.compensation else { return };
        let until = self.now + undo.timeout;
        self.record(Event::Sent {
            step: key.clone(),
            direction: Direction::Compensation,
            attempt,
            until,
            request: None,
            pivot: false,
        });
        if let Some(flight) = self.run(key).and_then(|run| run.flight) {
            self.emit(&One { step, key, flight }, undo.timeout);
        }
    }

    pub(super) fn on_compensation_reply(
        &mut self,
        one: &One<'_>,
        attempt: u32,
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        let One { step, key, flight } = one;
        let is_current = attempt == flight.attempt && matches!(flight.wait, Wait::Reply(_));
        match outcome {
            Outcome::Ok { empty, .. } => {
                self.record(Event::Succeeded {
                    step: (*key).clone(),
                    direction: Direction::Compensation,
                    attempt,
                    output: None,
                    empty: *empty,
                });
                self.unblock(key);
                if let Some(run) = self.run(key).filter(|run| *empty && run.happened) {
                    // It is known that there was something to undo: whatever the fence is worth, the effect is left.
                    let (step, attempt) = (run.key.clone(), run.attempts);
                    self.record(Event::LateReply { step, attempt, output: None, neutralised: false });
                }
                self.undo_ready();
            }
            _ if !is_current => return Err(Refusal::Stale),
            Outcome::Rejected { code, message, partial } => {
                self.record(Event::Rejected {
                    step: (*key).clone(),
                    direction: Direction::Compensation,
                    attempt,
                    code: code.clone(),
                    message: message.clone(),
                    partial: *partial,
                });
                self.block(
                    key,
                    BlockedReason::CompensationRejected,
                    format!(
                        "{} rejected a compensation ({code}): {message}; no participant may, and it is tried again \
                         until it is done",
                        step.counterpart()
                    ),
                );
                self.plan_undo(one, None);
            }
            Outcome::Failed { message, retry_after } => {
                self.record(Event::Failed {
                    step: (*key).clone(),
                    direction: Direction::Compensation,
                    attempt,
                    message: message.clone(),
                });
                self.block_if_stubborn(one, message);
                self.plan_undo(one, *retry_after);
            }
            Outcome::Working => {
                let Some(undo) = &step.compensation else { return Err(Refusal::NeverSent) };
                let until = self.now + undo.timeout;
                if until.since(flight.wait.due()).0 < undo.timeout.0 / 4 {
                    return Err(Refusal::NothingDue);
                }
                self.record(Event::Working { step: (*key).clone(), until });
            }
            Outcome::Tombstoned | Outcome::TooLarge { .. } => {
                // A barrier says the one of actions only, and what the other said cannot be read: try again.
                let message = if matches!(outcome, Outcome::Tombstoned) {
                    "the participant answered `tombstoned` to a compensation"
                } else {
                    "the answer was too large to be read"
                };
                self.record(Event::Failed {
                    step: (*key).clone(),
                    direction: Direction::Compensation,
                    attempt,
                    message: message.to_owned(),
                });
                self.block_if_stubborn(one, message);
                self.plan_undo(one, None);
            }
        }
        Ok(())
    }

    pub(super) fn on_compensation_timeout(&mut self, one: &One<'_>) {
        let One { key, flight, .. } = one;
        self.record(Event::TimedOut {
            step: (*key).clone(),
            direction: Direction::Compensation,
            attempt: flight.attempt,
        });
        self.block_if_stubborn(one, "no answer came in time");
        self.plan_undo(one, None);
    }

    fn block_if_stubborn(&mut self, one: &One<'_>, message: &str) {
        let One { step, key, flight } = one;
        if is_stubborn(*flight, self.now) {
            self.block(
                key,
                BlockedReason::CompensationFails,
                format!(
                    "the compensation of {} failed {} times at {}, last: {message}; it is tried again until it is \
                     done",
                    key, flight.attempt, step.counterpart()
                ),
            );
        }
    }

    fn plan_undo(&mut self, one: &One<'_>, retry_after: Option<crate::time::Millis>) {
        let One { step, key, flight } = one;
        let Some(undo) = &step.compensation else { return };
        if flight.attempt < undo.retry.attempts {
            self.plan(step, key, Direction::Compensation, flight.attempt, retry_after);
        } else {
            self.plan_slow(key, Direction::Compensation, flight.attempt, undo.retry, retry_after);
        }
    }
}

/// Whether the step, or this iteration of it, has an effect of its own that a compensation reverses.
fn has_undo(step: &Step, key: &StepKey) -> bool {
    step.compensation.is_some() && (step.for_each.is_none() || key.number().is_some())
}
