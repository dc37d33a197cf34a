//! How a sub-saga and its parent speak. To the parent the sub-saga is a participant: it is asked to run, answers
//! `ok` or `rejected`, and is asked to be undone. It keeps that promise as a participant's barrier does: it is there
//! once, whoever asks how often; and one that is asked to be undone before it was there is fenced off.

use super::{
    Cause, Direction, Draft, Effect, End, Event, Json, Millis, Name, Phase, Refusal, SagaId, Step, StepKey,
    StepState,
};
use super::{Decision, StartInput, begun};
use crate::definition::{Definition, Work};
use crate::ids::{CommandId, EffectId};
use crate::journal::Parent;
use crate::time::Timestamp;
use crate::wire::{Outcome, Reply};

/// What a parent asks of a sub-saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The sub-saga.
    pub child: SagaId,
    /// Its definition.
    pub definition: Name,
    /// The definition's version.
    pub version: u32,
    /// The parent, and its step.
    pub parent: Parent,
    /// Its input.
    pub input: Json,
    /// What is asked.
    pub kind: AskKind,
}

/// So often a sub-saga asks after its parent before it is believed that there is none: the questions are half a minute and
/// more apart.
const ORPHANED_AFTER: u32 = 2;

/// What a parent may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskKind {
    /// To run, and to be over within so long: the parent awaits it no longer.
    Run(Millis),
    /// To be undone, within so long.
    Undo(Millis),
    /// To end: the parent is completed.
    Release,
}

/// The first transition of a sub-saga that its parent asks to be over within so long. It has its window, but no longer
/// than that: what it would do later its parent would only have to undo.
pub fn start_part(definition: &Definition, start: StartInput, within: Millis, now: Timestamp) -> Decision {
    let mut draft = begun(definition, start, definition.window.min(within), now);
    draft.advance();
    draft.done()
}

/// The only transition of a sub-saga that is asked to be undone before it was there: it can never run.
pub fn fence(definition: &Definition, start: StartInput, now: Timestamp) -> Decision {
    let cause = start.parent.as_ref().map(|parent| Cause::Parent { saga: parent.saga });
    let mut draft = begun(definition, start, definition.window, now);
    if let Some(cause) = cause {
        draft.record(Event::UndoAsked { deadline: draft.saga.deadline });
        draft.record(Event::CompensationBegan { cause });
    }
    draft.end(End::Compensated);
    draft.done()
}

impl Draft<'_> {
    pub(super) fn ask(
        &self,
        key: &StepKey,
        definition: &Name,
        version: u32,
        input: Json,
        kind: AskKind,
    ) -> Ask {
        Ask {
            child: self.saga.id.child(key),
            definition: definition.clone(),
            version,
            parent: Parent { saga: self.saga.id, step: key.clone() },
            input,
            kind,
        }
    }

    /// All steps are done: a sub-saga is held until its parent ends, every other saga is completed.
    pub(super) fn complete(&mut self) {
        if self.saga.parent.is_none() {
            self.end(End::Completed);
        } else {
            self.record(Event::Held);
            self.answer_parent();
        }
    }

    pub(super) fn on_asked(&mut self, ask: &Ask) -> Result<(), Refusal> {
        if self.saga.parent.as_ref() != Some(&ask.parent) {
            return Err(Refusal::NeverSent);
        }
        match (ask.kind, self.saga.phase) {
            (AskKind::Run(_), Phase::Held | Phase::Ended(_)) => self.answer_parent(),
            // It answers when it is done.
            (AskKind::Run(_), Phase::Forward | Phase::Backward) => return Err(Refusal::Duplicate),
            (AskKind::Release, Phase::Held) => self.end(End::Completed),
            (AskKind::Release, Phase::Forward | Phase::Backward) => return Err(Refusal::NeverSent),
            (AskKind::Undo(_), Phase::Ended(End::Compensated)) => self.answer_undo(),
            (AskKind::Release, Phase::Ended(_)) | (AskKind::Undo(_), Phase::Ended(End::Completed)) => {
                return Err(Refusal::Ended);
            }
            (AskKind::Undo(_), _) if self.saga.undo_asked => return Err(Refusal::Duplicate),
            // No definition asks for that: such a sub-saga is its parent's own pivot.
            (AskKind::Undo(_), Phase::Forward | Phase::Held) if self.saga.pivot_sent => {
                return Err(Refusal::PastPivot);
            }
            (AskKind::Undo(within), phase) => {
                self.record(Event::UndoAsked { deadline: self.now + within });
                let cause = Cause::Parent { saga: ask.parent.saga };
                match phase {
                    Phase::Held => self.turn_round(cause),
                    Phase::Forward => {
                        self.on_cancel(&cause)?;
                        // Its parent has reckoned with the time that undoing takes, and with none beside it.
                        self.cut_short();
                    }
                    Phase::Backward | Phase::Ended(_) => {}
                }
            }
        }
        Ok(())
    }

    /// A held sub-saga has heard nothing for long: it tells its parent again that it is done, and is told what became of it.
    pub(super) fn on_woke_held(&mut self) -> Result<(), Refusal> {
        if self.saga.ask_at() > self.now {
            return Err(Refusal::NothingDue);
        }
        self.record(Event::AskedParent);
        self.answer_parent();
        Ok(())
    }

    /// Nobody is there to end it or to undo it, and whoever started its parent has to start it anew: it is undone, or, behind
    /// its pivot, completed. One look at a database that is behind is not believed.
    pub(super) fn on_orphaned(&mut self) -> Result<(), Refusal> {
        if self.saga.phase != Phase::Held || self.saga.asked < ORPHANED_AFTER {
            return Err(Refusal::NothingDue);
        }
        if self.saga.pivot_sent {
            self.end(End::Completed);
        } else if let Some(parent) = self.saga.parent.clone() {
            let deadline = self.now + self.definition.worst_case().unwind_millis();
            self.record(Event::UndoAsked { deadline });
            self.turn_round(Cause::Parent { saga: parent.saga });
        }
        Ok(())
    }

    /// Tells the parent how this saga stands, if it has one and is done.
    pub(super) fn answer_parent(&mut self) {
        let Some(parent) = self.saga.parent.clone() else { return };
        let outcome = match self.saga.phase {
            Phase::Forward | Phase::Backward => return,
            Phase::Ended(End::Compensated) if self.saga.undo_asked => {
                self.answer_undo();
                return;
            }
            Phase::Held | Phase::Ended(End::Completed) => {
                Outcome::Ok { output: self.outputs(), empty: false }
            }
            Phase::Ended(End::Compensated) => {
                let cause = self.saga.cause.as_ref();
                Outcome::Rejected {
                    code: cause.map_or("compensated", Cause::code).to_owned(),
                    message: cause.map_or_else(|| "it was undone".to_owned(), ToString::to_string),
                    partial: false,
                }
            }
        };
        self.answer(&parent, Direction::Action, outcome);
    }

    fn answer_undo(&mut self) {
        let Some(parent) = self.saga.parent.clone() else { return };
        let outcome = Outcome::Ok { output: Json::null(), empty: self.saga.steps.is_empty() };
        self.answer(&parent, Direction::Compensation, outcome);
    }

    fn answer(&mut self, parent: &Parent, direction: Direction, outcome: Outcome) {
        let effect = EffectId { saga: parent.saga, step: parent.step.clone(), direction };
        // A final answer is one to every attempt.
        let command = CommandId { effect, attempt: 1, sending: 0 };
        self.effects.push(Effect::Answer(Box::new(Reply { command, outcome })));
    }

    /// What a sub-saga gives to its parent: its id, and what each of its steps gave.
    fn outputs(&self) -> Json {
        let mut outputs = Vec::new();
        for step in &self.definition.steps {
            if let Some(output) = self.saga.output(step.name.as_str()) {
                outputs.push(format!("\"{}\":{}", step.name, output.get()));
            }
        }
        let text = format!("{{\"saga_id\":\"{}\",\"outputs\":{{{}}}}}", self.saga.id, outputs.join(","));
        Json::parse(&text).unwrap_or_else(|_| Json::null())
    }

    /// A sub-saga that is held says so to its parent, which has ended: it did not hear of it, and is told alone. `true`: it is.
    pub(super) fn tell_held(&mut self, end: End, step: &Step, key: &StepKey, reply: &Reply) -> bool {
        let is_held = reply.command.effect.direction == Direction::Action
            && matches!(reply.outcome, Outcome::Ok { .. });
        if !is_held {
            return false;
        }
        // If not, a failover that loses transactions lost what this saga did when it began it.
        let is_known = self.run(key).is_some_and(|run| run.attempts > 0);
        let kind = match (end, &step.compensation) {
            (End::Completed, _) if is_known => AskKind::Release,
            (_, Some(undo)) => AskKind::Undo(undo.timeout),
            (End::Compensated, None) if is_known => return false,
            // It has a pivot: nothing undoes it.
            (_, None) => AskKind::Release,
        };
        let ask = self.ask_held(step, key, kind);
        let is_saga = ask.is_some();
        self.effects.extend(ask);
        is_saga
    }

    /// The sub-sagas' own ends follow their parent's.
    pub(super) fn release_children(&mut self) {
        if self.saga.phase != Phase::Ended(End::Completed) {
            return;
        }
        let runs = self.saga.steps.iter().filter(|run| run.state == StepState::Done && run.attempts > 0);
        let asks: Vec<Effect> =
            runs.filter_map(|run| self.ask_held(self.step(&run.key)?, &run.key, AskKind::Release)).collect();
        self.effects.extend(asks);
    }

    /// Sub-sagas that were given up are asked to be undone at once, though it is not the turn of the saga's own steps yet: they
    /// begin nothing new, and nothing needs what they did. They are asked again in their turn, and that answer counts.
    pub(super) fn stop_parts(&mut self, which: impl Fn(&StepKey) -> bool) {
        let runs = self.saga.steps.iter();
        let given_up = runs.filter(|run| run.state == StepState::InDoubt && which(&run.key));
        let asks: Vec<Effect> = given_up
            .filter_map(|run| {
                let step = self.step(&run.key)?;
                let undo = step.compensation.as_ref()?;
                self.ask_held(step, &run.key, AskKind::Undo(undo.timeout))
            })
            .filter(|ask| !self.effects.contains(ask))
            .collect();
        self.effects.extend(asks);
    }

    fn ask_held(&self, step: &Step, key: &StepKey, kind: AskKind) -> Option<Effect> {
        let Work::Saga { definition, version } = &step.work else { return None };
        let request = self.run(key).and_then(|run| run.request.clone());
        let input = request.unwrap_or_else(|| self.saga.input.clone());
        Some(Effect::Ask(Box::new(self.ask(key, definition, *version, input, kind))))
    }
}
