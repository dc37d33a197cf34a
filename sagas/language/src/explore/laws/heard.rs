//! What people, other services and the clock say is taken for what it is, and nothing of it is lost.

use snorri_saga::decide::{AskKind, Input, Refusal};
use snorri_saga::definition::{Definition, OnNoDecision, OnSilence, Work};
use snorri_saga::ids::{Direction, Name, StepKey};
use snorri_saga::journal::{End, Event};
use snorri_saga::saga::{Phase, Saga, StepState, Wait};

use super::Transition;
use crate::explore::world::World;

/// Why what came of an input is wrong, if it is.
pub(super) fn of(step: &Transition<'_>) -> Option<String> {
    people(step).or_else(|| waits(step)).or_else(|| overlooked(step.definition, &step.after.saga))
}

/// Why it is wrong that nothing came of an input, if it is.
pub(in crate::explore) fn of_nothing(before: &World, input: Option<&Input>) -> Option<String> {
    match input {
        Some(Input::Signal { name, .. }) => {
            Some(format!("the signal `{name}` is accepted, and nothing is recorded of it"))
        }
        Some(Input::Cancel { .. })
            if before.saga.phase == Phase::Forward && before.saga.stopping.is_none() =>
        {
            Some("a cancellation is accepted, and nothing is recorded of it".to_owned())
        }
        _ => None,
    }
}

/// Why a refusal is wrong, if it is.
pub(super) fn of_refusal(
    definition: &Definition,
    before: &World,
    input: &Input,
    refusal: Refusal,
) -> Option<String> {
    let saga = &before.saga;
    match input {
        Input::Cancel { .. } if saga.phase == Phase::Forward && !saga.pivot_sent => {
            Some(format!("a cancellation before the pivot is refused: {refusal}"))
        }
        Input::Signal { name, .. } if saga.phase == Phase::Forward && saga.stopping.is_none() => {
            let kept = saga.signals.iter().filter(|of| of.name == *name && of.taken_by.is_none()).count();
            let is_open =
                |name: &Name| saga.step(name.as_str()).is_none_or(|run| run.state == StepState::Acting);
            let takes = definition.steps.iter().filter(|step| signal_of(&step.work) == Some(name));
            let open = takes.filter(|step| is_open(&step.name)).count();
            (open > kept).then(|| format!("the signal `{name}` is refused, and is needed: {refusal}"))
        }
        Input::Asked(ask) => {
            let is_new = !saga.undo_asked && !saga.pivot_sent;
            let is_wrong = match (ask.kind, saga.phase) {
                (AskKind::Undo(_), Phase::Ended(End::Compensated)) | (AskKind::Release, Phase::Held) => true,
                (AskKind::Undo(_), Phase::Forward | Phase::Held | Phase::Backward) => is_new,
                (AskKind::Undo(_) | AskKind::Release | AskKind::Run(_), _) => false,
            };
            is_wrong.then(|| {
                format!("what the saga is asked by the one that it is a part of is refused: {refusal}")
            })
        }
        Input::Decide { step, .. } if saga.phase == Phase::Forward && saga.stopping.is_none() => {
            let is_open = saga.step(step.as_str()).is_some_and(|run| run.state == StepState::Acting);
            is_open.then(|| format!("what somebody says to `{step}` is refused, and is needed: {refusal}"))
        }
        _ => None,
    }
}

/// What people say counts.
fn people(step: &Transition<'_>) -> Option<String> {
    let before = step.before?;
    match step.input {
        Some(Input::Cancel { .. }) if before.saga.pivot_sent && before.saga.phase == Phase::Forward => {
            Some("a cancellation is accepted when the pivot was sent".to_owned())
        }
        Some(Input::Decide { step: name, approve, .. }) => {
            let run = step.after.saga.step(name.as_str());
            let is_yes = run.is_some_and(|run| run.state == StepState::Done);
            (is_yes != *approve).then(|| {
                let [said, taken] = if *approve { ["yes", "no"] } else { ["no", "yes"] };
                format!("somebody says {said} to `{name}`, and it is taken for a {taken}")
            })
        }
        _ => None,
    }
}

/// A step that waits goes on when what it waits for is there, or its time is over, and then as the definition says.
fn waits(step: &Transition<'_>) -> Option<String> {
    let before = step.before?;
    step.events.iter().find_map(|event| {
        let (key, is_yes) = match event {
            Event::Succeeded { step, direction: Direction::Action, .. } => (step, true),
            Event::Rejected { step, direction: Direction::Action, .. } => (step, false),
            _ => return None,
        };
        let (_, of) = step.definition.step(key.step())?;
        let flight = before.saga.step(key.as_str())?.flight?;
        let Wait::Time(due) = flight.wait else { return None };
        // One that was cut short is not over.
        let is_whole = before.saga.pivot_sent || flight.sent_at + of.timeout <= step.after.now;
        let is_over = matches!(step.input, Some(Input::Woke)) && due <= step.after.now && is_whole;
        let is_taken = |event: &Event| matches!(event, Event::SignalTaken { step, .. } if step == key);
        let may = match (&of.work, step.input) {
            (Work::Signal { on_timeout, .. }, _) => {
                let is_there = step.events.iter().any(is_taken);
                (is_there && is_yes) || (is_over && is_yes == (*on_timeout == OnSilence::Continue))
            }
            (Work::Approval { .. }, Some(Input::Decide { step, .. })) => StepKey::from(step) == *key,
            (Work::Approval { on_timeout }, _) => is_over && is_yes == (*on_timeout == OnNoDecision::Approve),
            (Work::Delay | Work::Participant { .. } | Work::Saga { .. }, _) => is_over && is_yes,
        };
        let taken = if is_yes { "goes on" } else { "is refused" };
        let why = if is_over { "when its time is over" } else { "before its time" };
        (!may).then(|| format!("`{key}` {taken} {why}, and the definition says otherwise"))
    })
}

/// A step that waits for a signal which has come.
fn overlooked(definition: &Definition, saga: &Saga) -> Option<String> {
    saga.steps.iter().filter(|run| run.state == StepState::Acting).find_map(|run| {
        let (_, step) = definition.step(run.key.step())?;
        let name = signal_of(&step.work)?;
        let is_there = saga.signals.iter().any(|of| of.name == *name && of.taken_by.is_none());
        is_there.then(|| format!("`{}` waits for the signal `{name}`, which has come", run.key))
    })
}

fn signal_of(work: &Work) -> Option<&Name> {
    match work {
        Work::Signal { name, .. } => Some(name),
        Work::Participant { .. } | Work::Saga { .. } | Work::Approval { .. } | Work::Delay => None,
    }
}
