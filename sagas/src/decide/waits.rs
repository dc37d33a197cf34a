//! Steps that send nothing: delays, signals, approvals.

use super::{Cause, Direction, Draft, Event, Json, Name, One, Phase, Refusal, StepKey, StepState, Wait};
use crate::definition::{OnNoDecision, OnSilence, Step, Work, Zone};
use crate::wire::limit;

/// Why a step was refused on which a person decided.
const NOT_APPROVED: &str = "not_approved";

impl Draft<'_> {
    /// A wait begins. A signal that came before is taken at once.
    pub(super) fn begin_waiting(&mut self, position: usize, step: &Step) {
        let key = StepKey::from(&step.name);
        let zone = self.definition.graph.zone(position);
        let pivot = zone != Zone::Before && !self.saga.pivot_sent;
        let until = self.now + step.timeout;
        let until = if zone == Zone::Before { until.min(self.limit_with(position)) } else { until };
        self.record(Event::Waiting { step: key.clone(), until, pivot });
        if let Work::Signal { name, .. } = &step.work {
            let came =
                self.saga.signals.iter().find(|signal| signal.name == *name && signal.taken_by.is_none());
            if let Some((id, payload)) = came.map(|signal| (signal.id.clone(), signal.payload.clone())) {
                self.record(Event::SignalTaken { step: key.clone(), id });
                self.waited(&key, payload);
            }
        }
    }

    /// What was waited for is there.
    fn waited(&mut self, key: &StepKey, output: Json) {
        self.record(Event::Succeeded {
            step: key.clone(),
            direction: Direction::Action,
            attempt: 0,
            output: Some(output),
            empty: false,
        });
    }

    /// The time of a wait is over.
    pub(super) fn on_time(&mut self, one: &One<'_>) {
        let One { step, key, flight } = one;
        let is_past = self.saga.pivot_sent;
        if !is_past && flight.sent_at + step.timeout > self.now {
            // It was cut short: more would have to be undone by now than fits into the rest of the window.
            self.record(Event::GaveUp { step: (*key).clone(), in_doubt: false });
            self.stop(Cause::ForwardBudget { step: (*key).clone() });
            return;
        }
        match &step.work {
            Work::Delay | Work::Participant { .. } | Work::Saga { .. } => self.waited(key, Json::null()),
            Work::Signal { on_timeout: OnSilence::Continue, default, .. } => {
                self.waited(key, Json::from_value(default));
            }
            Work::Signal { on_timeout: OnSilence::Fail, name, .. } => {
                let message = format!("the signal {name} did not come within {}", step.timeout);
                self.refuse(key, "signal_timed_out", message);
                return;
            }
            Work::Approval { on_timeout: OnNoDecision::Approve } => {
                let said = serde_json::json!({
                    "approved": true, "by": null, "comment": format!("nobody decided within {}", step.timeout)
                });
                self.waited(key, Json::from_value(&said));
            }
            Work::Approval { on_timeout: OnNoDecision::Reject } => {
                self.refuse(key, "approval_timed_out", format!("nobody decided within {}", step.timeout));
                return;
            }
        }
        self.advance();
    }

    /// The wait ends with a no.
    fn refuse(&mut self, key: &StepKey, code: &str, message: String) {
        let (step, code) = (key.clone(), code.to_owned());
        self.record(Event::Rejected {
            step: step.clone(),
            direction: Direction::Action,
            attempt: 0,
            code: code.clone(),
            message: message.clone(),
            partial: false,
        });
        self.stop(Cause::Rejected { step, code, message });
    }

    pub(super) fn on_signal(&mut self, name: &Name, id: &str, payload: &Json) -> Result<(), Refusal> {
        if let Some(known) = self.saga.signals.iter().find(|signal| signal.id == id) {
            let is_same = known.name == *name && known.payload.says_the_same_as(payload);
            return if is_same { Ok(()) } else { Err(Refusal::KeyReused) };
        }
        match self.saga.phase {
            Phase::Ended(_) => return Err(Refusal::Ended),
            Phase::Backward | Phase::Held => return Err(Refusal::NotAwaited),
            Phase::Forward if self.saga.stopping.is_some() => return Err(Refusal::NotAwaited),
            Phase::Forward => {}
        }
        let takes = |step: &&Step| matches!(&step.work, Work::Signal { name: of, .. } if of == name);
        let is_open = |step: &&Step| {
            self.saga.step(step.name.as_str()).is_none_or(|run| run.state == StepState::Acting)
        };
        let open = self.definition.steps.iter().filter(takes).filter(is_open).count();
        let kept =
            self.saga.signals.iter().filter(|signal| signal.name == *name && signal.taken_by.is_none());
        if kept.count() >= open {
            return Err(Refusal::NotAwaited);
        }
        let is_large = payload.len() > limit::PAYLOAD_BYTES_MAX
            || self.saga.bytes.saturating_add(payload.len()) > limit::SAGA_BYTES_MAX;
        if is_large {
            return Err(Refusal::TooLarge);
        }
        let (name, id, payload) = (name.clone(), id.to_owned(), payload.clone());
        self.record(Event::Signalled { name: name.clone(), id: id.clone(), payload: payload.clone() });
        let waiting = self.saga.in_flight().find_map(|(run, flight)| {
            let step = self.definition.step(run.key.step())?.1;
            let takes = matches!(&step.work, Work::Signal { name: of, .. } if *of == name);
            (takes && matches!(flight.wait, Wait::Time(_))).then(|| run.key.clone())
        });
        if let Some(key) = waiting {
            self.record(Event::SignalTaken { step: key.clone(), id });
            self.waited(&key, payload);
            self.advance();
        }
        Ok(())
    }

    pub(super) fn on_decision(
        &mut self,
        step: &Name,
        approve: bool,
        by: &str,
        comment: &str,
    ) -> Result<(), Refusal> {
        let key = StepKey::from(step);
        let is_approval = self.step(&key).is_some_and(|step| matches!(step.work, Work::Approval { .. }));
        let run = self.run(&key).filter(|_| is_approval);
        let is_no = run.is_some_and(|run| run.failure.as_ref().is_some_and(|why| why.code == NOT_APPROVED));
        // What nobody decided in time was not decided by this one either.
        let is_by_time = run
            .and_then(|run| run.output.as_ref())
            .is_some_and(|output| output.to_value().get("by").is_some_and(serde_json::Value::is_null));
        match run.map(|run| run.state) {
            Some(StepState::Done) if is_by_time => return Err(Refusal::NotAwaited),
            // Decided already: the same again changes nothing.
            Some(StepState::Done) if approve => return Ok(()),
            Some(StepState::NotDone) if is_no && !approve => return Ok(()),
            Some(StepState::Done) => return Err(Refusal::Decided),
            Some(StepState::NotDone) if is_no => return Err(Refusal::Decided),
            Some(StepState::Acting) => {}
            // Nobody decided in time, or it was given up.
            Some(
                StepState::NotDone
                | StepState::Skipped
                | StepState::InDoubt
                | StepState::Undoing
                | StepState::Undone
                | StepState::Fenced,
            )
            | None => {
                let is_ended = matches!(self.saga.phase, Phase::Ended(_));
                return Err(if is_ended { Refusal::Ended } else { Refusal::NotAwaited });
            }
        }
        let (by, comment) = (by.to_owned(), comment.to_owned());
        self.record(Event::Decided { step: key.clone(), approve, by: by.clone(), comment: comment.clone() });
        if approve {
            let said = serde_json::json!({"approved": true, "by": by, "comment": comment});
            self.waited(&key, Json::from_value(&said));
            self.advance();
        } else {
            let why = if comment.is_empty() { String::new() } else { format!(": {comment}") };
            self.refuse(&key, NOT_APPROVED, format!("{by} said no{why}"));
        }
        Ok(())
    }
}
